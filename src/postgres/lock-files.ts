// The lock files that PostgreSQL keeps beside its data and its socket, where its processes are gone and PostgreSQL itself would not see that.
import { lstatSync, readFileSync, statSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import {
  allGone,
  belongsTo,
  isSameDirectory,
  mayBeTaken,
  parsePostmasterFile,
  type PostmasterFile,
} from './processes.ts';

/**
 * Removes the lock files of a killed PostgreSQL over which the next one would stumble; the others it removes itself, with checks of its own.
 * PostgreSQL, single-user mode too, refuses to start while there is any process with their pid: another one since, which is common in
 * containers, or its own that nobody has waited for (a zombie; the parent that took it over may be slow at that). It refuses an empty
 * postmaster.pid as well, which a loss of power leaves. Throws, beginning with `refusal`, when processes of the instance are left.
 */
export function removeStaleLockFiles(options: {
  readonly dataDirectory: string;
  /** Where the next one will make its socket; left out where it makes none. */
  readonly socket?: { readonly directory: string; readonly port: number } | undefined;
  readonly refusal: string;
}): void {
  const { dataDirectory, socket } = options;
  const path = join(dataDirectory, 'postmaster.pid');
  const text = textOf(path);
  const file = text === undefined ? undefined : parsePostmasterFile(text);
  const left = allGone({ dataDirectory, sharedMemoryId: file?.sharedMemoryId });
  if (!left.gone) {
    throw new Error(
      `${options.refusal}: processes of an earlier PostgreSQL are left in it (${left.pids.join(', ')}; ` +
        `${left.attached} attached to its shared memory); stop it first`,
    );
  }
  // Nothing is awaited between the look and the removal: what somebody starts meanwhile keeps its own.
  if (socket !== undefined) removeSocketLock(dataDirectory, socket);
  if (text === undefined || textOf(path) !== text) return;
  if (file === undefined ? isOlderThan(path, UNFINISHED_MS) : mayBeTaken(file.pid)) unlinkQuietly(path);
}

/** PostgreSQL writes a lock file at once when it has made it. */
const UNFINISHED_MS = 10_000;

/** Its first lines are those of postmaster.pid. It may be there without that, which a clone has moved away with the old directory. */
function removeSocketLock(
  dataDirectory: string,
  { directory, port }: { readonly directory: string; readonly port: number },
): void {
  const socket = join(directory, `.s.PGSQL.${port}`);
  const owner = lockOf(`${socket}.lock`);
  if (owner === undefined || !mayBeTaken(owner.pid)) return;
  // A server of another directory listens there by now.
  if (!isSameDirectory(owner.dataDirectory, dataDirectory) && belongsTo(owner.pid, owner.dataDirectory))
    return;
  unlinkQuietly(socket);
  unlinkQuietly(`${socket}.lock`);
}

function lockOf(path: string): PostmasterFile | undefined {
  const text = textOf(path);
  return text === undefined ? undefined : parsePostmasterFile(text);
}

/** Of a regular file only: a pipe in its place would hold up the whole process. */
function textOf(path: string): string | undefined {
  try {
    if (!lstatSync(path).isFile()) return undefined;
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

function isOlderThan(path: string, ageMs: number): boolean {
  try {
    return Date.now() - statSync(path).mtimeMs > ageMs;
  } catch {
    return false;
  }
}

/** PostgreSQL says it best where this fails. */
function unlinkQuietly(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    return;
  }
}
