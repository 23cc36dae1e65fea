// Hosts on loopback for tests of bad input: configuration files as a person writes them, the built programs run on them, and a
// picture of a directory to show that nothing was changed. Ends every process below its directory and removes it.
import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { dirname, join } from 'node:path';
import { until } from '../../../src/base/clock.ts';
import type { Binaries } from '../../../src/postgres/binaries.ts';
import { initDataDirectory } from '../../../src/postgres/initdb.ts';
import { findOsUser, type OsUser } from '../../../src/postgres/os-user.ts';
import { findTestPostgres } from '../../../harness/find-postgres.ts';
import { endEverythingBelow, makePlace, removePlace } from '../../../harness/place.ts';
import { freePorts } from '../../../src/transport/testing/free-ports.ts';
import { compiled } from '../../../harness/programs.ts';

/** Only catches hangs. */
export const LIMIT_MS = 30_000;

export interface Place {
  readonly root: string;
  readonly user: OsUser;
  /** Nine ports that were free: three of peers, three of PostgreSQL, three for whatever a test needs. */
  readonly ports: readonly number[];
  close(): Promise<void>;
}

export async function openPlace(): Promise<Place> {
  const user = await findOsUser({ configured: undefined });
  const root = await makePlace(user);
  const ports = await freePorts(9);
  return {
    root,
    user,
    ports,
    async close() {
      await endEverythingBelow({ directory: root, dataDirectories: [], timeoutMs: LIMIT_MS });
      await removePlace(root);
    },
  };
}

/** The PostgreSQL that the tests run on. */
export const findPrograms = ({ root, user }: Place): Promise<Binaries> =>
  findTestPostgres({ user, privateDirectory: join(root, 'programs') });

/** Makes a database of its own: another system identifier than any other. */
export async function makeDatabase(
  place: Pick<Place, 'user'>,
  binaries: Binaries,
  dataDirectory: string,
): Promise<void> {
  await initDataDirectory({
    binaries,
    user: place.user,
    dataDirectory,
    superuser: 'postgres',
    timeoutMs: LIMIT_MS,
    signal: undefined,
  });
}

/** The file of one of three hosts, a to c, as the README has it; `change` edits the text. Returns its path. */
export function writeConfig(
  place: Place,
  peer: 'a' | 'b' | 'c',
  change: (text: string) => string = (text) => text,
): string {
  const at = ['a', 'b', 'c'].indexOf(peer);
  const directory = join(place.root, peer);
  mkdirSync(directory, { recursive: true, mode: 0o755 });
  const path = join(directory, 'sentineld.yaml');
  const text = `cluster: shop
peer: ${peer}
peers:
  a: 127.0.0.1:${place.ports[0]}
  b: 127.0.0.1:${place.ports[1]}
  c: 127.0.0.1:${place.ports[2]}
state_directory: ${directory}/state
node:
  name: pg${at + 1}
  address: 127.0.0.1:${place.ports[3 + at]}
  data_directory: ${directory}/data
users:
  replication: { password: replication-secret }
  probe: { password: probe-secret }
`;
  writeFileSync(path, change(text), { mode: 0o600 });
  return path;
}

/** Without its node: a witness. */
export const witness = (text: string): string => text.replace(/node:\n(?: {2}.*\n)+/, '');

export interface Ended {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `sentineld --config PATH ...` to its end, which it must come to by itself. */
export const runSentineld = (config: string, ...args: string[]): Promise<Ended> =>
  runProgram('src/daemon/sentineld.js', ['--config', config, ...args], dirname(config));

/** Runs `sentinelctl ...` with nothing to ask on. */
export const runSentinelctl = (...args: string[]): Promise<Ended> =>
  runProgram('src/cli/sentinelctl.js', args, '/');

function runProgram(program: string, args: readonly string[], cwd: string): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const { PG_SENTINEL_PEERS: _, ...env } = process.env;
    const options = { cwd, env, timeout: LIMIT_MS, killSignal: 'SIGKILL' as const };
    const child = execFile(
      process.execPath,
      [compiled(program), ...args],
      options,
      (_error, stdout, stderr) => {
        if (child.signalCode !== null)
          reject(new Error(`${program} ${args.join(' ')} did not end: ${stdout}${stderr}`));
        else resolve({ exitCode: child.exitCode, stdout, stderr });
      },
    );
    child.stdin?.end();
  });
}

export interface Running {
  /** What it has written so far. */
  output(): string;
  /** Waits until it has written that. */
  says(text: RegExp): Promise<void>;
  /** Resolves with the exit code. */
  end(signal?: NodeJS.Signals): Promise<number | null>;
}

export function startSentineld(config: string): Running {
  const child = spawn(process.execPath, [compiled('src/daemon/sentineld.js'), '--config', config], {
    cwd: dirname(config),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => (text += chunk.toString()));
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  return {
    output: () => text,
    async says(wanted) {
      const said = (): true | undefined => (wanted.test(text) ? true : undefined);
      await until({ what: `sentineld to say ${wanted}`, timeoutMs: LIMIT_MS, everyMs: 10 }, said).catch(
        (error: unknown) => {
          throw new Error(`${(error as Error).message}; it said: ${text.slice(-2000)}`);
        },
      );
    },
    async end(signal = 'SIGTERM') {
      if (child.exitCode === null && child.signalCode === null) child.kill(signal);
      return ended;
    },
  };
}

/** Somebody else who has the port. */
export async function occupy(port: number): Promise<{ close(): void }> {
  const server: Server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  return { close: () => void server.close() };
}

/** Everything below (and with) the path: kind, mode, owner, size and content of each. */
export function pictureOf(path: string): Record<string, string> {
  const picture: Record<string, string> = {};
  const look = (at: string): void => {
    const found = lstatSync(at, { throwIfNoEntry: false });
    if (found === undefined) {
      picture[at] = 'missing';
      return;
    }
    const head = `${found.mode.toString(8)} ${found.uid}:${found.gid}`;
    if (found.isDirectory()) {
      picture[at] = `${head} directory, ${found.mtimeMs}`;
      for (const name of readdirSync(at).toSorted()) look(join(at, name));
    } else if (found.isSymbolicLink()) picture[at] = `${head} -> ${readlinkSync(at)}`;
    else if (found.isFile())
      picture[at] =
        `${head} ${found.size} ${found.mtimeMs} ${createHash('sha256').update(readFileSync(at)).digest('hex')}`;
    else picture[at] = `${head} special`;
  };
  look(path);
  return picture;
}
