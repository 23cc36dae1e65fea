// What an administrator keeps an eye on and no decision needs: disk, WAL that slots keep, archiving, settings that wait for a restart.
// Must hold up nothing: it is read in the background, seldom, never twice at once, and not while the node changes its part.
import { opendir, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { DiskRoom, KeptBySlots, Upkeep } from '../cluster/report.ts';
import type { Duty } from '../failover/duties.ts';
import { PENDING_RESTART } from '../postgres/pending-restart.ts';
import type { Session } from '../postgres/session.ts';
import type { Instance } from './instance.ts';

const READ_EVERY_MS = 10_000;
/** Of files that could not be read: a node that is being cloned has no data directory yet, and whoever checks it waits for the figures. */
const FILES_RETRY_MS = 1000;
/** What is older says nothing: whatever it is read from may hang. */
const SHOWN_MS = 3 * READ_EVERY_MS;
const QUERY_TIMEOUT_MS = 1000;
const FILE_COUNT_MAX = 50_000;
/** Of a report, which travels several times a second. */
const SLOT_COUNT_MAX = 20;

export interface UpkeepWatch {
  /** What was read last; never waits. */
  latest(): Upkeep;
}

export function createUpkeepWatch(options: {
  readonly instance: Pick<Instance, 'postmaster'> & {
    readonly options: Pick<Instance['options'], 'dataDirectory' | 'logicalSlots'>;
    readonly session: Pick<Session, 'query' | 'connected'>;
  };
  readonly duty: () => Duty;
  readonly nowMs: () => number;
}): UpkeepWatch {
  const { instance, nowMs } = options;
  const { dataDirectory } = instance.options;
  const wal = join(dataDirectory, 'pg_wal');
  const ofFiles = { nowMs, retryMs: FILES_RETRY_MS };
  const dataDisk = recently(ofFiles, () => readRoom(dataDirectory));
  const walDisk = recently(ofFiles, async () =>
    (await isOneDisk(dataDirectory, wal)) ? ('same' as const) : readRoom(wal),
  );
  const readyCount = recently(ofFiles, () => countReady(join(wal, 'archive_status')));
  // What another PostgreSQL said is past.
  const isOfAnother = ({ pid }: { readonly pid: number | undefined }): boolean =>
    pid !== instance.postmaster()?.pid;
  let idleBefore: readonly string[] = [];
  const server = recently(
    // A statement that takes too long costs the session, which everything else needs.
    { nowMs, retryMs: READ_EVERY_MS },
    async () => {
      const pid = instance.postmaster()?.pid;
      const { idle, slots, ...rest } = await readServer(instance.session);
      // One that was seen only once may be about to be dropped by the round that looks after slots.
      const leftLogical = idle.filter((name) => idleBefore.includes(name) && !isNamed(name));
      idleBefore = idle;
      return { pid, slots: { ...slots, ...(leftLogical.length === 0 ? {} : { leftLogical }) }, ...rest };
    },
    isOfAnother,
  );
  const isNamed = (slot: string): boolean =>
    instance.options.logicalSlots().some(({ name }) => name === slot);
  return {
    latest() {
      // One that is not connected would have to be waited for, and what comes after it with it.
      const mayAsk =
        isCalm(options.duty()) && instance.session.connected && instance.postmaster() !== undefined;
      const said = server(mayAsk);
      const [data, ofWal] = [dataDisk(true), walDisk(true)];
      return {
        dataDisk: data,
        // Read at two moments it would look like two disks.
        walDisk: ofWal === 'same' ? data : ofWal,
        readyCount: readyCount(true),
        slots: said?.slots,
        archiver: said?.archiver,
        pendingRestart: said?.pendingRestart,
      };
    },
  };
}

/** A cut or a promotion has the session for itself. */
function isCalm({ kind }: Duty): boolean {
  return kind === 'primary' || kind === 'follow' || kind === 'hands-off';
}

/** What `read` found last, while that is not too old or past; begins to read anew where it is time to, or what was read is past. */
function recently<T>(
  { nowMs, retryMs }: { readonly nowMs: () => number; readonly retryMs: number },
  read: () => Promise<T>,
  isPast: (value: T) => boolean = () => false,
): (mayRead: boolean) => T | undefined {
  let last: { readonly value: T | undefined; readonly atMs: number } | undefined;
  let begunMs: number | undefined;
  let isReading = false;
  const readAnew = (): void => {
    isReading = true;
    const atMs = nowMs();
    begunMs = atMs;
    const ended = (value: T | undefined): void => {
      last = { value, atMs };
      isReading = false;
    };
    read().then(ended, () => ended(undefined));
  };
  return (mayRead) => {
    const everyMs = last !== undefined && last.value === undefined ? retryMs : READ_EVERY_MS;
    const isDue = begunMs === undefined || nowMs() - begunMs >= everyMs;
    if (last?.value !== undefined && isPast(last.value)) last = undefined;
    if (mayRead && !isReading && (isDue || last === undefined)) readAnew();
    return last !== undefined && nowMs() - last.atMs <= SHOWN_MS ? last.value : undefined;
  };
}

async function isOneDisk(one: string, other: string): Promise<boolean> {
  const [a, b] = await Promise.all([stat(one), stat(other)]);
  return a.dev === b.dev;
}

async function readRoom(directory: string): Promise<DiskRoom> {
  const { bavail, blocks, bsize } = await statfs(directory);
  return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
}

/** An archive that has been failing for days leaves very many: they are not all counted. */
async function countReady(directory: string): Promise<number> {
  let [count, seen] = [0, 0];
  for await (const { name } of await opendir(directory, { bufferSize: 512 })) {
    seen += 1;
    if (name.endsWith('.ready')) count += 1;
    if (seen >= FILE_COUNT_MAX) break;
  }
  return count;
}

/** `idle`: logical slots of a standby that nobody reads from, and that PostgreSQL has not synchronised itself. */
async function readServer(
  session: Pick<Session, 'query'>,
): Promise<Pick<Upkeep, 'archiver' | 'pendingRestart'> & { slots: KeptBySlots; idle: readonly string[] }> {
  const [row] = await session.query<{ upkeep: RawUpkeep }>(UPKEEP_QUERY, [], {
    timeoutMs: QUERY_TIMEOUT_MS,
    name: 'pg_sentinel_upkeep',
  });
  if (row === undefined) throw new Error('PostgreSQL returned no row');
  const { slot, safe, unreserved, lost, archives, failing, pending_restart: pendingRestart } = row.upkeep;
  return {
    idle: row.upkeep.idle.slice(0, SLOT_COUNT_MAX),
    slots: {
      keptBytes: Math.max(0, slot?.kept_bytes ?? 0),
      most: slot?.name,
      ...(safe === null ? {} : { safeBytes: Math.max(0, safe) }),
      ...(unreserved.length === 0 ? {} : { unreserved: unreserved.slice(0, SLOT_COUNT_MAX) }),
      ...(lost.length === 0 ? {} : { lost: lost.slice(0, SLOT_COUNT_MAX) }),
    },
    archiver: { isOn: archives, isFailing: archives && failing },
    pendingRestart,
  };
}

interface RawUpkeep {
  readonly slot: { readonly name: string; readonly kept_bytes: number } | null;
  readonly safe: number | null;
  readonly unreserved: readonly string[];
  readonly lost: readonly string[];
  readonly idle: readonly string[];
  readonly archives: boolean;
  readonly failing: boolean;
  readonly pending_restart: readonly string[];
}

// All of it is read from memory (before PostgreSQL 15 the statistics from a file): nothing in it waits for a lock on a table or a standby.
const UPKEEP_QUERY = `
  select json_build_object(
    'slot', (select json_build_object('name', slot_name, 'kept_bytes', pg_wal_lsn_diff(
         case when pg_is_in_recovery() then coalesce(pg_last_wal_replay_lsn(), restart_lsn) else pg_current_wal_lsn() end,
         restart_lsn))
       from pg_replication_slots where restart_lsn is not null order by restart_lsn limit 1),
    'safe', (select min(safe_wal_size) from pg_replication_slots),
    'unreserved', (select coalesce(json_agg(slot_name order by slot_name), '[]'::json)
       from pg_replication_slots where wal_status = 'unreserved'),
    'lost', (select coalesce(json_agg(slot_name order by slot_name), '[]'::json)
       from pg_replication_slots where wal_status = 'lost'),
    'idle', (select coalesce(json_agg(slot_name order by slot_name), '[]'::json) from pg_replication_slots s
       where pg_is_in_recovery() and slot_type = 'logical' and not temporary and not active
         and wal_status is distinct from 'lost' and not coalesce((to_jsonb(s) ->> 'synced')::boolean, false)),
    'archives', current_setting('archive_mode') = 'always'
       or (current_setting('archive_mode') = 'on' and not pg_is_in_recovery()),
    'failing', (select coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false) from pg_stat_archiver),
    'pending_restart', (select coalesce(json_agg(name order by name), '[]'::json) from pg_settings s where ${PENDING_RESTART})
  ) as upkeep`;
