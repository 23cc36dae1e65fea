// WAL files that a former primary had completed and not archived yet when it ended. A standby's archiver leaves them alone, a restartpoint,
// a rewind or a clone removes them, and the new primary, which received them, takes them for archived: without this the archive would
// have a hole that no restore gets across. Must never give the archive anything that the group's history has left behind.
import { constants, copyFile, lstat, mkdir, readdir, rename, rm, statfs, open } from 'node:fs/promises';
import { join } from 'node:path';
import { timeline } from '../base/ids.ts';
import type { Lsn } from '../base/lsn.ts';
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

const SEGMENT = /^[0-9A-F]{8}([0-9A-F]{8})([0-9A-F]{8})$/;
const HISTORY = /^([0-9A-F]{8})\.history$/;
const SETTING_TIMEOUT_MS = 10_000;
const COMMAND_TIMEOUT_MS = 300_000;
const COMMAND_GRACE_MS = 2000;

/** Free and whole bytes of the file system of a directory. */
export interface Room {
  readonly freeBytes: number;
  readonly totalBytes: number;
}

/**
 * Puts what is marked as ready and lies on the group's history into `directory`, durably, and marks it as archived in the data directory.
 * PostgreSQL is stopped, or a standby that receives nothing yet, so nothing is used again meanwhile. What ends before `neededFrom` is moved
 * where that is the same file system: a backlog of any size takes neither room nor time. The rest, which recovery and pg_rewind read, is
 * copied; what does not fit is left as it is.
 */
export async function keepUnarchived(
  options: Omit<ArchiveOptions, 'binaries'> & {
    readonly directory: string;
    readonly history: GroupHistory;
    /** Of the data directory's control file: a segment of another size was cut short. */
    readonly segmentBytes: number;
    /** Where the WAL begins that the data directory itself still needs. */
    readonly neededFrom: Lsn;
    readonly room?: (directory: string) => Promise<Room>;
  },
): Promise<Kept> {
  const { dataDirectory, directory, user, signal, segmentBytes, room = roomOf } = options;
  const wal = join(dataDirectory, 'pg_wal');
  const wanted: { readonly file: string; readonly bytes: number }[] = [];
  for (const file of await readyFiles(dataDirectory)) {
    const found = await lstat(join(wal, file)).catch(() => undefined);
    const isWhole = HISTORY.test(file) || found?.size === segmentBytes;
    if (found?.isFile() === true && isWhole && isOnHistory(file, segmentBytes, options.history))
      wanted.push({ file, bytes: found.size });
  }
  if (wanted.length === 0) return { files: [], withoutRoom: [] };
  // Not the user's own: what is done in it as root follows no link of his.
  await mkdir(directory, { recursive: true, mode: 0o755 });
  const moved = new Set<string>();
  for (const { file } of wanted) {
    const end = segmentEnd(file, segmentBytes);
    if (end === undefined || end > options.neededFrom) continue;
    if (!(await moveWithin(join(wal, file), join(directory, file)))) break;
    moved.add(file);
  }
  if (moved.size > 0) await Promise.all([fsyncDirectory(directory), fsyncDirectory(wal)]);
  for (const file of moved) await markArchived(dataDirectory, file);
  const copied = new Set<string>();
  for (const { file, bytes } of wanted) {
    if (moved.has(file)) continue;
    signal?.throwIfAborted();
    const { freeBytes, totalBytes } = await room(directory);
    if (freeBytes < bytes + ROOM_LEFT_BYTES + totalBytes * ROOM_LEFT_SHARE) break;
    await copyDurably(join(wal, file), join(directory, file), user);
    await markArchived(dataDirectory, file);
    copied.add(file);
  }
  const names = wanted.map(({ file }) => file);
  const isKept = (file: string): boolean => moved.has(file) || copied.has(file);
  return { files: names.filter(isKept), withoutRoom: names.filter((file) => !isKept(file)) };
}

/** The Raft log lives there, too, and often the data directory that is about to be started. */
const ROOM_LEFT_BYTES = 256 << 20;
const ROOM_LEFT_SHARE = 0.05;

async function roomOf(directory: string): Promise<Room> {
  const { bavail, blocks, bsize } = await statfs(directory);
  return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
}

/** `false` where it is another file system. */
async function moveWithin(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EXDEV') return false;
    throw error;
  }
}

/**
 * Whether all of a segment, or a timeline, lies on the group's history. The segment in which it left a timeline does not: the new primary
 * archives it as the first of the next timeline. Nor does one of the present timeline, which is the primary's to archive.
 */
export function isOnHistory(file: string, segmentBytes: number, history: GroupHistory): boolean {
  const ends = groupEnds(history);
  const [, ofHistory] = HISTORY.exec(file) ?? [];
  if (ofHistory !== undefined) return ends.has(timeline(Number.parseInt(ofHistory, 16)));
  const end = segmentEnd(file, segmentBytes);
  if (end === undefined) return false;
  const left = ends.get(timeline(Number.parseInt(file.slice(0, 8), 16)));
  return left !== undefined && end <= left;
}

/** The position after a segment; undefined of anything else. */
function segmentEnd(file: string, segmentBytes: number): bigint | undefined {
  const [, high, low] = SEGMENT.exec(file) ?? [];
  if (high === undefined || low === undefined) return undefined;
  const next = BigInt(Number.parseInt(low, 16) + 1) * BigInt(segmentBytes);
  return (BigInt(Number.parseInt(high, 16)) << 32n) + next;
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
