// The logical replication slots of a server, by SQL. Decides nothing.
import type pg from 'pg';
import { type Lsn, parseLsn } from '../base/lsn.ts';
import { RECEIVER_STREAM } from './role.ts';

export interface LogicalSlotRow {
  readonly name: string;
  readonly database: string;
  readonly plugin: string;
  readonly isTwoPhase: boolean;
  readonly isTemporary: boolean;
  readonly activePid: number | undefined;
  /** The oldest transaction whose catalog rows it needs, modulo 2^32. */
  readonly catalogXmin: number | undefined;
  /** What its reader has confirmed. */
  readonly confirmedLsn: Lsn | undefined;
  /** WAL or catalog rows that it needs are gone. */
  readonly isLost: boolean;
  /** 17 and later: standbys are to have it as well. */
  readonly isFailover: boolean;
  /** 17 and later: it is the copy of the upstream's. */
  readonly isSynced: boolean;
}

export interface Found {
  readonly slots: readonly LogicalSlotRow[];
  /** `wal_level` in force. */
  readonly walLevel: string;
  /** Where WAL ends; undefined on a standby. */
  readonly walEnd: Lsn | undefined;
  /** The walreceiver that streams (see `WalReceiver`), and its timeline; undefined: none does. */
  readonly receiver: { readonly stream: string; readonly timeline: number } | undefined;
  /** Of the physical slots, by name: the oldest transaction whose catalog rows it protects. */
  readonly protectedXmin: ReadonlyMap<string, number>;
}

interface RawSlot {
  readonly name: string;
  readonly type: string;
  readonly database: string | null;
  readonly plugin: string | null;
  readonly two_phase: boolean;
  readonly temporary: boolean;
  readonly active_pid: number | null;
  readonly catalog_xmin: number | null;
  readonly confirmed: string | null;
  readonly lost: boolean;
  readonly failover: boolean;
  readonly synced: boolean;
}

/** Reads all slots; one cheap statement. `ask` runs a statement without parameters. */
export async function findLogicalSlots(
  majorVersion: number,
  ask: (text: string) => Promise<readonly { readonly found: unknown }[]>,
): Promise<Found> {
  const isConflicting = majorVersion >= 16 ? 'coalesce(conflicting, false)' : 'false';
  const isInvalid = majorVersion >= 17 ? 'invalidation_reason is not null' : 'false';
  const [failover, synced] = majorVersion >= 17 ? ['failover', 'synced'] : ['false', 'false'];
  const [row] = await ask(`
    select json_build_object('wal_level', current_setting('wal_level'), 'wal_end', ${WAL_END}, 'receiver', ${RECEIVER}, 'slots', coalesce(json_agg(json_build_object(
      'name', slot_name, 'type', slot_type, 'database', database, 'plugin', plugin, 'two_phase', two_phase, 'temporary', temporary,
      'active_pid', active_pid, 'catalog_xmin', catalog_xmin::text::bigint, 'confirmed', confirmed_flush_lsn::text,
      'lost', coalesce(wal_status = 'lost', false) or ${isConflicting} or ${isInvalid},
      'failover', ${failover}, 'synced', ${synced}) order by slot_name), '[]'::json)) as found
    from pg_catalog.pg_replication_slots`);
  if (row === undefined) throw new Error('PostgreSQL returned no row');
  const {
    wal_level: walLevel,
    slots,
    ...more
  } = row.found as {
    readonly wal_level: string;
    readonly wal_end: string | null;
    readonly receiver: { readonly stream: string; readonly timeline: number } | null;
    readonly slots: readonly RawSlot[];
  };
  return {
    walLevel,
    walEnd: more.wal_end === null ? undefined : parseLsn(more.wal_end),
    receiver: more.receiver ?? undefined,
    slots: slots.filter(({ type }) => type === 'logical').map(rowOf),
    protectedXmin: new Map(
      slots.flatMap(({ name, type, catalog_xmin: xmin }) =>
        type === 'physical' && xmin !== null ? [[name, xmin] as const] : [],
      ),
    ),
  };
}

const WAL_END = 'case when not pg_is_in_recovery() then pg_current_wal_insert_lsn()::text end';
const RECEIVER = `(select json_build_object('stream', ${RECEIVER_STREAM}, 'timeline', received_tli) from pg_stat_wal_receiver where status = 'streaming')`;

function rowOf(raw: RawSlot): LogicalSlotRow {
  return {
    name: raw.name,
    database: raw.database ?? '',
    plugin: raw.plugin ?? '',
    isTwoPhase: raw.two_phase,
    isTemporary: raw.temporary,
    activePid: raw.active_pid ?? undefined,
    catalogXmin: raw.catalog_xmin ?? undefined,
    confirmedLsn: raw.confirmed === null ? undefined : parseLsn(raw.confirmed),
    isLost: raw.lost,
    isFailover: raw.failover,
    isSynced: raw.synced,
  };
}

/** On a connection to the slot's database. Waits until the transactions that run now have ended. */
export async function createLogicalSlot(
  client: pg.Client,
  majorVersion: number,
  slot: { readonly name: string; readonly plugin: string; readonly isTwoPhase: boolean },
): Promise<void> {
  const failover = majorVersion >= 17 ? ', true' : '';
  await client.query(`select pg_create_logical_replication_slot($1, $2, false, $3${failover})`, [
    slot.name,
    slot.plugin,
    slot.isTwoPhase,
  ]);
}

/** The state file of a slot, and the file that it begins to read with where there is one: of a server before 17, as the replication account. */
export async function readSlotFiles(
  client: pg.Client,
  name: string,
  snapshotOf: (state: Buffer) => string,
): Promise<{ readonly state: Buffer; readonly snapshot: { name: string; content: Buffer } | undefined }> {
  for (let tries = 1; ; tries += 1) {
    const state = await readState(client, name);
    const snapshot = snapshotOf(state);
    const { rows } = await client.query<{ content: Buffer | null }>(
      "select pg_read_binary_file('pg_logical/snapshots/' || $1, 0, $2, true) as content",
      [snapshot, SNAPSHOT_BYTES_MAX],
    );
    // The slot may have moved on in between, and that file be gone with it.
    const isSame = snapshotOf(await readState(client, name)) === snapshot;
    const content = rows[0]?.content ?? undefined;
    if (content !== undefined && content.length >= SNAPSHOT_BYTES_MAX)
      throw new Error('what it begins to read with is too large to be copied');
    if (isSame) return { state, snapshot: content && { name: snapshot, content } };
    if (tries >= READ_COUNT_MAX) throw new Error('its reader moves it on too often to copy it');
  }
}

const READ_COUNT_MAX = 5;
/** PostgreSQL sets as much memory aside; such a file has a few bytes for each transaction that runs. */
const SNAPSHOT_BYTES_MAX = 16 * 2 ** 20;

async function readState(client: pg.Client, name: string): Promise<Buffer> {
  const { rows } = await client.query<{ state: Buffer }>(
    "select pg_read_binary_file('pg_replslot/' || $1 || '/state') as state",
    [name],
  );
  const [row] = rows;
  if (row === undefined) throw new Error(`no state of slot ${name} could be read`);
  return row.state;
}
