// The PostgreSQL parameters that pg-sentinel sets itself, each with the reason. A user who set one of them would loosen
// the fence, so `node.parameters` and the settings in the log refuse them by name. Must never lack a parameter that settings.ts writes.

const ADDRESS = 'it follows node.address and node.socket_directory';
const FILES = 'pg-sentinel places and writes the configuration files';
const SYNC_RULE = 'the sync rule in the log decides whom a commit waits for';
const UPSTREAM = 'it decides whom a standby follows, and a failover takes it away';
const END_OF_WAL = 'a member must replay to the end of its WAL';
const REWIND = 'pg_rewind and standbys need it';
const SPEED = 'the speed of a failover depends on it';
const SLOTS = 'slots and walsenders of members are counted by pg-sentinel';
const SAFE_DISK = 'an acknowledged commit must survive a crash';

/** Parameter name (lower case) to the reason why nobody else may set it. */
export const RESERVED_PARAMETERS: ReadonlyMap<string, string> = new Map(
  Object.entries({
    listen_addresses: ADDRESS,
    port: ADDRESS,
    unix_socket_directories: ADDRESS,
    unix_socket_permissions: 'whoever can open the private socket is superuser',
    unix_socket_group: 'whoever can open the private socket is superuser',
    cluster_name: 'the agent reads it in the process titles',
    config_file: FILES,
    data_directory: FILES,
    hba_file: FILES,
    ident_file: FILES,
    external_pid_file: FILES,
    include: FILES,
    include_dir: FILES,
    include_if_exists: FILES,
    fsync: SAFE_DISK,
    full_page_writes: SAFE_DISK,
    synchronous_commit: SYNC_RULE,
    synchronous_standby_names: SYNC_RULE,
    synchronized_standby_slots: SYNC_RULE,
    sync_replication_slots: 'it would hold up a promotion',
    primary_conninfo: UPSTREAM,
    primary_slot_name: UPSTREAM,
    restore_command: UPSTREAM,
    wal_receiver_create_temp_slot: UPSTREAM,
    promote_trigger_file: 'only pg-sentinel promotes',
    recovery_end_command: 'only pg-sentinel promotes',
    recovery_min_apply_delay: `${END_OF_WAL}; for a delayed replica set node.apply_delay`,
    recovery_target: END_OF_WAL,
    recovery_target_action: END_OF_WAL,
    recovery_target_inclusive: END_OF_WAL,
    recovery_target_lsn: END_OF_WAL,
    recovery_target_name: END_OF_WAL,
    recovery_target_time: END_OF_WAL,
    recovery_target_timeline: END_OF_WAL,
    recovery_target_xid: END_OF_WAL,
    hot_standby: 'standbys are watched by queries',
    hot_standby_feedback: 'pg-sentinel sets it alike on every member',
    update_process_title: 'how far a recovery has come is read from the titles of its processes',
    restart_after_crash: 'pg-sentinel decides whether PostgreSQL may restart its backends by itself',
    wal_level: REWIND,
    wal_log_hints: REWIND,
    wal_keep_size: REWIND,
    max_slot_wal_keep_size: SLOTS,
    idle_replication_slot_timeout: SLOTS,
    max_replication_slots: SLOTS,
    max_wal_senders: SLOTS,
    wal_retrieve_retry_interval: SPEED,
    wal_receiver_status_interval: SPEED,
    wal_receiver_timeout: SPEED,
    wal_sender_timeout: SPEED,
    tcp_keepalives_idle: SPEED,
    tcp_keepalives_interval: SPEED,
    tcp_keepalives_count: SPEED,
    tcp_user_timeout: SPEED,
  }),
);
