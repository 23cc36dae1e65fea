// How far the recovery of a restored data directory goes: the settings that say so to PostgreSQL, and what it says of its way there.
// Decides nothing. PostgreSQL waits where it has come to the target, so that the timeline it opens there can be assigned.
import { type Lsn, parseLsn } from '../base/lsn.ts';
import { HELD, SUSPENDED } from './restored-files.ts';
import type { QueryOptions, Session } from './session.ts';

export type TargetKind = 'time' | 'lsn' | 'name' | 'xid';

export interface RecoveryTarget {
  /** Undefined: all the WAL that is there. */
  readonly at: { readonly kind: TargetKind; readonly value: string } | undefined;
  /** Whether what is exactly at the target belongs to it; of no meaning for a name. */
  readonly inclusive: boolean;
  /** `latest`, `current` or a number: which timeline recovery follows. */
  readonly timeline: string;
}

/** Everything that PostgreSQL reads of a recovery to a target; a value of ours for each, so that none comes from elsewhere. */
export function recoverySettings(options: {
  readonly target: RecoveryTarget;
  readonly restoreCommand: string | undefined;
  /** Major version of PostgreSQL. */
  readonly version: number;
}): Record<string, string> {
  const { target, restoreCommand, version } = options;
  const settings: Record<string, string> = {
    restore_command: restoreCommand ?? '',
    recovery_end_command: '',
    archive_cleanup_command: '',
    recovery_target_timeline: target.timeline,
    recovery_target_inclusive: target.inclusive ? 'on' : 'off',
    recovery_target_action: 'pause',
    // What it writes before the group begins is not for the archive of the cluster that the backup is of.
    archive_command: '',
    ...(version >= 15 && { archive_library: '' }),
    // Without an archive to ask nobody knows which timelines one has that the group would write to.
    [SUSPENDED]: restoreCommand === undefined ? HELD : 'suspended',
  };
  if (target.at !== undefined) settings[`recovery_target_${target.at.kind}`] = target.at.value;
  return settings;
}

/** For people: `time 2026-01-02 03:04:05+00`, or `the end of the archive`. */
export function targetText({ at, inclusive }: RecoveryTarget): string {
  if (at === undefined) return 'the end of the archive';
  return `${at.kind} ${at.value}${inclusive || at.kind === 'name' ? '' : ' (exclusive)'}`;
}

export interface RecoveryReading {
  readonly position: Lsn;
  /** It waits to be promoted: it has come to its target, or cannot go on with its settings. */
  readonly isPaused: boolean;
  /** It has found no more WAL, and looks again in a moment. */
  readonly isWaiting: boolean;
  /** Wall time (ms since 1970) of the last transaction that was replayed; undefined where there was none. */
  readonly lastTransactionMs: number | undefined;
  /** Those of the settings a standby must not have lower, as it runs with them. */
  readonly limits: ReadonlyMap<string, number>;
}

const READING = `
  select pg_last_wal_replay_lsn()::text as position,
    case when pg_is_in_recovery() then pg_get_wal_replay_pause_state() = 'paused' else false end as "isPaused",
    coalesce(wait_event = 'RecoveryRetrieveRetryInterval', false) as "isWaiting",
    (extract(epoch from pg_last_xact_replay_timestamp()) * 1000)::bigint::text as "lastTransactionMs",
    (select json_object_agg(name, setting::bigint) from pg_settings where name = any ($1)) as limits
  from (select 1) one left join pg_stat_activity on backend_type = 'startup'`;

/** Undefined while nothing was replayed yet. Throws where it does not answer. */
export async function readRecovery(
  session: Session,
  limitNames: readonly string[],
  options: QueryOptions,
): Promise<RecoveryReading | undefined> {
  const [row] = await session.query<{
    position: string | null;
    isPaused: boolean;
    isWaiting: boolean;
    lastTransactionMs: string | null;
    limits: Record<string, number>;
  }>(READING, [limitNames], options);
  if (row === undefined || row.position === null) return undefined;
  const { isPaused, isWaiting, lastTransactionMs, limits } = row;
  return {
    position: parseLsn(row.position),
    isPaused,
    isWaiting,
    lastTransactionMs: lastTransactionMs === null ? undefined : Number(lastTransactionMs),
    limits: new Map(Object.entries(limits)),
  };
}
