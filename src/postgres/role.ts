// What a running instance is and how far it has come, in one statement. Figures for display and for choosing; the exact
// position that a failover counts on comes from position.ts, after a cut.
import { timeline, type Timeline } from '../base/ids.ts';
import { parseLsn, type Lsn } from '../base/lsn.ts';
import type { QueryOptions, Session } from './session.ts';

/** One standby as its primary (or cascading upstream) sees it: a row of pg_stat_replication. */
export interface ReplicationRow {
  readonly pid: number;
  readonly applicationName: string;
  readonly clientAddress: string | undefined;
  /** `startup`, `catchup`, `streaming`, `backup`, `stopping`. */
  readonly state: string;
  readonly syncState: 'async' | 'potential' | 'sync' | 'quorum';
  readonly syncPriority: number;
  readonly sentLsn: Lsn | undefined;
  readonly writeLsn: Lsn | undefined;
  readonly flushLsn: Lsn | undefined;
  readonly replayLsn: Lsn | undefined;
  readonly writeLagMs: number | undefined;
  readonly flushLagMs: number | undefined;
  readonly replayLagMs: number | undefined;
  readonly backendStartMs: number;
  readonly replyTimeMs: number | undefined;
  readonly slotName: string | undefined;
}

/** The row of pg_stat_wal_receiver; a walreceiver that is still connecting does not show. */
export interface WalReceiver {
  /** Tells this stream from any other, also one of a process of the same id, as after the restart of a container. */
  readonly stream: string;
  readonly status: string;
  readonly receivedTimeline: Timeline | undefined;
  readonly flushedLsn: Lsn | undefined;
  readonly senderHost: string | undefined;
  readonly senderPort: number | undefined;
  readonly slotName: string | undefined;
  /** How far the server had written when it last said so. */
  readonly sourceEnd?: Lsn | undefined;
}

export type Role =
  | {
      readonly kind: 'primary';
      readonly timeline: Timeline;
      readonly flushLsn: Lsn;
      readonly replication: readonly ReplicationRow[];
      /** `synchronous_standby_names` as the server has it now. */
      readonly synchronousStandbyNames: string;
      /** `synchronized_standby_slots`; undefined before 17. */
      readonly readerLimit: string | undefined;
    }
  | {
      readonly kind: 'standby';
      /** Of the walreceiver, else of the last restart point: may lag behind the truth. */
      readonly timeline: Timeline;
      /** Empty or stale after a restart: take the greater of received and replayed. */
      readonly receiveLsn: Lsn | undefined;
      readonly replayLsn: Lsn | undefined;
      readonly replayPaused: boolean;
      readonly replayedAtMs: number | undefined;
      readonly walReceiver: WalReceiver | undefined;
      readonly replication: readonly ReplicationRow[];
      readonly synchronousStandbyNames: string;
      readonly readerLimit: string | undefined;
    };

/** Reads the role. Throws as {@link Session.query} does. */
export async function readRole(session: Session, options: QueryOptions): Promise<Role> {
  const [row] = await session.query<{ role: RawRole }>(ROLE_QUERY, [], {
    ...options,
    name: 'pg_sentinel_role',
  });
  if (row === undefined) throw new Error('PostgreSQL returned no row for its role');
  return toRole(row.role);
}

/** The standby's position for comparing: the greater of received and replayed. */
export function standbyPosition(role: Extract<Role, { kind: 'standby' }>): Lsn | undefined {
  const { receiveLsn, replayLsn } = role;
  if (receiveLsn === undefined || replayLsn === undefined) return receiveLsn ?? replayLsn;
  return receiveLsn > replayLsn ? receiveLsn : replayLsn;
}

/** In a query of pg_stat_wal_receiver. */
export const RECEIVER_STREAM =
  "concat(pid, ' ', (select extract(epoch from backend_start) from pg_stat_get_activity(pid)))";

const ROLE_QUERY = `
  select json_build_object(
    'in_recovery', pg_is_in_recovery(),
    'timeline', case when pg_is_in_recovery()
      then coalesce((select received_tli from pg_stat_wal_receiver),
                    (select nullif(min_recovery_end_timeline, 0) from pg_control_recovery()),
                    (select timeline_id from pg_control_checkpoint()))::bigint
      else ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint end,
    'flush_lsn', case when not pg_is_in_recovery() then pg_current_wal_flush_lsn() end,
    'receive_lsn', pg_last_wal_receive_lsn(),
    'replay_lsn', pg_last_wal_replay_lsn(),
    'replayed_at_ms', (extract(epoch from pg_last_xact_replay_timestamp()) * 1000)::bigint,
    'replay_paused', case when pg_is_in_recovery() then pg_is_wal_replay_paused() else false end,
    'synchronous_standby_names', current_setting('synchronous_standby_names'),
    'reader_limit', current_setting('synchronized_standby_slots', true),
    'wal_receiver', (select json_build_object('stream', ${RECEIVER_STREAM}, 'status', status, 'timeline', received_tli, 'flushed_lsn', flushed_lsn,
       'sender_host', sender_host, 'sender_port', sender_port, 'slot_name', slot_name, 'latest_end_lsn', latest_end_lsn) from pg_stat_wal_receiver),
    'replication', (select coalesce(json_agg(json_build_object(
       'pid', s.pid, 'application_name', application_name, 'client_addr', host(client_addr), 'state', state,
       'sync_state', sync_state, 'sync_priority', sync_priority, 'sent_lsn', sent_lsn, 'write_lsn', write_lsn,
       'flush_lsn', flush_lsn, 'replay_lsn', replay_lsn,
       'write_lag_ms', extract(epoch from write_lag) * 1000, 'flush_lag_ms', extract(epoch from flush_lag) * 1000,
       'replay_lag_ms', extract(epoch from replay_lag) * 1000,
       'backend_start_ms', (extract(epoch from backend_start) * 1000)::bigint,
       'reply_time_ms', (extract(epoch from reply_time) * 1000)::bigint,
       'slot_name', r.slot_name)), '[]'::json)
       from pg_stat_replication s left join pg_replication_slots r on r.active_pid = s.pid)
  ) as role`;

type Optional<T> = T | null;

interface RawRole {
  in_recovery: boolean;
  timeline: number;
  flush_lsn: Optional<string>;
  receive_lsn: Optional<string>;
  replay_lsn: Optional<string>;
  replayed_at_ms: Optional<number>;
  replay_paused: boolean;
  synchronous_standby_names: string;
  reader_limit: Optional<string>;
  wal_receiver: Optional<{
    stream: string;
    status: string;
    timeline: Optional<number>;
    flushed_lsn: Optional<string>;
    sender_host: Optional<string>;
    sender_port: Optional<number>;
    slot_name: Optional<string>;
    latest_end_lsn: Optional<string>;
  }>;
  replication: {
    pid: number;
    application_name: string;
    client_addr: Optional<string>;
    state: Optional<string>;
    sync_state: Optional<ReplicationRow['syncState']>;
    sync_priority: Optional<number>;
    sent_lsn: Optional<string>;
    write_lsn: Optional<string>;
    flush_lsn: Optional<string>;
    replay_lsn: Optional<string>;
    write_lag_ms: Optional<number>;
    flush_lag_ms: Optional<number>;
    replay_lag_ms: Optional<number>;
    backend_start_ms: number;
    reply_time_ms: Optional<number>;
    slot_name: Optional<string>;
  }[];
}

const toLsn = (text: Optional<string>): Lsn | undefined => (text === null ? undefined : parseLsn(text));

function toRole(raw: RawRole): Role {
  const common = {
    timeline: timeline(raw.timeline),
    synchronousStandbyNames: raw.synchronous_standby_names,
    readerLimit: raw.reader_limit ?? undefined,
    replication: raw.replication.map(toReplicationRow),
  };
  const flushLsn = toLsn(raw.flush_lsn);
  if (!raw.in_recovery && flushLsn !== undefined) return { kind: 'primary', flushLsn, ...common };
  const receiver = raw.wal_receiver;
  return {
    kind: 'standby',
    ...common,
    receiveLsn: toLsn(raw.receive_lsn),
    replayLsn: toLsn(raw.replay_lsn),
    replayPaused: raw.replay_paused,
    replayedAtMs: raw.replayed_at_ms ?? undefined,
    walReceiver:
      receiver === null
        ? undefined
        : {
            stream: receiver.stream,
            status: receiver.status,
            receivedTimeline: receiver.timeline ? timeline(receiver.timeline) : undefined,
            flushedLsn: toLsn(receiver.flushed_lsn),
            senderHost: receiver.sender_host ?? undefined,
            senderPort: receiver.sender_port ?? undefined,
            slotName: receiver.slot_name ?? undefined,
            sourceEnd: toLsn(receiver.latest_end_lsn),
          },
  };
}

function toReplicationRow(row: RawRole['replication'][number]): ReplicationRow {
  return {
    pid: row.pid,
    applicationName: row.application_name,
    clientAddress: row.client_addr ?? undefined,
    state: row.state ?? 'startup',
    syncState: row.sync_state ?? 'async',
    syncPriority: row.sync_priority ?? 0,
    sentLsn: toLsn(row.sent_lsn),
    writeLsn: toLsn(row.write_lsn),
    flushLsn: toLsn(row.flush_lsn),
    replayLsn: toLsn(row.replay_lsn),
    writeLagMs: row.write_lag_ms ?? undefined,
    flushLagMs: row.flush_lag_ms ?? undefined,
    replayLagMs: row.replay_lag_ms ?? undefined,
    backendStartMs: row.backend_start_ms,
    replyTimeMs: row.reply_time_ms ?? undefined,
    slotName: row.slot_name ?? undefined,
  };
}
