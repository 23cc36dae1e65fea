// The statements that set a primary up: roles, the pg_sentinel schema, replication slots. All may be run again at any
// time, change nothing that is right already, and run with synchronous_commit = local (the session sees to that).
import { createHash, createHmac, pbkdf2Sync, randomBytes, timingSafeEqual } from 'node:crypto';
import pg from 'pg';
import type { QueryOptions, Session } from './session.ts';

export interface Role {
  readonly name: string;
  readonly password: string;
}

/** Functions that pg_rewind calls on its source (PostgreSQL documentation, pg_rewind, "Notes"). */
const REWIND_FUNCTIONS = [
  'pg_ls_dir(text, boolean, boolean)',
  'pg_stat_file(text, boolean)',
  'pg_read_binary_file(text)',
  'pg_read_binary_file(text, bigint, bigint, boolean)',
];
/** All that the replication role may execute. */
const FUNCTIONS = [...REWIND_FUNCTIONS, 'pg_control_checkpoint()'];

/**
 * Creates the replication role (also for pg_rewind) and the probe role, the schema and the heartbeat table, on the primary. The session's
 * database is where the heartbeat goes. Throws as {@link Session.query} does.
 */
export async function setUpPrimary(options: {
  readonly session: Session;
  readonly replication: Role;
  readonly probe: Role;
  readonly query: QueryOptions;
}): Promise<void> {
  const { session, query } = options;
  await ensureRole({ session, role: options.replication, attributes: 'LOGIN REPLICATION', query });
  await ensureRole({ session, role: options.probe, attributes: 'LOGIN', query });
  const replication = pg.escapeIdentifier(options.replication.name);
  const probe = pg.escapeIdentifier(options.probe.name);
  const statements = [
    CREATE_SCHEMA,
    'create table if not exists pg_sentinel.heartbeat (peer text primary key, beat bigint not null, written_at timestamptz not null default now())',
    `grant usage on schema pg_sentinel to ${probe}`,
    `grant select, insert, update, delete on pg_sentinel.heartbeat to ${probe}`,
    `grant pg_monitor to ${probe}`,
    ...FUNCTIONS.map((name) => `grant execute on function pg_catalog.${name} to ${replication}`),
    // For the sizes of databases and WAL, which a clone asks for first.
    `grant pg_monitor to ${replication}`,
  ];
  if (await isSetUp(options)) return;
  for (const statement of statements) await session.query(statement, [], query);
}

/** Names that begin with pg_ are reserved for the system; a superuser may allow himself one. pg_dump leaves such schemas out. */
const CREATE_SCHEMA = `do $$ begin
  perform set_config('allow_system_table_mods', 'on', true);
  create schema if not exists pg_sentinel;
end $$`;

/** Grants write WAL even where nothing changes: an idle primary is left alone. Of a list of privileges in one word any would do. */
async function isSetUp(options: {
  session: Session;
  replication: Role;
  probe: Role;
  query: QueryOptions;
}): Promise<boolean> {
  const [row] = await options.session.query<{ done: boolean }>(
    `select coalesce((select bool_and(has_table_privilege($1, to_regclass('pg_sentinel.heartbeat'), kind)) from unnest(array['select', 'insert', 'update', 'delete']) kind)
         and has_schema_privilege($1, to_regnamespace('pg_sentinel'), 'usage') and pg_has_role($1, 'pg_monitor', 'member')
         and pg_has_role($2, 'pg_monitor', 'member')
         and (select bool_and(has_function_privilege($2, oid, 'execute')) from unnest($3::text[]) name, to_regprocedure(name) oid), false) as done`,
    [options.probe.name, options.replication.name, FUNCTIONS.map((name) => `pg_catalog.${name}`)],
    options.query,
  );
  return row?.done === true;
}

async function ensureRole(options: {
  session: Session;
  role: Role;
  attributes: string;
  query: QueryOptions;
}): Promise<void> {
  const { session, role, attributes, query } = options;
  const name = pg.escapeIdentifier(role.name);
  const [present] = await session.query<{ verifier: string | null; login: boolean; replication: boolean }>(
    'select rolpassword as verifier, rolcanlogin as login, rolreplication as replication from pg_authid where rolname = $1',
    [role.name],
    query,
  );
  if (present === undefined) {
    await session.query(
      `create role ${name} ${attributes} password ${pg.escapeLiteral(scramVerifier(role.password))}`,
      [],
      query,
    );
    return;
  }
  const wantsReplication = attributes.includes('REPLICATION');
  const isRight =
    present.login && present.replication === wantsReplication && verifies(present.verifier, role.password);
  if (!isRight)
    await session.query(
      `alter role ${name} ${attributes} password ${pg.escapeLiteral(scramVerifier(role.password))}`,
      [],
      query,
    );
}

/** What PostgreSQL has of a role's password; null: no such role, or no password. */
export async function verifierOf(
  session: Session,
  role: string,
  options: QueryOptions,
): Promise<string | null> {
  const [row] = await session.query<{ verifier: string | null }>(
    'select rolpassword as verifier from pg_authid where rolname = $1',
    [role],
    options,
  );
  return row?.verifier ?? null;
}

const ITERATIONS = 4096;

/** A SCRAM-SHA-256 verifier (RFC 5803), so that no password reaches PostgreSQL or its log in clear. */
export function scramVerifier(password: string, salt: Buffer = randomBytes(16)): string {
  const salted = pbkdf2Sync(password.normalize('NFKC'), salt, ITERATIONS, 32, 'sha256');
  const storedKey = createHash('sha256')
    .update(createHmac('sha256', salted).update('Client Key').digest())
    .digest('base64');
  const serverKey = createHmac('sha256', salted).update('Server Key').digest('base64');
  return `SCRAM-SHA-256$${ITERATIONS}:${salt.toString('base64')}$${storedKey}:${serverKey}`;
}

/** Whether a role whose verifier that is takes the password; false for what {@link scramVerifier} does not make. */
export function verifies(verifier: string | null, password: string): boolean {
  const match = /^SCRAM-SHA-256\$4096:([^$]+)\$/.exec(verifier ?? '');
  if (verifier === null || match?.[1] === undefined) return false;
  const expected = Buffer.from(scramVerifier(password, Buffer.from(match[1], 'base64')));
  const actual = Buffer.from(verifier);
  return expected.length === actual.length && timingSafeEqual(expected, actual);
}

export interface Slot {
  readonly name: string;
  readonly activePid: number | undefined;
  readonly restartLsn: string | undefined;
  /** `reserved`, `extended`, `unreserved` or `lost`; undefined for a slot that reserves nothing yet. */
  readonly walStatus: string | undefined;
  /** It keeps dead rows, as its member last asked for by `hot_standby_feedback`. */
  readonly holdsRowsBack: boolean;
}

/** The physical replication slots of this node, a standby's too. */
export async function listSlots(session: Session, query: QueryOptions): Promise<Slot[]> {
  const rows = await session.query<{
    slot_name: string;
    active_pid: number | null;
    restart_lsn: string | null;
    wal_status: string | null;
    holds_rows: boolean;
  }>(
    "select slot_name, active_pid, restart_lsn::text, wal_status, xmin is not null or catalog_xmin is not null as holds_rows from pg_replication_slots where slot_type = 'physical' and not temporary order by 1",
    [],
    query,
  );
  return rows.map((row) => ({
    name: row.slot_name,
    activePid: row.active_pid ?? undefined,
    restartLsn: row.restart_lsn ?? undefined,
    walStatus: row.wal_status ?? undefined,
    holdsRowsBack: row.holds_rows,
  }));
}

/**
 * Makes an idle physical slot anew, so that it keeps no dead rows any more; false where there is none, or somebody has just taken it. It
 * keeps WAL from the last checkpoint (or restartpoint) on. One statement: whoever comes for the slot finds it, but for a moment.
 */
export async function renewIdleSlot(session: Session, name: string, query: QueryOptions): Promise<boolean> {
  const text = `
    with idle as materialized (
      select slot_name from pg_replication_slots where slot_name = $1 and slot_type = 'physical' and active_pid is null),
    dropped as materialized (select slot_name, pg_drop_replication_slot(slot_name)::text as done from idle)
    select pg_create_physical_replication_slot(slot_name, true) from dropped where done is not null`;
  try {
    return (await session.query(text, [name], query)).length > 0;
  } catch (error) {
    // 55006: its member came between the two looks.
    if ((error as { code?: string }).code === '55006') return false;
    throw error;
  }
}

/** Creates a physical slot that keeps WAL from now on, unless it exists. */
export async function createSlot(session: Session, name: string, query: QueryOptions): Promise<void> {
  const text = `select pg_create_physical_replication_slot($1, true)
    where not exists (select from pg_replication_slots where slot_name = $1)`;
  try {
    await session.query(text, [name], query);
  } catch (error) {
    // 42710: somebody else created it between the two.
    if ((error as { code?: string }).code !== '42710') throw error;
  }
}

/** Ends whoever holds the slot and drops it. Returns false where there is none. Throws 55006 while a holder is still ending: try again. */
export async function dropSlot(session: Session, name: string, query: QueryOptions): Promise<boolean> {
  await session.query(
    'select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1 and active_pid is not null',
    [name],
    query,
  );
  const rows = await session.query(
    'select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = $1',
    [name],
    query,
  );
  return rows.length > 0;
}

/** An immediate CHECKPOINT: before a planned stop, and soon after a promotion (pg_rewind before 16 needs one on its source). */
export async function checkpoint(session: Session, query: QueryOptions): Promise<void> {
  await session.query('checkpoint', [], query);
}
