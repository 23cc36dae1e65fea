// Bounds the size of the file that a PostgreSQL we start writes to. The server holds it open and appends to it, so it is copied and cut off
// rather than moved away: what the server writes in the moment between the two may be lost. Must never follow a link: the directory may
// be another user's.
import { constants, type FileHandle, open, rename, rm, stat } from 'node:fs/promises';
import type { Owner } from './durable-files.ts';

export interface LogRotation {
  readonly bytesMax: number;
  /** Older ones that are kept beside it, as FILE.1, FILE.2, ... */
  readonly fileCount: number;
}

const CHUNK_BYTES = 1 << 20;

/** True where the file was greater than it may be, and is empty now. A file that is not there is small. */
export async function rotateLog(options: {
  readonly path: string;
  readonly rotation: LogRotation;
  readonly owner: Owner | undefined;
}): Promise<boolean> {
  const { path, rotation, owner } = options;
  const size = await stat(path).then(
    (found) => found.size,
    () => 0,
  );
  if (size <= rotation.bytesMax) return false;
  const log = await open(path, constants.O_RDWR | constants.O_NOFOLLOW);
  try {
    const copy = `${path}.new`;
    await rm(copy, { force: true });
    const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
    const target = await open(copy, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
    try {
      if (owner !== undefined) await target.chown(owner.uid, owner.gid);
      await copyAll(log, target);
    } finally {
      await target.close();
    }
    await log.truncate(0);
    for (let at = rotation.fileCount; at >= 1; at -= 1)
      await rename(at === 1 ? copy : `${path}.${at - 1}`, `${path}.${at}`).catch(ifThere);
  } finally {
    await log.close();
  }
  return true;
}

/** Up to its end, also of what is written meanwhile. */
async function copyAll(from: FileHandle, to: FileHandle): Promise<void> {
  const buffer = Buffer.alloc(CHUNK_BYTES);
  for (;;) {
    const { bytesRead } = await from.read(buffer, 0, CHUNK_BYTES, null);
    if (bytesRead === 0) return;
    await to.write(buffer, 0, bytesRead);
  }
}

function ifThere(error: unknown): void {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
}
