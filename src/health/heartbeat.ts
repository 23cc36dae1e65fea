// The statements of a probe. The table `pg_sentinel.heartbeat (peer text primary key, beat bigint, written_at timestamptz)` is made by the
// primary's agent (src/postgres/sql.ts); a row for each peer, so that one observer's frozen transaction cannot block another.

/** Our sessions show under this name in pg_stat_activity. Must never look like a member of the sync rule. */
export const applicationName = (peer: string): string => `pg_sentinel_probe:${peer}`;

/**
 * Settings of every probe session, in force from its first statement. `synchronous_commit = local`: a write that waited for a lost standby
 * would make a healthy primary look dead. The lock timeout ends a wait for a lock, which is nobody's failure. The last two make
 * {@link WRITE} ask for room on the disk of the data directory.
 */
export const SESSION_OPTIONS = [
  'synchronous_commit=local',
  'lock_timeout=1000',
  'statement_timeout=0',
  'client_min_messages=warning',
  'search_path=pg_catalog',
  'work_mem=64kB',
  'temp_tablespaces=',
]
  .map((setting) => `-c ${setting}`)
  .join(' ');

/**
 * One autocommit statement that writes this peer's row and reads it back. No row means that it has none yet. It also needs 72 kB for
 * a temporary file: a row that is written again and again stays in its page, and its WAL in a segment that is there already,
 * long after a full disk has begun to refuse everybody's inserts (seen).
 */
export const WRITE = {
  name: 'pg_sentinel_write',
  text: `WITH room AS MATERIALIZED (SELECT repeat('x', 73728) AS bytes)
    UPDATE pg_sentinel.heartbeat SET beat = beat + 1, written_at = now() WHERE peer = $1 RETURNING beat, (SELECT length(bytes) FROM room) AS room`,
} as const;

export const INSERT = {
  name: 'pg_sentinel_insert',
  text: 'INSERT INTO pg_sentinel.heartbeat (peer, beat) VALUES ($1, 1) ON CONFLICT (peer) DO UPDATE SET beat = heartbeat.beat + 1 RETURNING beat',
} as const;

/** `in_recovery`, and whether writes are switched off on purpose. Logs nothing on the server, unlike a refused write. */
export const READ = {
  name: 'pg_sentinel_read',
  text: `SELECT pg_is_in_recovery() AS in_recovery, current_setting('default_transaction_read_only') = 'on' AS read_only`,
} as const;

/**
 * What a server is that is only watched: nothing is written, and no right is needed beyond that to log in. Which timeline a standby receives
 * may be hidden from us; that of its last restart point is then as good as can be had.
 */
export const READ_SERVER = {
  name: 'pg_sentinel_server',
  text: `SELECT s.in_recovery,
    CASE WHEN s.in_recovery
      THEN coalesce((SELECT received_tli FROM pg_stat_wal_receiver), (SELECT timeline_id FROM pg_control_checkpoint()))
      ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END AS timeline,
    CASE WHEN s.in_recovery THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text AS position,
    CASE WHEN s.in_recovery THEN greatest(0, pg_last_wal_receive_lsn() - pg_last_wal_replay_lsn()) END::float8 AS lag_bytes,
    CASE WHEN s.in_recovery AND pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()
      THEN extract(epoch FROM now() - pg_last_xact_replay_timestamp()) * 1000 END::float8 AS lag_ms
    FROM (SELECT pg_is_in_recovery() AS in_recovery) AS s`,
} as const;

/** Ends a session of ours that was given up, so that it does not hold a slot; only if it still is ours. */
export const END_GIVEN_UP = {
  text: 'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND application_name = $2 AND usename = current_user',
} as const;
