// LevelDB as this store uses it: opened without repair, every batch synchronous, every refusal in words that say what to do.
// Must never be opened with `createIfMissing` where a log existed, and never be repaired.
import { join } from 'node:path';
import { Level } from 'level';
import { syncDirectory } from './directories.ts';
import { StoreDamagedError, StoreLockedError } from './errors.ts';
import type { StorePlace } from './errors.ts';

export type Database = Level<Buffer, Buffer>;

export type Operation =
  | { readonly type: 'put'; readonly key: Buffer; readonly value: Buffer }
  | { readonly type: 'del'; readonly key: Buffer };

/** With a side file there was a log (`mayCreate` false): LevelDB must then not create an empty one in its place. */
export async function openDatabase(
  place: StorePlace,
  options: { readonly mayCreate: boolean },
): Promise<Database> {
  const { directory } = place;
  const database = new Level<Buffer, Buffer>(join(directory, 'log'), {
    keyEncoding: 'buffer',
    valueEncoding: 'buffer',
    createIfMissing: options.mayCreate,
    compression: false,
    cacheSize: 1 << 20,
  });
  try {
    await database.open();
  } catch (error) {
    throw openingError(place, error);
  }
  await syncDirectory(directory);
  return database;
}

/** Atomic, and durable when it resolves. */
export async function writeBatch(database: Database, operations: readonly Operation[]): Promise<void> {
  await database.batch([...operations], { sync: true });
}

/** LevelDB's complaints while reading are damage too. */
export function damageOf(place: StorePlace, error: unknown): unknown {
  const code = (error as { code?: unknown }).code;
  if (code !== 'LEVEL_CORRUPTION') return error;
  return new StoreDamagedError(place, `LevelDB could not read it (${String(error)})`, { cause: error });
}

function openingError(place: StorePlace, error: unknown): Error {
  const cause = (error as { cause?: { code?: string; message?: string } }).cause;
  const message = cause?.message ?? String(error);
  if (cause?.code === 'LEVEL_LOCKED') return new StoreLockedError(place.directory, { cause: error });
  // A file that LevelDB counts on is gone: nothing that looking after the disk would bring back.
  const isMissing = message.includes('No such file or directory');
  if (cause?.code === 'LEVEL_IO_ERROR' && !isMissing) {
    return new Error(
      `cannot open the Raft log in ${place.directory}: ${message}; check the disk, its free space and the permissions`,
      { cause: error },
    );
  }
  return new StoreDamagedError(place, `LevelDB refused to open it (${message})`, { cause: error });
}
