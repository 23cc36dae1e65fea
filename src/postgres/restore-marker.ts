// In a restored data directory whose recovery has not come to its end: how far it is, and which directories outside of it were made for it. Such a
// directory may hold links to what is another's, out of a backup or out of its WAL: none of them is ever followed to remove it.
import { isAbsolute, join, normalize } from 'node:path';
import { type Timeline, timeline } from '../base/ids.ts';
import { readOwnFile, removeFileDurably, writeFileDurably } from './durable-files.ts';
import type { OsUser } from './os-user.ts';
import { OWN_DIRECTORY } from './outside-directories.ts';
import { removeAsUser } from './user-files.ts';

/** While it is there the directory is fit for nothing else. */
export const RESTORE_MARKER = 'pg_sentinel_restoring';

export interface RestoreMarker {
  /** With what it is recovered: another target needs the backup anew. */
  readonly recovery: string;
  /** PostgreSQL was started on it, as a standby. */
  readonly isStarted: boolean;
  /** New directories for its tablespaces and its WAL, which nothing else lies in. */
  readonly parts: readonly string[];
  /** `recovery_target_timeline` as it was started with: `current`, or a number. */
  readonly follows?: string;
  /** It was opened on this timeline, which was the assigned one. */
  readonly opened?: Timeline;
}

export function writeRestoreMarker(directory: string, marker: RestoreMarker, user: OsUser): Promise<void> {
  const content = `${JSON.stringify(marker)}\n`;
  return writeFileDurably({ path: join(directory, RESTORE_MARKER), content, mode: 0o600, owner: user.owner });
}

/** Undefined where there is none. One that cannot be read is of no recovery, and has no parts. */
export async function findRestoreMarker(directory: string, user: OsUser): Promise<RestoreMarker | undefined> {
  try {
    const text = await readOwnFile(join(directory, RESTORE_MARKER), user.owner);
    return text === undefined ? undefined : parse(text);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOTDIR' ? undefined : NONE;
  }
}

/** Where there is none it is as one that cannot be read. */
export const readRestoreMarker = async (directory: string, user: OsUser): Promise<RestoreMarker> =>
  (await findRestoreMarker(directory, user)) ?? NONE;

const NONE: RestoreMarker = { recovery: '', isStarted: false, parts: [] };

function parse(text: string): RestoreMarker {
  const raw = JSON.parse(text) as Partial<Record<keyof RestoreMarker, unknown>>;
  return {
    recovery: String(raw.recovery),
    isStarted: raw.isStarted === true,
    parts: Array.isArray(raw.parts) ? raw.parts.filter(isPart) : [],
    ...(typeof raw.follows === 'string' ? { follows: raw.follows } : {}),
    ...(typeof raw.opened === 'number' ? { opened: timeline(raw.opened) } : {}),
  };
}

/** As they are made here. PostgreSQL's user may have written the file: what it names is removed with his rights only. */
const isPart = (value: unknown): value is string =>
  typeof value === 'string' &&
  isAbsolute(value) &&
  normalize(value) === value &&
  !value.includes('\0') &&
  OWN_DIRECTORY.test(value);

/** The data directory is one like any other from here on. */
export const endRestore = (directory: string): Promise<void> =>
  removeFileDurably(join(directory, RESTORE_MARKER));

/** Removes such a directory with its parts. Its links go before the marker: broken off, it is still known for what it is. */
export async function removeRestored(
  user: OsUser,
  directory: string,
  { parts }: Pick<RestoreMarker, 'parts'>,
): Promise<void> {
  for (const part of parts) await removeAsUser(user, part);
  for (const name of ['pg_tblspc', 'pg_wal']) await removeAsUser(user, join(directory, name));
  await removeAsUser(user, directory);
}
