// What the replication slots of a data directory reserve, read from their state files: also where PostgreSQL is stopped.
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Lsn, lsn } from '../base/lsn.ts';

/** ReplicationSlotOnDisk of PostgreSQL 14 to 18 (src/backend/replication/slot.c): 16 bytes of header, name, database, persistency, two xids. */
const MAGIC = 0x1051ca1;
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
