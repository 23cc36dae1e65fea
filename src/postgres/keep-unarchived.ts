// Puts WAL aside that a former primary had not archived (archive.ts), where a restartpoint, a rewind or a clone does not reach it. What the
// data directory may still read is copied, the rest moved: a backlog of any size takes neither room nor time. Must never take away what
// recovery reads, nor fill the disk on which PostgreSQL is about to start.
import {
  constants,
  copyFile,
  lstat,
  mkdir,
  open,
  rename,
  rm,
  statfs,
  type FileHandle,
} from 'node:fs/promises';
import { join } from 'node:path';
import type { Lsn } from '../base/lsn.ts';
import {
  type ArchiveOptions,
  HISTORY,
  isOnHistory,
  keptFiles,
  markArchived,
  readyFiles,
  segmentEnd,
} from './archive.ts';
import type { GroupHistory } from './divergence.ts';
import { fsyncDirectory } from './durable-files.ts';
import { type OsUser, giveTo } from './os-user.ts';

/** Free and whole bytes of the file system of a directory. */
export interface Room {
  readonly freeBytes: number;
  readonly totalBytes: number;
}

/** `lost` names what could not be kept: there was no room for it, or it was gone. */
export interface Kept {
  readonly files: readonly string[];
  readonly lost: readonly string[];
}

interface Wanted {
  readonly file: string;
  readonly bytes: number;
}

/** What must stay free for the Raft log, and for the server's start. */
const ROOM_LEFT_BYTES = 256 << 20;
/** What must stay free beside that for copies that are merely of use. */
const AMPLE_SHARE = 0.05;
const AMPLE_BYTES_MAX = 10 * 2 ** 30;
const USEFUL_COPY_MS = 30_000;
const MOVE_COUNT = 200;

/**
 * Puts what is marked as ready and lies on the group's history into `directory`, durably, and nobody else archives it. PostgreSQL is stopped,
 * or a standby that receives nothing yet, so nothing is used again meanwhile. From `neededFrom` on it is copied, and named where there is no
 * room; from `usefulFrom` on it is copied as long as there is ample room and time, and moved otherwise; the rest is moved. Where `directory` is
 * on another file system all of it is copied, until there is no room. Throws where the file system failed, after all that could be kept was, and the
 * signal's reason; what was kept by then stays kept.
 */
export async function keepUnarchived(
  options: Omit<ArchiveOptions, 'binaries'> & {
    readonly directory: string;
    readonly history: GroupHistory;
    /** Of the data directory's control file: a segment of another size was cut short. */
    readonly segmentBytes: number;
    /** Where the WAL begins that recovery reads. */
    readonly neededFrom: Lsn;
    /** Where the WAL begins that pg_rewind may read, that saves diverged rows, or that a slot reserves; at most `neededFrom`. */
    readonly usefulFrom: Lsn;
    readonly room?: (directory: string) => Promise<Room>;
  },
): Promise<Kept> {
  const { dataDirectory, directory, user, signal, segmentBytes } = options;
  const pgWal = await openWal(dataDirectory, user);
  try {
    const wal = `/proc/self/fd/${pgWal.fd}`;
    const wanted = await findWanted(options, wal);
    if (wanted.length === 0) return { files: [], lost: [] };
    // Not the user's own: what is done in it as root follows no link of his.
    await mkdir(directory, { recursive: true, mode: 0o755 });
    const place: Place = {
      ...{ wal, directory, dataDirectory, user, signal, room: options.room ?? roomOf },
      ...{ kept: new Set(), errors: [] },
    };
    const isBefore = (file: string, position: Lsn): boolean =>
      (segmentEnd(file, segmentBytes) ?? Infinity) <= position;
    const useless = wanted.filter(({ file }) => isBefore(file, options.usefulFrom));
    const needed = wanted.filter(({ file }) => !isBefore(file, options.neededFrom));
    const useful = wanted.filter((each) => !useless.includes(each) && !needed.includes(each));
    const isElsewhere = (await pgWal.stat()).dev !== (await lstat(directory)).dev;
    if (isElsewhere) {
      await copyAll(wanted, place);
    } else {
      const uselessLeft = await move(useless, place);
      await copyAll(needed, place);
      const usefulLeft = await move(await copyWhileAmple(useful, place), place);
      // Where the same device is mounted twice nothing can be moved either.
      await copyAll([...uselessLeft, ...usefulLeft], place);
    }
    const { kept, errors } = place;
    const [firstError] = errors;
    if (firstError !== undefined) throw firstError;
    const names = wanted.map(({ file }) => file);
    return { files: names.filter((file) => kept.has(file)), lost: names.filter((file) => !kept.has(file)) };
  } finally {
    await pgWal.close();
  }
}

/** By its descriptor from here on: root must not be led into somebody else's directory. */
async function openWal(dataDirectory: string, user: OsUser): Promise<FileHandle> {
  const path = join(dataDirectory, 'pg_wal');
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  const { uid } = await handle.stat();
  if (user.owner === undefined || uid === user.owner.uid) return handle;
  await handle.close();
  throw new Error(`${path} belongs to the user with number ${uid}, not to ${user.name}`);
}

async function findWanted(
  options: Pick<
    Parameters<typeof keepUnarchived>[0],
    'dataDirectory' | 'directory' | 'segmentBytes' | 'history'
  >,
  wal: string,
): Promise<Wanted[]> {
  const { dataDirectory, directory, segmentBytes, history } = options;
  const before = new Set(await keptFiles(directory));
  const wanted: Wanted[] = [];
  for (const file of await readyFiles(dataDirectory)) {
    const found = await lstat(join(wal, file)).catch(ifThere);
    // An earlier attempt was interrupted between the two.
    if (found === undefined && before.has(file)) await forgetMark(wal, file);
    const isWhole = HISTORY.test(file) || found?.size === segmentBytes;
    if (found?.isFile() === true && isWhole && isOnHistory(file, segmentBytes, history))
      wanted.push({ file, bytes: found.size });
  }
  return wanted;
}

interface Place {
  readonly wal: string;
  readonly directory: string;
  readonly dataDirectory: string;
  readonly user: OsUser;
  readonly signal: AbortSignal | undefined;
  readonly room: (directory: string) => Promise<Room>;
  readonly kept: Set<string>;
  /** One file that cannot be read is no reason to lose the others. */
  readonly errors: Error[];
}

/** Oldest first, as long as there is room: no restore gets past a hole, so what comes after one is of little use. */
async function copyAll(files: readonly Wanted[], place: Place): Promise<void> {
  for (const each of files) {
    const { freeBytes } = await place.room(place.directory);
    if (!HISTORY.test(each.file) && freeBytes < each.bytes + ROOM_LEFT_BYTES) return;
    await copy(each, place);
  }
}

/** Newest first: they are of most use in the data directory. Returns those that were not copied. */
async function copyWhileAmple(files: readonly Wanted[], place: Place): Promise<readonly Wanted[]> {
  const left = [...files];
  const untilMs = performance.now() + USEFUL_COPY_MS;
  for (let last = left.at(-1); last !== undefined && performance.now() < untilMs; last = left.at(-1)) {
    const { freeBytes, totalBytes } = await place.room(place.directory);
    const ample = Math.min(AMPLE_SHARE * totalBytes, AMPLE_BYTES_MAX);
    if (freeBytes < last.bytes + ROOM_LEFT_BYTES + ample || !(await copy(last, place))) break;
    left.pop();
  }
  return left;
}

/** `false` where it failed, which `errors` then tells. */
async function copy({ file }: Wanted, place: Place): Promise<boolean> {
  const { wal, directory, user, signal, dataDirectory, kept, errors } = place;
  signal?.throwIfAborted();
  try {
    if (!(await copyDurably(join(wal, file), join(directory, file), user))) return true;
    await markArchived(dataDirectory, file);
    kept.add(file);
    return true;
  } catch (error) {
    errors.push(error as Error);
    return false;
  }
}

/** Returns what lies on another file system. PostgreSQL removes a mark together with its file only, so it goes, too. */
async function move(files: readonly Wanted[], place: Place): Promise<readonly Wanted[]> {
  const { wal, directory, signal, kept, errors } = place;
  for (let at = 0; at < files.length; at += MOVE_COUNT) {
    signal?.throwIfAborted();
    const moved: string[] = [];
    let isElsewhere = false;
    for (const { file } of files.slice(at, at + MOVE_COUNT)) {
      const outcome = await moveOne(join(wal, file), join(directory, file));
      isElsewhere = outcome === 'elsewhere';
      if (isElsewhere) break;
      if (outcome === 'moved') moved.push(file);
      if (outcome instanceof Error) errors.push(outcome);
    }
    if (moved.length > 0) await Promise.all([fsyncDirectory(directory), fsyncDirectory(wal)]);
    for (const file of moved) {
      kept.add(file);
      await forgetMark(wal, file);
    }
    if (isElsewhere) return files.slice(at).filter(({ file }) => !kept.has(file));
  }
  return [];
}

async function moveOne(from: string, to: string): Promise<'moved' | 'elsewhere' | 'gone' | Error> {
  try {
    await rename(from, to);
    return 'moved';
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EXDEV') return 'elsewhere';
    // A restartpoint was there first.
    return code === 'ENOENT' ? 'gone' : (error as Error);
  }
}

/** Undefined where there is no such file; other errors are thrown. */
function ifThere(error: unknown): undefined {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
}

const forgetMark = (wal: string, file: string): Promise<void> =>
  rm(join(wal, 'archive_status', `${file}.ready`), { force: true });

async function roomOf(directory: string): Promise<Room> {
  const { bavail, blocks, bsize } = await statfs(directory);
  return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
}

/** Where the file system can, without writing its content again. `false` where it is gone. */
async function copyDurably(from: string, to: string, user: OsUser): Promise<boolean> {
  const fresh = `${to}.new`;
  await rm(fresh, { force: true });
  // By the descriptor: a link that the user puts into its place must not be followed by root.
  const source = await open(from, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
    ifThere,
  );
  if (source === undefined) return false;
  try {
    if (!(await source.stat()).isFile()) throw new Error(`${from} is no regular file`);
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
  return true;
}
