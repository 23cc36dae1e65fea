// Files that must survive the loss of power: written beside the target, flushed, renamed over it, and the directory
// flushed too. Nothing here may leave a half-written file under its final name.
import { constants, open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** Who owns a file; only root can give a file away, so others leave it undefined. */
export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/**
 * Replaces `path` with `content` atomically and durably. The temporary file is `path` + `.new`, so two writers of one
 * path must not run at the same time. Errors are those of the file system.
 */
export async function writeFileDurably(options: {
  readonly path: string;
  readonly content: string | Uint8Array;
  /** Permission bits, such as 0o600. */
  readonly mode: number;
  readonly owner: Owner | undefined;
}): Promise<void> {
  const temporary = `${options.path}.new`;
  // Made anew: in a directory that belongs to somebody else a link of his must not be followed by root.
  await rm(temporary, { force: true });
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  const file = await open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, options.mode);
  try {
    await file.chmod(options.mode);
    if (options.owner !== undefined) await file.chown(options.owner.uid, options.owner.gid);
    await file.writeFile(options.content);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, options.path);
  await fsyncDirectory(dirname(options.path));
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
