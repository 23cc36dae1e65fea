// When the core next needs a tick: its next deadline rather than a fixed beat, so that an idle peer sleeps. Pure.
// Must never let a deadline pass unseen for longer than BUSY_TICK_MS while something is under way.
import type { Raft } from '../raft/state.ts';

/** While writes, reads, a transfer or an election are under way: they have deadlines of their own. */
export const BUSY_TICK_MS = 20;
/** A deadline that stands in the past, as that of a learner, which never stands for election, is looked at this often. */
const OVERDUE_TICK_MS = 100;

type Watched = Pick<
  Raft,
  'role' | 'electionDeadlineMs' | 'leading' | 'forwardedReads' | 'durability' | 'settings'
>;

/** Milliseconds from `nowMs` until the core has to be ticked; at least 1. */
export function nextTickMs(raft: Watched, nowMs: number): number {
  const deadlineMs = raft.leading === undefined ? raft.electionDeadlineMs : raft.leading.heartbeatDueMs;
  const untilDeadlineMs = deadlineMs <= nowMs ? OVERDUE_TICK_MS : deadlineMs - nowMs;
  return Math.max(1, Math.min(untilDeadlineMs, isBusy(raft) ? BUSY_TICK_MS : Number.POSITIVE_INFINITY));
}

function isBusy(raft: Watched): boolean {
  const { leading, durability } = raft;
  return (
    durability.writes.length > 0 ||
    durability.stalled ||
    raft.forwardedReads.size > 0 ||
    (leading !== undefined && (leading.transfer !== undefined || leading.reads.length > 0))
  );
}
