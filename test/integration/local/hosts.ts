// Hosts for `sentinelctl node create` and `clone`: two nodes and a witness on loopback, each configuration as a person writes it.
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { until } from '../../../src/base/clock.ts';
import { psqlOf } from '../../../harness/client-program.ts';
import { compiled } from '../../../harness/programs.ts';
import { type Binaries, findBinaries } from '../../../src/postgres/binaries.ts';
import { parsePostmasterFile } from '../../../src/postgres/processes.ts';
import { runProgram } from '../../../src/postgres/os-user.ts';
import { connectAdmin } from '../../../src/transport/admin-client.ts';
import type { NodeView } from '../../../src/transport/types.ts';
import {
  LIMIT_MS,
  type Ended,
  type Place,
  runSentinelctl,
  startSentineld,
  type Running,
  witness,
  writeConfig,
} from '../bad-input/place.ts';

export interface Hosts {
  readonly place: Place;
  readonly binDirectory: string;
  /** Path of the configuration. */
  config(peer: 'a' | 'b' | 'c'): string;
  data(peer: 'a' | 'b'): string;
  /** `sentinelctl ...` with that host's configuration. */
  ctl(peer: 'a' | 'b', ...args: string[]): Promise<Ended>;
  start(peer: 'a' | 'b' | 'c'): Running;
  /** As superuser, on the node of that host. */
  sql(peer: 'a' | 'b', text: string): Promise<string>;
  /** Waits until the node is in that state. */
  waitFor(node: string, state: string): Promise<NodeView>;
}

/** `more`: further keys of the section `node`, by peer. */
export function makeHosts(
  place: Place,
  binDirectory: string,
  more: Readonly<Partial<Record<'a' | 'b', string>>> = {},
): Hosts {
  const paths = new Map<string, string>();
  for (const peer of ['a', 'b', 'c'] as const)
    paths.set(
      peer,
      writeConfig(place, peer, (text) =>
        peer === 'c'
          ? witness(text)
          : text.replace(
              'users:\n',
              `  bin_directory: ${binDirectory}\n  parameters: { shared_buffers: 16MB, dynamic_shared_memory_type: mmap }\n${more[peer] ?? ''}users:\n`,
            ),
      ),
    );
  const config = (peer: string): string => paths.get(peer) ?? '';
  const addresses = place.ports.slice(0, 3).map((port) => `127.0.0.1:${port}`);
  return {
    place,
    binDirectory,
    config,
    data: (peer) => join(dirname(config(peer)), 'data'),
    ctl: (peer, ...args) => runSentinelctl(...args, '--config', config(peer), '--timeout', '2s'),
    start: (peer) => startSentineld(config(peer)),
    async sql(peer, text) {
      const directory = dirname(config(peer));
      const pid = parsePostmasterFile(readFileSync(join(directory, 'data', 'postmaster.pid'), 'utf8'));
      const result = await runProgram({
        user: place.user,
        program: psqlOf(binDirectory),
        arguments: [
          '-XAtq',
          '-h',
          `${directory}/state/socket`,
          '-p',
          String(pid?.port),
          '-U',
          'postgres',
          '-c',
          text,
        ],
        cwd: '/',
        timeoutMs: LIMIT_MS,
      });
      if (result.exitCode !== 0) throw new Error(`${text}: ${result.output}`);
      return result.stdout.trim();
    },
    async waitFor(node, state) {
      let seen = 'nothing';
      const look = async (): Promise<NodeView | undefined> => {
        const admin = await connectAdmin({ addresses, timeoutMs: 2000 }).catch(() => undefined);
        const status = await admin?.status().catch(() => undefined);
        admin?.close();
        const found = status?.groups.flatMap(({ nodes }) => nodes).find((each) => each.node === node);
        seen = JSON.stringify(found ?? status?.warnings ?? 'no answer');
        return found?.state === state ? found : undefined;
      };
      return until({ what: `${node} to be ${state}`, timeoutMs: 2 * LIMIT_MS, everyMs: 100 }, look).catch(
        (error: unknown) => {
          throw new Error(`${(error as Error).message}; it was ${seen}`, { cause: error });
        },
      );
    },
  };
}

/** A directory of links to PostgreSQL's programs, all but `without`: an installation that lacks it. */
export async function programsWithout(
  place: Place,
  binaries: Binaries,
  without: 'pg_basebackup',
): Promise<Binaries> {
  const directory = join(place.root, `without-${without}`);
  mkdirSync(directory, { mode: 0o755 });
  for (const name of readdirSync(binaries.directory))
    if (name !== without) symlinkSync(join(binaries.directory, name), join(directory, name));
  return findBinaries({
    user: place.user,
    binDirectory: directory,
    dataDirectory: undefined,
    privateDirectory: undefined,
  });
}

/** Starts `sentinelctl ...` to be killed while it is at work. */
export function begin(...args: string[]): ChildProcess {
  return spawn(process.execPath, [compiled('src/cli/sentinelctl.js'), ...args], {
    cwd: '/',
    stdio: 'ignore',
  });
}

/** Waits until `condition` holds, then kills it at once. */
export async function killWhen(child: ChildProcess, what: string, condition: () => boolean): Promise<void> {
  const ended = new Promise((resolve) => child.once('exit', resolve));
  try {
    await until({ what, timeoutMs: LIMIT_MS, everyMs: 1 }, () => condition() || child.exitCode !== null);
  } finally {
    child.kill('SIGKILL');
    await ended;
  }
  if (child.exitCode !== null) throw new Error(`it ended by itself (${child.exitCode}) before ${what}`);
}

/** Names beside the data directory that begin as it does, itself left out. */
export const besides = (dataDirectory: string): string[] =>
  existsSync(dirname(dataDirectory))
    ? readdirSync(dirname(dataDirectory)).filter((name) => name.startsWith('data') && name !== 'data')
    : [];
