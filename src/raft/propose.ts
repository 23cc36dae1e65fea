// Proposals: appended by the leader, passed on by everybody else.
// Must never refuse a proposal that may be in a log: refusal means "certainly not". Queues are bounded and refuse early.
import type { PeerId } from '../base/ids.ts';
import { logIndex } from '../base/ids.ts';
import { send } from './durability.ts';
import { appendEntry, lastIndex } from './log.ts';
import type { Leading, Raft } from './state.ts';
import type { RefusalReason } from './types.ts';

/** Enough to outlast any copy of a message still on its way. */
const SEEN_PROPOSALS_MAX = 16_384;

/** A proposal of this peer. */
export function onPropose(raft: Raft, proposalId: string, data: Uint8Array): void {
  const refusal = refusalOf(raft, data);
  if (refusal !== undefined) {
    raft.effects.push({ kind: 'proposal-refused', proposalId, reason: refusal });
  } else if (raft.leading !== undefined) {
    append(raft, data);
  } else if (raft.leader === undefined) {
    raft.effects.push({ kind: 'proposal-refused', proposalId, reason: 'no-leader' });
  } else {
    send(raft, raft.leader, { kind: 'propose', term: raft.term, proposalId, data });
  }
}

/**
 * A proposal passed on by another peer. Where the same message arrives twice the first decides: if it was accepted the second
 * must not be refused, if it was refused the second must not be accepted.
 */
export function onForwardedPropose(raft: Raft, from: PeerId, proposalId: string, data: Uint8Array): void {
  if (raft.seenProposals.has(proposalId)) return;
  rememberSeen(raft, proposalId);
  const refusal = raft.leading === undefined ? 'not-leader' : refusalOf(raft, data);
  if (refusal === undefined) append(raft, data);
  else send(raft, from, { kind: 'propose-refused', term: raft.term, proposalId, reason: refusal });
}

/** The leader's refusal of a proposal that we passed on. */
export function onProposeRefused(raft: Raft, proposalId: string, reason: RefusalReason): void {
  raft.effects.push({ kind: 'proposal-refused', proposalId, reason });
}

function append(raft: Raft, data: Uint8Array): void {
  appendEntry(raft.log, { index: logIndex(lastIndex(raft.log) + 1), term: raft.term, kind: 'command', data });
}

/** Why this peer does not take the proposal, `undefined` where it does. */
function refusalOf(raft: Raft, data: Uint8Array): RefusalReason | undefined {
  if (data.length > raft.settings.maxProposalBytes) return 'too-large';
  if (raft.leading === undefined) return undefined;
  if (raft.leading.transfer !== undefined) return 'transferring';
  return pendingProposals(raft, raft.leading) >= raft.settings.maxPendingProposals ? 'queue-full' : undefined;
}

/** Entries of this term not yet committed, its no-op left out. */
function pendingProposals(raft: Raft, leading: Leading): number {
  return lastIndex(raft.log) - Math.max(raft.commitIndex, leading.termStartIndex);
}

function rememberSeen(raft: Raft, proposalId: string): void {
  const seen = raft.seenProposals;
  seen.add(proposalId);
  if (seen.size <= SEEN_PROPOSALS_MAX) return;
  const [oldest] = seen;
  if (oldest !== undefined) seen.delete(oldest);
}
