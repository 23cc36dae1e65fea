// The directories beside a data directory: the one that a clone has replaced, kept until the clone was seen to work, and those on their way out,
// whose removal may take minutes. What an earlier sentineld left of those is removed, too.
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { access, lstat, readdir, readlink, rename } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { removeWithTablespaces } from './outside-directories.ts';
import { fsyncDirectory, removeFileDurably, writeFileDurably } from './durable-files.ts';
import type { OsUser } from './os-user.ts';
import { allGone } from './processes.ts';
import { findRestoreMarker, removeRestored } from './restore-marker.ts';
import { isRewindInterrupted, rewindMarker } from './rewind-marker.ts';

/**
 * Where the old directory is until the clone that replaced it was seen to work. Removed then without a question, so it is no name that a
 * person gives.
 */
export const replacedDirectory = (dataDirectory: string): string => `${dataDirectory}.pg_sentinel_replaced`;

const DISCARDED = '.pg_sentinel_discarded-';

const discardedName = (dataDirectory: string): string =>
  `${dataDirectory}${DISCARDED}${randomBytes(4).toString('hex')}`;

/**
 * The clone was seen to work: the directory that it has replaced is moved out of the way, and removed with its tablespaces in the
 * background. `removal` says how that ended, and has to be looked after.
 */
export async function discardReplaced(
  dataDirectory: string,
  user: OsUser,
): Promise<{ readonly removal: Promise<void> }> {
  const old = replacedDirectory(dataDirectory);
  if (await exists(old)) await moveAway(old, dataDirectory);
  return { removal: removeDiscarded(dataDirectory, user) };
}

/**
 * The data directory is nobody's any more, nor is the one that it has replaced: both are moved out of the way, to be removed by
 * {@link removeDiscarded}. Throws where PostgreSQL runs in it, or it cannot be moved away: a mount point, or a link, with which nothing
 * of what it leads to would be removed.
 */
export async function discardDataDirectory(dataDirectory: string): Promise<void> {
  for (const directory of [replacedDirectory(dataDirectory), dataDirectory]) {
    if (!(await exists(directory))) continue;
    const target = await readlink(directory).catch(() => undefined);
    if (target !== undefined)
      throw new Error(`${directory} is a symbolic link to ${target}: remove both by hand`);
    // Somebody may have started it since it was looked at.
    const left = allGone({ dataDirectory: directory, sharedMemoryId: undefined });
    if (!left.gone)
      throw new Error(
        `cannot remove ${directory}: PostgreSQL runs in it (processes ${left.pids.join(', ')}); stop it first`,
      );
    await moveAway(directory, dataDirectory).catch((error: unknown) => {
      if (!['EBUSY', 'EXDEV'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
      throw new Error(`${directory} is a mount point and cannot be moved away: empty it by hand`);
    });
  }
}

interface DiscardOptions {
  readonly dataDirectory: string;
  /** Of PostgreSQL: it is removed with his rights. */
  readonly user: OsUser;
  /** Something that is worth a line in the log. */
  readonly onNote?: (message: string) => void;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Makes room for a clone: removes what an interrupted rewind has left, in the data directory's place or beside it. That is no database of
 * anybody's any more. `false` where there is none.
 */
export async function discardInterrupted(options: DiscardOptions): Promise<boolean> {
  const { dataDirectory, onNote } = options;
  let isAny = false;
  for (const directory of [replacedDirectory(dataDirectory), dataDirectory]) {
    // To remove a link makes no room.
    const isDirectory = (await lstat(directory).catch(() => undefined))?.isDirectory() === true;
    if (!isDirectory || !(await isRewindInterrupted(directory))) continue;
    onNote?.(
      `${directory} is removed before the clone, to make room: its rewind was interrupted, so it is of no use`,
    );
    await moveAway(directory, dataDirectory);
    isAny = true;
  }
  if (isAny) await discardedGone(options);
  return isAny;
}

/** The last removal for each data directory. */
const removals = new Map<string, Promise<void>>();

/** One after the other for the same data directory. Once `signal` is aborted it is not waited for any longer, and goes on. */
export function removeDiscarded(dataDirectory: string, user: OsUser, signal?: AbortSignal): Promise<void> {
  const remove = async (): Promise<void> => {
    const parent = dirname(dataDirectory);
    const prefix = `${basename(dataDirectory)}${DISCARDED}`;
    const keepers = [dataDirectory, replacedDirectory(dataDirectory)];
    for (const name of await readdir(parent).catch(() => []))
      if (name.startsWith(prefix)) await removeOne(user, join(parent, name), keepers);
  };
  const removal = (removals.get(dataDirectory) ?? Promise.resolve()).then(remove, remove);
  removals.set(dataDirectory, removal);
  return unlessAborted(removal, signal);
}

/** One whose restore from a backup was not finished may have links to what is another's. */
async function removeOne(user: OsUser, directory: string, keepers: readonly string[]): Promise<void> {
  const marker = await findRestoreMarker(directory, user);
  if (marker === undefined) await removeWithTablespaces(user, directory, keepers);
  else await removeRestored(user, directory, marker);
}

async function unlessAborted(removal: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  if (signal?.aborted === true) removal.catch(() => undefined);
  signal?.throwIfAborted();
  const done = new AbortController();
  const aborted = signal === undefined ? [] : [once(signal, 'abort', { signal: done.signal })];
  await Promise.race([removal, ...aborted]).finally(() => done.abort());
  signal?.throwIfAborted();
}

/** A clone may take a tablespace's place as soon as that is empty: it must not be emptied after that. It needs the room as well. */
export async function discardedGone(options: DiscardOptions): Promise<void> {
  const { dataDirectory, user, signal, onNote } = options;
  const removal = removeDiscarded(dataDirectory, user).catch((error: unknown) =>
    onNote?.(`a data directory that was replaced could not be removed: ${(error as Error).message}`),
  );
  await unlessAborted(removal, signal);
}

/**
 * Gives a directory another name, which is free, and takes along that its rewind was interrupted: the marker is there before the directory is, and
 * goes only after it. So the marker beside a directory is its own, whenever this is broken off, and one without a directory means nothing.
 */
export async function moveDirectory(from: string, to: string): Promise<void> {
  if (await isRewindInterrupted(from))
    await writeFileDurably({ path: rewindMarker(to), content: '', mode: 0o600, owner: undefined });
  else await removeFileDurably(rewindMarker(to));
  await rename(from, to);
  await fsyncDirectory(dirname(to));
  await removeFileDurably(rewindMarker(from));
}

/** To be removed: under a name that nobody starts it by, however long that takes and whatever interrupts it. */
async function moveAway(directory: string, dataDirectory: string): Promise<void> {
  await rename(directory, discardedName(dataDirectory));
  await fsyncDirectory(dirname(dataDirectory));
  await removeFileDurably(rewindMarker(directory));
}

/**
 * Removes the marker of a directory that is not there any more: a move was broken off before that. A data directory that somebody puts there has not
 * been rewound. A link stays marked, also where what it leads to cannot be reached now.
 */
export async function forgetMovedAway(directory: string): Promise<void> {
  if (!(await isRewindInterrupted(directory))) return;
  const isThere = await lstat(directory).then(
    () => true,
    (error: unknown) => (error as NodeJS.ErrnoException).code !== 'ENOENT',
  );
  if (!isThere) await removeFileDurably(rewindMarker(directory));
}

/** Puts a whole clone into the data directory's place. What was never seen to work makes room; what that has replaced is kept. */
export async function takePlace(dataDirectory: string, fresh: string): Promise<void> {
  const old = replacedDirectory(dataDirectory);
  if (await exists(dataDirectory)) {
    if (await exists(old)) await moveAway(dataDirectory, dataDirectory);
    else await moveDirectory(dataDirectory, old);
  }
  await moveDirectory(fresh, dataDirectory);
}

/** Whether there is anything at `path` that can be reached; never throws. */
export const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );
