// WAL files that a former primary had completed and not archived yet when it ended. A standby's archiver leaves them alone, a restartpoint,
// a rewind or a clone removes them, and the new primary, which received them, takes them for archived: without this the archive would
// have a hole that no restore gets across. Must never give the archive anything that the group's history has left behind.
import { constants, copyFile, lstat, mkdir, readdir, rename, rm, statfs, open } from 'node:fs/promises';
import { join } from 'node:path';
import { timeline } from '../base/ids.ts';
import type { Binaries } from './binaries.ts';
import { type GroupHistory, groupEnds } from './divergence.ts';
import { fsyncDirectory, removeFileDurably } from './durable-files.ts';
import { type OsUser, giveTo, runProgram } from './os-user.ts';

/** Whose PostgreSQL it is. */
export interface ArchiveOptions {
  readonly binaries: Binaries;
  readonly user: OsUser;
  readonly dataDirectory: string;
  readonly signal?: AbortSignal;
}

/** How the server archives. With a `library` it uses no command, and nobody else can do what it does. */
export interface Archiving {
  readonly mode: string;
  readonly command: string;
  readonly library: string;
}

/** `withoutRoom` names the files that could not be kept, oldest first. */
export interface Kept {
  readonly files: readonly string[];
  readonly withoutRoom: readonly string[];
}

const SEGMENT = /^([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})$/;
const HISTORY = /^([0-9A-F]{8})\.history$/;
const SETTING_TIMEOUT_MS = 10_000;
const COMMAND_TIMEOUT_MS = 300_000;
const COMMAND_GRACE_MS = 2000;

/**
 * Copies what is marked as ready and lies on the group's history to `directory`, durably, and marks it as archived in the data directory.
 * PostgreSQL is stopped, or a standby that receives nothing yet, so nothing is used again meanwhile. What does not fit is left as it is.
 */
export async function keepUnarchived(
  options: Omit<ArchiveOptions, 'binaries'> & {
    readonly directory: string;
    readonly history: GroupHistory;
    /** Of the data directory's control file: a segment of another size was cut short. */
    readonly segmentBytes: number;
    readonly freeBytes?: (directory: string) => Promise<number>;
  },
): Promise<Kept> {
  const { dataDirectory, directory, user, signal } = options;
  const wal = join(dataDirectory, 'pg_wal');
  const files: string[] = [];
  const waiting = await readyFiles(dataDirectory);
  const wanted: { readonly file: string; readonly bytes: number }[] = [];
  for (const file of waiting) {
    const found = await lstat(join(wal, file)).catch(() => undefined);
    const isWhole = HISTORY.test(file) || found?.size === options.segmentBytes;
    if (found?.isFile() === true && isWhole && isOnHistory(file, options.segmentBytes, options.history))
      wanted.push({ file, bytes: found.size });
  }
  // Not the user's own: what is done in it as root follows no link of his.
  if (wanted.length > 0) await mkdir(directory, { recursive: true, mode: 0o755 });
  for (const [at, { file, bytes }] of wanted.entries()) {
    signal?.throwIfAborted();
    // The Raft log lives there, too.
    if ((await (options.freeBytes ?? freeBytesOf)(directory)) < bytes + ROOM_BYTES_LEFT)
      return { files, withoutRoom: wanted.slice(at).map((each) => each.file) };
    await copyDurably(join(wal, file), join(directory, file), user);
    await markArchived(dataDirectory, file);
    files.push(file);
  }
  return { files, withoutRoom: [] };
}

const ROOM_BYTES_LEFT = 256 << 20;

async function freeBytesOf(directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory);
  return bavail * bsize;
}

/**
 * Whether all of a segment, or a timeline, lies on the group's history. The segment in which it left a timeline does not: the new primary
 * archives it as the first of the next timeline. Nor does one of the present timeline, which is the primary's to archive.
 */
export function isOnHistory(file: string, segmentBytes: number, history: GroupHistory): boolean {
  const ends = groupEnds(history);
  const [, ofHistory] = HISTORY.exec(file) ?? [];
  if (ofHistory !== undefined) return ends.has(timeline(Number.parseInt(ofHistory, 16)));
  const [, number, high = '', low = ''] = SEGMENT.exec(file) ?? [];
  if (number === undefined) return false;
  const left = ends.get(timeline(Number.parseInt(number, 16)));
  const next = BigInt(Number.parseInt(low, 16) + 1) * BigInt(segmentBytes);
  return left !== undefined && (BigInt(Number.parseInt(high, 16)) << 32n) + next <= left;
}

/** Where the file system can, without writing its content again. */
async function copyDurably(from: string, to: string, user: OsUser): Promise<void> {
  const fresh = `${to}.new`;
  await rm(fresh, { force: true });
  // By the descriptor: a link that the user puts into its place must not be followed by root.
  const source = await open(from, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const path = `/proc/self/fd/${source.fd}`;
    await copyFile(path, fresh, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL);
  } finally {
    await source.close();
  }
  await giveTo(user, fresh);
  // Flushes a file as well.
  await fsyncDirectory(fresh);
  await rename(fresh, to);
  await fsyncDirectory(join(to, '..'));
}

/** So that nobody archives it again. */
export async function markArchived(dataDirectory: string, file: string): Promise<void> {
  const status = join(dataDirectory, 'pg_wal', 'archive_status', file);
  await rename(`${status}.ready`, `${status}.done`).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  });
}

/** Archives one of the kept files with the server's own `archive_command` and removes the copy. Undefined where that went well, else why not. */
export async function archiveKept(
  options: Omit<ArchiveOptions, 'binaries'> & {
    readonly directory: string;
    readonly file: string;
    readonly command: string;
  },
): Promise<string | undefined> {
  const { directory, file, user, dataDirectory, signal } = options;
  const path = join(directory, file);
  const { exitCode, output } = await runProgram({
    ...{ user, cwd: dataDirectory, signal, timeoutMs: COMMAND_TIMEOUT_MS, graceMs: COMMAND_GRACE_MS },
    program: '/bin/sh',
    arguments: ['-c', commandFor(options.command, path, file)],
  });
  if (exitCode !== 0) {
    const last = output.trim().split('\n').at(-1) ?? '';
    return last === '' ? `exit code ${exitCode ?? 'none'}` : last;
  }
  await removeFileDurably(path);
  return undefined;
}

/** What waits in the directory of kept files, in the order in which it is to be archived. */
export async function keptFiles(directory: string): Promise<string[]> {
  return inOrder(await namesIn(directory));
}

/** As PostgreSQL's archiver does: `%p` is the path, `%f` the name, `%%` a percent sign. */
export function commandFor(command: string, path: string, file: string): string {
  return command.replace(/%([pf%])/g, (_, letter: string) =>
    letter === 'p' ? path : letter === 'f' ? file : '%',
  );
}

/** The segments and histories that are marked as ready. */
export async function readyFiles(dataDirectory: string): Promise<string[]> {
  const names = await namesIn(join(dataDirectory, 'pg_wal', 'archive_status'));
  return inOrder(
    names.filter((name) => name.endsWith('.ready')).map((name) => name.slice(0, -'.ready'.length)),
  );
}

/** None where there is no such directory. */
async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** Histories first, then by name, which is oldest first. */
function inOrder(names: readonly string[]): string[] {
  return names
    .filter((name) => SEGMENT.test(name) || HISTORY.test(name))
    .sort((a, b) => Number(HISTORY.test(b)) - Number(HISTORY.test(a)) || (a < b ? -1 : 1));
}

/** What the configuration files say, also of a PostgreSQL that is stopped. */
export async function readArchiving(options: ArchiveOptions): Promise<Archiving> {
  const [mode, command, library] = await Promise.all([
    settingOf(options, 'archive_mode'),
    settingOf(options, 'archive_command'),
    options.binaries.version >= 15 ? settingOf(options, 'archive_library') : '',
  ]);
  return { mode, command, library };
}

async function settingOf(
  { binaries, user, dataDirectory, signal }: ArchiveOptions,
  name: string,
): Promise<string> {
  const { exitCode, output, stdout } = await runProgram({
    ...{ user, cwd: dataDirectory, timeoutMs: SETTING_TIMEOUT_MS, signal },
    program: join(binaries.directory, 'postgres'),
    arguments: ['-D', dataDirectory, '-C', name],
  });
  if (exitCode !== 0) throw new Error(`cannot read ${name} of ${dataDirectory}: ${output.trim()}`);
  return stdout.trim();
}
