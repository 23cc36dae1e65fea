// What both models of PostgreSQL have in common, that of whole lives here and that of the simulator (test/sim): WAL records, what
// `synchronous_standby_names` says, and which WAL may follow which. Never used outside tests.
import type { SyncRule } from '../../cluster/commands.ts';
import { sameRule } from '../../cluster/quorum.ts';
import type { Duty } from '../duties.ts';

/** One WAL record: the timeline it was written on, and what was written. Positions are counts of records. */
export interface WalRecord {
  readonly timeline: number;
  readonly value: number;
}

/** What `synchronous_standby_names` says. */
export type StandbyNames =
  { readonly kind: 'alone' | 'nobody' } | { readonly kind: 'any'; readonly rule: SyncRule };

export const NOBODY: StandbyNames = { kind: 'nobody' };
export const ALONE: StandbyNames = { kind: 'alone' };

/** As standbysFor of src/actions/context.ts. */
export function namesFor(rule: SyncRule): StandbyNames {
  if (rule.acks === 0) return ALONE;
  return rule.members.length < rule.acks ? NOBODY : { kind: 'any', rule };
}

export function sameNames(a: StandbyNames, b: StandbyNames): boolean {
  if (a === b) return true;
  if (a.kind === 'any' && b.kind === 'any') return sameRule(a.rule, b.rule);
  return a.kind === b.kind;
}

/** Of the last record, or of the one at that position. */
export const timelineOf = (wal: readonly WalRecord[], length = wal.length): number =>
  wal[length - 1]?.timeline ?? 1;

/** Whether the WAL lies on the log's history of timelines (the rule of src/actions/follow-duty.ts, on numbers). */
export function mayFollow(
  wal: readonly WalRecord[],
  { upstream, branches }: Extract<Duty, { readonly kind: 'follow' }>,
): boolean {
  const own = timelineOf(wal);
  let child: number = upstream.timeline;
  while (child !== own) {
    const branch = branches.find((known) => known.timeline === child);
    const isNew = child === upstream.timeline && upstream.from !== undefined;
    const parent = isNew ? upstream.from?.timeline : branch?.parent;
    const end = isNew ? upstream.from?.position : branch?.switchLsn;
    if (parent === undefined || end === undefined) return false;
    if (parent === own) return BigInt(wal.length) <= end;
    child = parent;
  }
  return true;
}
