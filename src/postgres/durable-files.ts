// Files that must survive the loss of power: written beside the target, flushed, renamed over it, and the directory
// flushed too. Nothing here may leave a half-written file under its final name.
import { type Stats, closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { constants, open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** Who owns a file; only root can give a file away, so others leave it undefined. */
export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** What `path` is written as before it comes into its place; a kill in between leaves it. */
export const temporaryOf = (path: string): string => `${path}.new`;

/**
 * Replaces `path` with `content` atomically and durably. It is written to {@link temporaryOf} first, so two writers of one
 * path must not run at the same time. Errors are those of the file system.
 */
export async function writeFileDurably(options: {
  readonly path: string;
  readonly content: string | Uint8Array;
  /** Permission bits, such as 0o600. */
  readonly mode: number;
  readonly owner: Owner | undefined;
}): Promise<void> {
  const temporary = temporaryOf(options.path);
  await writeNewFile({ ...options, path: temporary, sync: true });
  await rename(temporary, options.path);
  await fsyncDirectory(dirname(options.path));
}

/**
 * Makes the file anew, in the place of whatever is there: in a directory that belongs to somebody else a link of his must not be followed by
 * root. `sync`: flushed.
 */
export async function writeNewFile(options: {
  readonly path: string;
  readonly content: string | Uint8Array;
  readonly mode: number;
  readonly owner: Owner | undefined;
  readonly sync: boolean;
}): Promise<void> {
  await rm(options.path, { force: true });
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  const file = await open(options.path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, options.mode);
  try {
    await file.chmod(options.mode);
    if (options.owner !== undefined) await file.chown(options.owner.uid, options.owner.gid);
    await file.writeFile(options.content);
    if (options.sync) await file.sync();
  } finally {
    await file.close();
  }
}

/**
 * The text of a regular file in a directory that belongs to somebody else. Undefined where there is none. Throws for anything but a regular file of
 * `owner`'s (undefined: of whomever), or for one of more than `bytesMax`: by a link or a pipe of his, root would hand out what he may not read, or wait for ever.
 */
export async function readOwnFile(
  path: string,
  owner: Owner | undefined,
  bytesMax = Infinity,
): Promise<string | undefined> {
  const file = await open(path, OWN_FILE).catch((error: unknown) => noFile(path, error));
  if (file === undefined) return undefined;
  try {
    mustBeOwn(path, await file.stat(), { owner, bytesMax });
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}

/** {@link readOwnFile}, at once. */
export function readOwnFileSync(
  path: string,
  owner: Owner | undefined,
  bytesMax = Infinity,
): string | undefined {
  let file: number | undefined;
  try {
    file = openSync(path, OWN_FILE);
  } catch (error) {
    return noFile(path, error);
  }
  try {
    mustBeOwn(path, fstatSync(file), { owner, bytesMax });
    return readFileSync(file, 'utf8');
  } finally {
    closeSync(file);
  }
}

const OWN_FILE = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

function noFile(path: string, error: unknown): undefined {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT') return undefined;
  if (code === 'ELOOP') throw new Error(`${path} is a symbolic link: it is neither read nor written`);
  throw error;
}

function mustBeOwn(
  path: string,
  found: Stats,
  { owner, bytesMax }: { readonly owner: Owner | undefined; readonly bytesMax: number },
): void {
  if (!found.isFile()) throw new Error(`${path} is no regular file: it is neither read nor written`);
  if (owner !== undefined && found.uid !== owner.uid)
    throw new Error(
      `${path} belongs to user ${found.uid}, not to ${owner.uid}: it is neither read nor written`,
    );
  if (found.size > bytesMax)
    throw new Error(
      `${path} has ${found.size} bytes, where ${bytesMax} are expected at most: it is not read`,
    );
}

/** Removes `path`, if it is there, so that it stays away after a loss of power. */
export async function removeFileDurably(path: string): Promise<void> {
  await rm(path, { force: true });
  await fsyncDirectory(dirname(path)).catch((error: unknown) => {
    // Where the directory is gone, so is the file.
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  });
}

/** Makes the names in a directory durable. */
export async function fsyncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

const SYNC_CONCURRENCY_MAX = 16;

/** Flushes every regular file and directory below `root`, and `root` itself. Throws the signal's reason when it aborts. */
export async function fsyncTree(root: string, signal?: AbortSignal): Promise<void> {
  const pending: string[] = [];
  const collect = async (directory: string): Promise<void> => {
    pending.push(directory);
    for (const entry of await readdir(directory, { withFileTypes: true })) {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) await collect(path);
      else if (entry.isFile()) pending.push(path);
    }
  };
  await collect(root);
  const worker = async (): Promise<void> => {
    for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
      signal?.throwIfAborted();
      await fsyncDirectory(path);
    }
  };
  await Promise.all(Array.from({ length: SYNC_CONCURRENCY_MAX }, worker));
}
