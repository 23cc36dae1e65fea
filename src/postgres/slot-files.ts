// The replication slots of a data directory, read from their state files and written as such: where PostgreSQL is stopped, too.
import { readFileSync, readdirSync } from 'node:fs';
import { chmod, chown, mkdir, readFile, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Lsn, lsn } from '../base/lsn.ts';
import { crc32c } from './crc32c.ts';
import { type Owner, fsyncDirectory, writeFileDurably } from './durable-files.ts';

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
  const folder = join(dataDirectory, 'pg_replslot');
  const names = await readdir(folder).catch(() => []);
  const reserved: bigint[] = [];
  for (const name of names) {
    const state = await readFile(join(folder, name, 'state')).catch(() => Buffer.alloc(0));
    if (state.length < INVALIDATED_OFFSET + 4 || state.readUInt32LE(0) !== MAGIC) continue;
    const restart = state.readBigUInt64LE(RESTART_LSN_OFFSET);
    if (restart > 0n && state.readUInt32LE(INVALIDATED_OFFSET) === 0) reserved.push(restart);
  }
  const [first, ...others] = reserved;
  return first === undefined
    ? undefined
    : lsn(others.reduce((least, each) => (each < least ? each : least), first));
}

/** Whether a logical slot is there. It blocks for a moment: there are 16 small files at most. */
export function holdsLogicalSlot(dataDirectory: string): boolean {
  const folder = join(dataDirectory, 'pg_replslot');
  try {
    return readdirSync(folder).some((name) => isLogicalFile(join(folder, name, 'state')));
  } catch {
    return false;
  }
}

/** One that is being dropped is not there. */
function isLogicalFile(path: string): boolean {
  try {
    return isLogical(readFileSync(path));
  } catch {
    return false;
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

/** Puts a slot into the data directory of a PostgreSQL that does not run, durably: whole or not at all. */
export async function placeSlot(options: {
  readonly dataDirectory: string;
  readonly name: string;
  readonly state: Buffer;
  /** Undefined: it needs none. */
  readonly snapshot: { readonly name: string; readonly content: Buffer } | undefined;
  readonly owner: Owner | undefined;
}): Promise<void> {
  const { dataDirectory, name, state, snapshot, owner } = options;
  if (snapshot !== undefined)
    await writeFileDurably({
      path: join(dataDirectory, 'pg_logical', 'snapshots', snapshot.name),
      content: snapshot.content,
      mode: 0o600,
      owner,
    });
  const folder = join(dataDirectory, 'pg_replslot');
  // PostgreSQL removes what ends so when it starts.
  const unfinished = join(folder, `${name}.tmp`);
  await rm(unfinished, { recursive: true, force: true });
  await mkdir(unfinished, { mode: 0o700 });
  await chmod(unfinished, 0o700);
  if (owner !== undefined) await chown(unfinished, owner.uid, owner.gid);
  await writeFileDurably({ path: join(unfinished, 'state'), content: state, mode: 0o600, owner });
  await rename(unfinished, join(folder, name));
  await fsyncDirectory(folder);
}
