// How reads end without an answer: their leader is gone or their time is over.
// Must never leave a read without an outcome: each ends in `read-ready` or `read-refused`, here or at the peer that asked.
import { send } from './durability.ts';
import type { Leading, PendingRead, Raft } from './state.ts';
import type { RefusalReason } from './types.ts';

export function refuseRead(
  raft: Raft,
  read: Pick<PendingRead, 'readId' | 'from'>,
  reason: RefusalReason,
): void {
  if (read.from === undefined) {
    raft.effects.push({ kind: 'read-refused', readId: read.readId, reason });
  } else {
    send(raft, read.from, { kind: 'read-reply', term: raft.term, readId: read.readId, index: undefined });
  }
}

export function refuseReads(raft: Raft, leading: Leading, reason: RefusalReason): void {
  const { reads } = leading;
  leading.reads = [];
  for (const read of reads) refuseRead(raft, read, reason);
}

/** The leader that was asked is not the leader any more, so its answer need not be waited for. */
export function refuseForwardedReads(raft: Raft): void {
  for (const readId of raft.forwardedReads.keys()) {
    raft.effects.push({ kind: 'read-refused', readId, reason: 'no-leader' });
  }
  raft.forwardedReads.clear();
}

/** Ends every read whose deadline has passed. */
export function expireReads(raft: Raft): void {
  for (const [readId, deadlineMs] of raft.forwardedReads) {
    if (deadlineMs > raft.nowMs) continue;
    raft.forwardedReads.delete(readId);
    raft.effects.push({ kind: 'read-refused', readId, reason: 'no-leader' });
  }
  const { leading } = raft;
  if (leading === undefined) return;
  const expired = leading.reads.filter((read) => read.deadlineMs <= raft.nowMs);
  if (expired.length === 0) return;
  // mark: reads-expired
  leading.reads = leading.reads.filter((read) => read.deadlineMs > raft.nowMs);
  for (const read of expired) refuseRead(raft, read, 'no-leader');
}
