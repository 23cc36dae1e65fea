// The replication slots of a data directory, read from their state files and written as such: where PostgreSQL is stopped, too.
import { constants } from 'node:fs';
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Lsn, lsn } from '../base/lsn.ts';
import { crc32c } from './crc32c.ts';
import type { OsUser } from './os-user.ts';
import { placeDirectoryAsUser, replaceBytesAsUser } from './user-files.ts';

/** ReplicationSlotOnDisk of PostgreSQL 14 to 18 (src/backend/replication/slot.c): 16 bytes of header, name, database, persistency, two xids. */
const MAGIC = 0x1051ca1;
const CHECKSUM_OFFSET = 4;
/** The checksum covers all from here on. */
const VERSION_OFFSET = 8;
const LENGTH_OFFSET = 12;
const HEADER_BYTES = 16;
const NAME_OFFSET = 16;
const DATABASE_OFFSET = 80;
const RESTART_LSN_OFFSET = 96;
/** Not 0: why the slot was invalidated (16 and later), or from where (14 and 15, which clear the position as well). */
const INVALIDATED_OFFSET = 104;

/** The position from which on some slot reserves WAL; undefined where none does. A file that is not readable as one reserves nothing. */
export async function reservedBySlots(dataDirectory: string): Promise<Lsn | undefined> {
  const reserved: bigint[] = [];
  for (const state of await readStates(dataDirectory)) {
    if (state.length < INVALIDATED_OFFSET + 4 || state.readUInt32LE(0) !== MAGIC) continue;
    const restart = state.readBigUInt64LE(RESTART_LSN_OFFSET);
    if (restart > 0n && state.readUInt32LE(INVALIDATED_OFFSET) === 0) reserved.push(restart);
  }
  const [first, ...others] = reserved;
  return first === undefined
    ? undefined
    : lsn(others.reduce((least, each) => (each < least ? each : least), first));
}

/** Whether a logical slot is there; one that is being dropped is not. */
export const holdsLogicalSlot = async (dataDirectory: string): Promise<boolean> =>
  (await readStates(dataDirectory)).some(isLogical);

/** Room for what is not read of a longer one. */
const STATE_BYTES_MAX = 1024;

/** Of every slot that has a regular file of its state, as far as it is read: a pipe or a link that PostgreSQL's user has put there holds nobody up. */
async function readStates(dataDirectory: string): Promise<Buffer[]> {
  const folder = join(dataDirectory, 'pg_replslot');
  const names = await readdir(folder).catch(() => []);
  const states = names.map((name) => readState(join(folder, name, 'state')).catch(() => undefined));
  return (await Promise.all(states)).filter((state) => state !== undefined);
}

async function readState(path: string): Promise<Buffer | undefined> {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  const file = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  try {
    if (!(await file.stat()).isFile()) return undefined;
    const buffer = Buffer.alloc(STATE_BYTES_MAX);
    const { bytesRead } = await file.read(buffer, 0, STATE_BYTES_MAX, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

const isLogical = (state: Buffer): boolean =>
  state.length >= RESTART_LSN_OFFSET &&
  state.readUInt32LE(0) === MAGIC &&
  state.readUInt32LE(DATABASE_OFFSET) !== 0;

/** Why PostgreSQL would not take the state file, or take it for another slot's; undefined where it is whole. */
export function slotStateProblem(state: Buffer, name: string): string | undefined {
  if (state.length < INVALIDATED_OFFSET + 4 || state.readUInt32LE(0) !== MAGIC)
    return 'it is no state file of a replication slot';
  if (state.readUInt32LE(LENGTH_OFFSET) !== state.length - HEADER_BYTES) return 'it has another length';
  if (state.readUInt32LE(CHECKSUM_OFFSET) !== crc32c(state.subarray(VERSION_OFFSET)))
    return 'its checksum is wrong';
  const [stated = ''] = state.toString('utf8', NAME_OFFSET, NAME_OFFSET + 64).split('\0');
  if (stated !== name) return `it is of slot ${stated}`;
  if (!isLogical(state)) return 'it is of a physical slot';
  return state.readUInt32LE(INVALIDATED_OFFSET) === 0 ? undefined : 'the slot is invalidated';
}

/** Where the slot begins to read, as the name of the file in `pg_logical/snapshots` that it may need for that. */
export function snapshotOf(state: Buffer): string {
  const position = state.readBigUInt64LE(RESTART_LSN_OFFSET);
  const hex = (part: bigint): string => part.toString(16).toUpperCase();
  return `${hex(position >> 32n)}-${hex(position & 0xffffffffn)}.snap`;
}

/** Puts a slot into the data directory of a PostgreSQL that does not run, durably: whole or not at all. With the rights of `user`, whose directory it is. */
export async function placeSlot(options: {
  readonly user: OsUser;
  readonly dataDirectory: string;
  readonly name: string;
  readonly state: Buffer;
  /** Undefined: it needs none. */
  readonly snapshot: { readonly name: string; readonly content: Buffer } | undefined;
  /** It is given up then, whatever the disk does: throws. */
  readonly signal: AbortSignal;
}): Promise<void> {
  const { user, dataDirectory, name, state, snapshot, signal } = options;
  if (snapshot !== undefined)
    await replaceBytesAsUser(
      user,
      join(dataDirectory, 'pg_logical', 'snapshots', snapshot.name),
      snapshot.content,
      signal,
    );
  // PostgreSQL removes what ends in .tmp when it starts.
  await placeDirectoryAsUser(user, join(dataDirectory, 'pg_replslot', name), '.tmp', { state }, signal);
}
