// Has the administrator's command restore a data directory: into a fresh sibling, which is put into place only when it is complete and
// flushed. Never touches a directory that holds anything. What a killed run leaves is ours by its marker, and removed.
import { randomBytes } from 'node:crypto';
import { closeSync, mkdirSync, openSync, readFileSync, readdirSync, writeSync } from 'node:fs';
import { readFile, readdir, realpath, rename, rm, rmdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type Binaries, dataVersion } from './binaries.ts';
import { readControlData } from './control-data.ts';
import { fsyncDirectory, fsyncTree, removeFileDurably, writeFileDurably } from './durable-files.ts';
import { type OsUser, makeDirectory, runProgram } from './os-user.ts';
import { exists } from './replaced.ts';
import { cleanRestored } from './restored-files.ts';

/** In a restored data directory whose recovery has not come to its end: it is fit for nothing else. */
export const RESTORE_MARKER = 'pg_sentinel_restoring';
/** Beside a data directory that is being restored. */
const WORK_MARKER = 'pg_sentinel_restore';
/** Tells the processes of a command whose sentineld was killed. */
const PLACE_VARIABLE = 'PG_SENTINEL_DATA_DIRECTORY';

const GRACE_MS = 10_000;
const LOG_BYTES_MAX = 16 << 20;
const LAST_LINES = 5;
const LAST_LENGTH_MAX = 600;

/** The command failed, or what it has made is no data directory that can be used. */
export class RestoreError extends Error {}

export interface RestoreOptions {
  readonly binaries: Binaries;
  readonly user: OsUser;
  /** Missing or empty. Not a mount point. */
  readonly dataDirectory: string;
  /** The program, as an absolute path, and its arguments. */
  readonly command: readonly string[];
  readonly timeoutMs: number;
  readonly environment: Readonly<Record<string, string>>;
  /** For all that the command says; begun anew. */
  readonly logFile: string;
  /** See {@link readRestoreMarker}. */
  readonly recovery: string;
  readonly onNote: (message: string) => void;
  readonly signal: AbortSignal;
}

/** Throws {@link RestoreError}; nothing of what failed is left then, but for its log. */
export async function restoreDataDirectory(options: RestoreOptions): Promise<void> {
  const { user, dataDirectory, signal } = options;
  const present = await readdir(dataDirectory).catch(() => []);
  if (present.length > 0)
    throw new RestoreError(
      `cannot restore into ${dataDirectory}: it holds files (${present.slice(0, 3).join(', ')})`,
    );
  await removeHalfRestored(dataDirectory);
  const work = `${dataDirectory}.restore-${randomBytes(4).toString('hex')}`;
  const fresh = join(work, 'data');
  await makeDirectory(user, work);
  await writeFileDurably({ path: join(work, WORK_MARKER), content: '', mode: 0o600, owner: undefined });
  await makeDirectory(user, fresh);
  try {
    await runCommand(options, fresh);
    await verify(options, fresh);
    await cleanRestored(fresh, user.owner);
    await writeRestoreMarker(fresh, { recovery: options.recovery, isStarted: false }, user);
    await fsyncTree(fresh, signal);
    for (const name of await readdir(join(fresh, 'pg_tblspc')).catch(() => []))
      await fsyncTree(await realpath(join(fresh, 'pg_tblspc', name)), signal);
    signal.throwIfAborted();
    await rmdir(dataDirectory).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    });
    await rename(fresh, dataDirectory);
    await fsyncDirectory(dirname(dataDirectory));
  } finally {
    await rm(work, { recursive: true, force: true, maxRetries: 3 });
  }
}

/** Gives up a data directory whose recovery has not come to its end. */
export async function discardRestored(dataDirectory: string, user: OsUser): Promise<void> {
  if (!(await exists(join(dataDirectory, RESTORE_MARKER))))
    throw new Error(`${dataDirectory} is not being restored; it is left as it is`);
  const work = `${dataDirectory}.restore-${randomBytes(4).toString('hex')}`;
  await makeDirectory(user, work);
  await writeFileDurably({ path: join(work, WORK_MARKER), content: '', mode: 0o600, owner: undefined });
  await rename(dataDirectory, join(work, 'data'));
  await fsyncDirectory(dirname(dataDirectory));
  await rm(work, { recursive: true, force: true, maxRetries: 3 });
}

/** What an earlier run left that was killed, with what of its command still runs. */
async function removeHalfRestored(dataDirectory: string): Promise<void> {
  const parent = dirname(dataDirectory);
  const start = `${basename(dataDirectory)}.restore-`;
  const names = await readdir(parent).catch(() => []);
  for (const name of names.filter((each) => each.startsWith(start))) {
    const work = join(parent, name);
    if (!(await exists(join(work, WORK_MARKER)))) continue;
    endProcessesOf(join(work, 'data'));
    await rm(work, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }
}

function endProcessesOf(directory: string): void {
  const mark = `${PLACE_VARIABLE}=${directory}`;
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    try {
      if (!readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(mark)) continue;
      process.kill(pid, 'SIGKILL');
    } catch {
      // It has ended, or is another user's, whom the command cannot have become.
    }
  }
}

async function runCommand(options: RestoreOptions, fresh: string): Promise<void> {
  const [program = '', ...args] = options.command;
  mkdirSync(dirname(options.logFile), { recursive: true });
  const log = openSync(options.logFile, 'w', 0o600);
  let written = 0;
  try {
    const result = await runProgram({
      user: options.user,
      program,
      arguments: args,
      cwd: dirname(fresh),
      environment: { ...options.environment, [PLACE_VARIABLE]: fresh },
      timeoutMs: options.timeoutMs,
      graceMs: GRACE_MS,
      signal: options.signal,
      onOutput(text) {
        if (written >= LOG_BYTES_MAX) return;
        written += writeSync(log, text);
      },
    }).catch((error: unknown) => {
      throw new RestoreError((error as Error).message);
    });
    options.signal.throwIfAborted();
    if (result.exitCode === 0) return;
    const how =
      result.signal === undefined
        ? `exit code ${result.exitCode}`
        : `ended by ${result.signal}, perhaps for want of time`;
    throw new RestoreError(
      `the bootstrap command failed (${how}): ${lastLines(result.output)}; all it said is in ${options.logFile}`,
    );
  } finally {
    closeSync(log);
  }
}

function lastLines(output: string): string {
  const lines = output.split('\n').flatMap((line) => line.trim() || []);
  const text = lines.slice(-LAST_LINES).join(' | ');
  return text === '' ? 'it said nothing' : text.slice(-LAST_LENGTH_MAX);
}

async function verify({ binaries, onNote }: RestoreOptions, fresh: string): Promise<void> {
  const version = await dataVersion(fresh);
  if (version === undefined)
    throw new RestoreError(
      `the bootstrap command left no data directory in ${fresh} ($${PLACE_VARIABLE}): there is no PG_VERSION`,
    );
  if (version !== binaries.version)
    throw new RestoreError(
      `the bootstrap command restored a data directory of PostgreSQL ${version}, here is ${binaries.version}`,
    );
  const control = await readControlData(fresh).catch((error: unknown) => {
    throw new RestoreError(`what the bootstrap command restored is damaged: ${(error as Error).message}`);
  });
  if (control.state === 'in production' && !(await exists(join(fresh, 'backup_label'))))
    onNote(
      'what the bootstrap command restored has no backup_label: only a snapshot that was taken at one instant is consistent without',
    );
}

export interface RestoreMarker {
  /** With what it is recovered: another target needs the backup anew. */
  readonly recovery: string;
  /** PostgreSQL was started on it, as a standby. */
  readonly isStarted: boolean;
}

export function writeRestoreMarker(directory: string, marker: RestoreMarker, user: OsUser): Promise<void> {
  const content = `${JSON.stringify(marker)}\n`;
  return writeFileDurably({ path: join(directory, RESTORE_MARKER), content, mode: 0o600, owner: user.owner });
}

/** One that cannot be read is of no recovery. */
export async function readRestoreMarker(directory: string): Promise<RestoreMarker> {
  try {
    const raw = JSON.parse(await readFile(join(directory, RESTORE_MARKER), 'utf8')) as Partial<RestoreMarker>;
    return { recovery: String(raw.recovery), isStarted: raw.isStarted === true };
  } catch {
    return { recovery: '', isStarted: false };
  }
}

/** The data directory is one like any other from here on. */
export const endRestore = (directory: string): Promise<void> =>
  removeFileDurably(join(directory, RESTORE_MARKER));
