// Proposals: appended by the leader, passed on by everybody else.
// Must never refuse a proposal that this try of it may have put in a log: refusal means "certainly not". Queues are bounded
// and refuse early.
import type { PeerId } from '../base/ids.ts';
import { logIndex } from '../base/ids.ts';
import { attemptOf, proposalIdOf } from './attempt.ts';
import { send } from './durability.ts';
import { appendEntry, lastIndex } from './log.ts';
import { isRecent, rememberId } from './recent.ts';
import type { Leading, Raft } from './state.ts';
import type { RefusalReason } from './types.ts';

/** A proposal of this peer; the same one again is another try of it. */
export function onPropose(raft: Raft, proposalId: string, data: Uint8Array): void {
  const refusal = refusalOf(raft, data);
  if (refusal !== undefined) {
    raft.effects.push({ kind: 'proposal-refused', proposalId, reason: refusal });
  } else if (raft.leading !== undefined) {
    append(raft, raft.leading, proposalId, data);
  } else if (raft.leader === undefined) {
    raft.effects.push({ kind: 'proposal-refused', proposalId, reason: 'no-leader' });
  } else {
    raft.attemptCount += 1;
    const attempt = attemptOf(proposalId, raft.attemptCount);
    send(raft, raft.leader, { kind: 'propose', term: raft.term, proposalId: attempt, data });
  }
}

/**
 * A try passed on by another peer. Where the same message arrives twice the first decides: if it was accepted the second must
 * not be refused, if it was refused the second must not be accepted.
 */
export function onForwardedPropose(raft: Raft, from: PeerId, attempt: string, data: Uint8Array): void {
  if (isRecent(raft.seenAttempts, attempt)) {
    // mark: proposal-arrived-twice
    return;
  }
  rememberId(raft.seenAttempts, attempt);
  const refusal = raft.leading === undefined ? 'not-leader' : refusalOf(raft, data);
  if (raft.leading !== undefined && refusal === undefined) {
    append(raft, raft.leading, proposalIdOf(attempt), data);
  } else if (refusal !== undefined) {
    send(raft, from, { kind: 'propose-refused', term: raft.term, proposalId: attempt, reason: refusal });
  }
}

/** The leader's refusal of a try that we passed on. */
export function onProposeRefused(raft: Raft, attempt: string, reason: RefusalReason): void {
  raft.effects.push({ kind: 'proposal-refused', proposalId: proposalIdOf(attempt), reason });
}

/** Takes the proposal in, unless an earlier try of it is in the log of this term already. */
function append(raft: Raft, leading: Leading, proposalId: string, data: Uint8Array): void {
  if (isRecent(leading.accepted, proposalId)) {
    // mark: proposal-tried-again
    return;
  }
  rememberId(leading.accepted, proposalId);
  appendEntry(raft.log, { index: logIndex(lastIndex(raft.log) + 1), term: raft.term, kind: 'command', data });
}

/** Why this peer does not take the proposal, `undefined` where it does. */
function refusalOf(raft: Raft, data: Uint8Array): RefusalReason | undefined {
  if (data.length > raft.settings.maxProposalBytes) return 'too-large';
  if (raft.leading === undefined) return undefined;
  if (raft.leading.transfer !== undefined) return 'transferring';
  if (pendingProposals(raft, raft.leading) < raft.settings.maxPendingProposals) return undefined;
  // mark: proposal-queue-full
  return 'queue-full';
}

/** Entries of this term not yet committed, its no-op left out. */
function pendingProposals(raft: Raft, leading: Leading): number {
  return lastIndex(raft.log) - Math.max(raft.commitIndex, leading.termStartIndex);
}
