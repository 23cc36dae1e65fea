// Our settings of one PostgreSQL instance, in a file of our own (`pg_sentinel.conf`) that postgresql.conf includes last.
// They go by file and SIGHUP, so that a server without a free connection slot can still be steered. Users' parameters
// stand in the same file, before ours, and may not name one of ours.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { MemberId } from '../base/ids.ts';
import { assert } from '../base/assert.ts';
import { writeFileDurably, type Owner } from './durable-files.ts';
import { RESERVED_PARAMETERS } from './reserved-parameters.ts';

export const SETTINGS_FILE = 'pg_sentinel.conf';

/** A standby that does not exist: a node that is not primary waits for it, so it can acknowledge nothing (DESIGN §4). */
const NOBODY = 'pg_sentinel_nobody';

/** What `synchronous_standby_names` is to say. */
export type SynchronousStandbys =
  | { readonly kind: 'alone' }
  /** `readersWaitFor`: on a primary, whose acknowledgement nobody's commits wait for, though its readers are to: see {@link renderReaderLimit}. */
  | { readonly kind: 'nobody'; readonly readersWaitFor?: readonly MemberId[] }
  | { readonly kind: 'any'; readonly acks: number; readonly members: readonly MemberId[] };

export interface InstanceSettings {
  /** Major version of the PostgreSQL that reads them: it does not start with a setting that it does not know. */
  readonly version: number;
  readonly listenAddresses: readonly string[];
  readonly port: number;
  /** Private directory of mode 0700: whoever can open the socket in it is superuser. */
  readonly socketDirectory: string;
  /** Without spaces: it becomes part of the process titles, which the cut reads. */
  readonly clusterName: string;
  readonly synchronousStandbys: SynchronousStandbys;
  /** See `upstream.ts`; undefined for a primary and for a node that is cut off. */
  readonly upstream: { readonly conninfo: string; readonly slotName: string } | undefined;
  readonly walLevel: 'replica' | 'logical';
  readonly maxWalSenders: number;
  readonly maxReplicationSlots: number;
  readonly walKeepSizeMb: number;
  /** -1: a slot keeps WAL without limit. */
  readonly maxSlotWalKeepSizeMb: number;
  readonly hotStandbyFeedback: boolean;
  /** 17 and later: readers of logical slots get no further than every member of `synchronousStandbys`. */
  readonly holdsReadersBack: boolean;
  readonly restartAfterCrash: boolean;
  /** The user's own parameters; throws when one of them is ours. */
  readonly parameters: Readonly<Record<string, string>>;
}

export const DEFAULT_SETTINGS = {
  synchronousStandbys: { kind: 'nobody' },
  upstream: undefined,
  walLevel: 'replica',
  maxWalSenders: 16,
  maxReplicationSlots: 16,
  walKeepSizeMb: 256,
  maxSlotWalKeepSizeMb: 10_240,
  hotStandbyFeedback: false,
  holdsReadersBack: false,
  restartAfterCrash: false,
  parameters: {},
} as const satisfies Partial<InstanceSettings>;

/**
 * Whether the postmaster may restart its backends by itself after one of them was killed, which is no failover (docs/detection.md).
 * Commits wait only once the checkpointer has read the rule. From version 15 on crash recovery ends with a checkpoint that
 * the checkpointer makes after it has, before anybody is let in; in 14 it starts beside the first clients, and those could
 * be acknowledged alone.
 */
export const mayRestartAfterCrash = (majorVersion: number): boolean => majorVersion >= 15;

/** `ANY 1 ("a", "b")`, `` for alone, and for nobody a rule that no standby can fulfil. */
export function renderSynchronousStandbys(standbys: SynchronousStandbys): string {
  switch (standbys.kind) {
    case 'alone':
      return '';
    case 'nobody':
      return `ANY 1 ("${NOBODY}")`;
    case 'any': {
      const { acks, members } = standbys;
      assert(
        Number.isInteger(acks) && acks >= 1 && acks <= members.length,
        `ANY ${acks} of ${members.length} members is no rule`,
      );
      return `ANY ${acks} (${members.map((member) => `"${member}"`).join(', ')})`;
    }
  }
}

/** The settings that are ours, by name, with the values they get. */
export function ourSettings(settings: InstanceSettings): Record<string, string> {
  return {
    listen_addresses: settings.listenAddresses.join(','),
    port: String(settings.port),
    unix_socket_directories: settings.socketDirectory,
    unix_socket_permissions: '0700',
    cluster_name: settings.clusterName,
    wal_log_hints: 'on',
    fsync: 'on',
    full_page_writes: 'on',
    hot_standby: 'on',
    restart_after_crash: settings.restartAfterCrash ? 'on' : 'off',
    synchronous_commit: 'on',
    synchronous_standby_names: renderSynchronousStandbys(settings.synchronousStandbys),
    primary_conninfo: settings.upstream?.conninfo ?? '',
    primary_slot_name: settings.upstream?.slotName ?? '',
    restore_command: '',
    recovery_target_timeline: 'latest',
    wal_retrieve_retry_interval: '100ms',
    wal_receiver_status_interval: '1s',
    wal_receiver_timeout: '10s',
    wal_sender_timeout: '10s',
    update_process_title: 'on',
    max_wal_senders: String(settings.maxWalSenders),
    max_replication_slots: String(settings.maxReplicationSlots),
    wal_keep_size: `${settings.walKeepSizeMb}MB`,
    ...settingsOfLog(settings),
    tcp_keepalives_idle: '5',
    tcp_keepalives_interval: '2',
    tcp_keepalives_count: '3',
    tcp_user_timeout: '10s',
    ...settingsOfSome(settings),
  };
}

/** Those of ours whose values people decide, in the settings of the group. PostgreSQL takes them by reload, `wal_level` at its next start. */
export function settingsOfLog({
  maxSlotWalKeepSizeMb,
  walLevel,
  hotStandbyFeedback,
}: Pick<InstanceSettings, 'maxSlotWalKeepSizeMb' | 'walLevel' | 'hotStandbyFeedback'>): Record<
  string,
  string
> {
  return {
    wal_level: walLevel,
    hot_standby_feedback: hotStandbyFeedback ? 'on' : 'off',
    max_slot_wal_keep_size: maxSlotWalKeepSizeMb < 0 ? '-1' : `${maxSlotWalKeepSizeMb}MB`,
  };
}

/** What a standby of 17 and later has on while the group has logical slots (docs/logical-slots.md), and a cut switches off. */
export const SLOT_SYNC = 'sync_replication_slots';
/** On the primary: how far readers of logical slots get. */
export const READER_LIMIT = 'synchronized_standby_slots';

/** The value of {@link READER_LIMIT}: nobody reads what a failover by this rule could lose. Only members have slots by which it could go. */
export function renderReaderLimit(standbys: SynchronousStandbys, holdsReadersBack: boolean): string {
  if (!holdsReadersBack) return '';
  if (standbys.kind === 'any') return standbys.members.join(', ');
  return standbys.kind === 'nobody' ? (standbys.readersWaitFor ?? []).join(', ') : '';
}

/**
 * Settings that only some versions know, whatever a file or ALTER SYSTEM says: nobody else promotes; slots are synchronised only while the
 * node follows, since a promotion waits until that has ended; a list of standbys that is not the rule's would hold up logical decoding; and a
 * member that was away for a while must find its slot.
 */
function settingsOfSome({
  version,
  synchronousStandbys,
  holdsReadersBack,
}: InstanceSettings): Record<string, string> {
  return {
    ...(version < 16 && { promote_trigger_file: '' }),
    ...(version >= 17 && {
      [SLOT_SYNC]: 'off',
      [READER_LIMIT]: renderReaderLimit(synchronousStandbys, holdsReadersBack),
    }),
    ...(version >= 18 && { idle_replication_slot_timeout: '0' }),
  };
}

/** The text of `pg_sentinel.conf`. Throws when a user parameter is no parameter name or is one of ours. */
export function renderSettings(settings: InstanceSettings): string {
  const ours = ourSettings(settings);
  const lines = [
    '# Written by pg-sentinel; changes made here are lost. Use the parameters of its configuration.',
  ];
  for (const [key, value] of Object.entries(settings.parameters)) {
    if (!/^[a-z_][a-z0-9_.]*$/i.test(key))
      throw new Error(`cannot set "${key}": it is not the name of a PostgreSQL parameter`);
    if (FORBIDDEN.has(key.toLowerCase()))
      throw new Error(
        `cannot set ${key}: a member must replay all its WAL, keep its slots and be found; remove it`,
      );
    if (key.toLowerCase() in ours)
      throw new Error(
        `cannot set ${key} to "${value}": pg-sentinel sets it itself; remove it from the parameters`,
      );
    lines.push(renderSetting(key, value));
  }
  lines.push(...Object.entries(ours).map(([key, value]) => renderSetting(key, value)));
  return `${lines.join('\n')}\n`;
}

/** Of nobody: a member must replay all its WAL, keep its slots and be found. */
export const FORBIDDEN: ReadonlySet<string> = new Set([
  'recovery_target',
  'recovery_target_name',
  'recovery_target_time',
  'recovery_target_xid',
  'recovery_target_lsn',
  'config_file',
  'data_directory',
  'hba_file',
  'promote_trigger_file',
  'idle_replication_slot_timeout',
]);

/** One line of a PostgreSQL configuration file: backslashes and quotes are doubled. */
export function renderSetting(key: string, value: string): string {
  if (/[\n\r\0]/.test(value)) throw new Error(`cannot set ${key}: its value holds a line break`);
  return `${key} = '${value.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`;
}

/** Reads `key = 'value'` lines; the last one of a key counts. Keys are lower case. */
export function parseSettings(text: string): Map<string, string> {
  const settings = new Map<string, string>();
  for (const line of text.split('\n')) {
    const match = /^\s*([A-Za-z_][\w.]*)\s*(?:=\s*|\s)(?:'((?:[^'\\]|''|\\.)*)'|([^\s#']+))/.exec(line);
    if (match?.[1] === undefined) continue;
    const quoted = match[2]?.replace(
      /''|\\(.)/g,
      (whole, escaped: string | undefined) => escaped ?? (whole === "''" ? "'" : whole),
    );
    settings.set(match[1].toLowerCase(), quoted ?? match[3] ?? '');
  }
  return settings;
}

/** Writes `pg_sentinel.conf` durably and has postgresql.conf include it last. Does not reload. */
export async function writeSettings(options: {
  readonly dataDirectory: string;
  readonly settings: InstanceSettings;
  readonly owner: Owner | undefined;
}): Promise<void> {
  const { dataDirectory, owner } = options;
  await writeFileDurably({
    path: join(dataDirectory, SETTINGS_FILE),
    content: renderSettings(options.settings),
    mode: 0o600,
    owner,
  });
  await ensureIncluded({ dataDirectory, owner });
}

/** Has postgresql.conf include `pg_sentinel.conf` last; true where it did not. Does not reload. */
export async function ensureIncluded(options: {
  readonly dataDirectory: string;
  readonly owner: Owner | undefined;
}): Promise<boolean> {
  const { dataDirectory, owner } = options;
  const path = join(dataDirectory, 'postgresql.conf');
  const present = await readFile(path, 'utf8').catch(absentAsEmpty);
  const include = `include '${SETTINGS_FILE}'`;
  if (present.trimEnd().endsWith(`\n${include}`)) return false;
  const others = present
    .split('\n')
    .filter((line) => line.trim() !== include)
    .join('\n')
    .trimEnd();
  await writeFileDurably({
    path,
    content: `${others}\n\n# pg-sentinel: keep this line last.\n${include}\n`,
    mode: 0o600,
    owner,
  });
  return true;
}

function absentAsEmpty(error: unknown): string {
  if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
  throw error;
}

/** The settings in effect for `pg_sentinel.conf`, by name; empty where there is no such file. */
export async function readSettings(dataDirectory: string): Promise<Map<string, string>> {
  return parseSettings(await readFile(join(dataDirectory, SETTINGS_FILE), 'utf8').catch(() => ''));
}

/** Sets some keys of an existing `pg_sentinel.conf`, or takes them out (undefined), and leaves the others. Does not reload. */
export async function changeSettings(options: {
  readonly dataDirectory: string;
  readonly changes: Readonly<Record<string, string | undefined>>;
  readonly owner: Owner | undefined;
}): Promise<void> {
  const path = join(options.dataDirectory, SETTINGS_FILE);
  const settings = parseSettings(await readFile(path, 'utf8').catch(absentAsEmpty));
  for (const [key, value] of Object.entries(options.changes)) {
    if (value === undefined) settings.delete(key);
    else settings.set(key, value);
  }
  const lines = [...settings].map(([key, value]) => renderSetting(key, value));
  const content = `# Written by pg-sentinel; changes made here are lost.\n${lines.join('\n')}\n`;
  await writeFileDurably({ path, content, mode: 0o600, owner: options.owner });
}

/** What postgresql.conf and ALTER SYSTEM say beside `pg_sentinel.conf`, by lower-case name; files that they include are not read. */
export async function otherSettings(dataDirectory: string): Promise<Map<string, string>> {
  const read = async (name: string): Promise<Map<string, string>> =>
    parseSettings(await readFile(join(dataDirectory, name), 'utf8').catch(() => ''));
  return new Map([...(await read('postgresql.conf')), ...(await read('postgresql.auto.conf'))]);
}

/** A cut sets it for a while, where nobody else has; see upstream.ts, which takes it back. */
export const ZERO_FILL = 'wal_init_zero';

/** What a delayed replica has. It stands beside people's parameters, but is set by a cut as well; see upstream.ts. */
const APPLY_DELAY = 'recovery_min_apply_delay';

/**
 * Makes the users' parameters in an existing `pg_sentinel.conf` these, and leaves ours; false where they were so already or there is no
 * such file. Does not reload.
 */
export async function changeParameters(options: {
  readonly dataDirectory: string;
  readonly parameters: Readonly<Record<string, string>>;
  readonly owner: Owner | undefined;
}): Promise<boolean> {
  const { dataDirectory, parameters, owner } = options;
  const present = await readSettings(dataDirectory);
  if (present.size === 0) return false;
  const changes: Record<string, string | undefined> = {};
  for (const [name, value] of Object.entries(parameters))
    if (present.get(name) !== value) changes[name] = value;
  for (const name of present.keys())
    if (!Object.hasOwn(parameters, name) && !RESERVED_PARAMETERS.has(name) && name !== ZERO_FILL)
      changes[name] = undefined;
  // A delay that is wanted no more ends now: a node without one may be counted, and promoted.
  if (!Object.hasOwn(parameters, APPLY_DELAY) && (present.get(APPLY_DELAY) ?? '0') !== '0')
    changes[APPLY_DELAY] = '0';
  if (Object.keys(changes).length === 0) return false;
  await changeSettings({ dataDirectory, changes, owner });
  return true;
}

/** Those of our settings that ALTER SYSTEM overrides (postgresql.auto.conf is read after everything else), with its values. */
export async function overriddenSettings(options: {
  readonly dataDirectory: string;
  readonly ours: Iterable<string>;
}): Promise<Map<string, string>> {
  const path = join(options.dataDirectory, 'postgresql.auto.conf');
  const present = parseSettings(await readFile(path, 'utf8').catch(() => ''));
  const ours = new Set(options.ours);
  return new Map([...present].filter(([key]) => ours.has(key)));
}

/** Takes settings out of postgresql.auto.conf; ALTER SYSTEM must not run meanwhile. Does not reload. */
export async function removeOverrides(options: {
  readonly dataDirectory: string;
  readonly keys: Iterable<string>;
  readonly owner: Owner | undefined;
}): Promise<void> {
  const path = join(options.dataDirectory, 'postgresql.auto.conf');
  const keys = new Set(options.keys);
  const present = await readFile(path, 'utf8').catch(() => undefined);
  if (present === undefined || keys.size === 0) return;
  const kept = present.split('\n').filter((line) => {
    const key = [...parseSettings(line).keys()][0];
    return key === undefined || !keys.has(key);
  });
  await writeFileDurably({ path, content: kept.join('\n'), mode: 0o600, owner: options.owner });
}
