// Linearizable reads without writing to the log: ReadIndex (thesis §6.4).
// Must never serve a read before an entry of the leader's own term is committed, nor on a heartbeat round begun before the
// read arrived: in both cases a newer leader may have committed what this peer has not seen.
import type { PeerId } from '../base/ids.ts';
import { send } from './durability.ts';
import { hasCommittedInTerm } from './commit.ts';
import { beginRound, confirmedRound } from './heartbeat.ts';
import { refuseRead } from './read-refusal.ts';
import type { Leading, PendingRead, Raft } from './state.ts';
import type { RaftMessage } from './types.ts';

type ReadReply = Extract<RaftMessage, { kind: 'read-reply' }>;

/** A read of this peer: taken up if it leads, else passed to the leader. */
export function onRead(raft: Raft, readId: string): void {
  if (raft.leading !== undefined) {
    takeRead(raft, raft.leading, readId, undefined);
    return;
  }
  if (raft.leader === undefined) {
    raft.effects.push({ kind: 'read-refused', readId, reason: 'no-leader' });
    return;
  }
  if (raft.forwardedReads.size >= raft.settings.maxPendingProposals) {
    raft.effects.push({ kind: 'read-refused', readId, reason: 'queue-full' });
    return;
  }
  raft.forwardedReads.set(readId, deadlineMs(raft));
  send(raft, raft.leader, { kind: 'read-request', term: raft.term, readId });
}

/** A read passed on by another peer; it is not passed on again. */
export function onReadRequest(raft: Raft, from: PeerId, readId: string): void {
  if (raft.leading === undefined) refuseRead(raft, { readId, from }, 'not-leader');
  else takeRead(raft, raft.leading, readId, from);
}

/** The leader's answer. Whatever term it is of, it was confirmed after we asked, so it is not stale. */
export function onReadReply(raft: Raft, reply: ReadReply): void {
  if (!raft.forwardedReads.delete(reply.readId)) return;
  if (reply.index === undefined) {
    raft.effects.push({ kind: 'read-refused', readId: reply.readId, reason: 'not-leader' });
  } else {
    raft.effects.push({ kind: 'read-ready', readId: reply.readId, index: reply.index });
  }
}

/**
 * Gives waiting reads a round to be confirmed by. `begin` says whether a regular heartbeat is due; otherwise one round for
 * reads is under way at a time, and the reads that arrive meanwhile share the next.
 */
export function advanceReads(raft: Raft, leading: Leading): void {
  if (leading.reads.length === 0 || !hasCommittedInTerm(raft)) return;
  const waiting = leading.reads.some((read) => read.confirm === undefined);
  const underway = leading.reads.some((read) => read.confirm !== undefined);
  if (waiting && !underway) beginRoundForReads(raft, leading);
  serveConfirmed(raft, leading);
}

/** Begins a heartbeat round and has it confirm all reads that wait for one. */
export function beginRoundForReads(raft: Raft, leading: Leading): void {
  const round = beginRound(raft, leading);
  if (!hasCommittedInTerm(raft)) return;
  for (const read of leading.reads) {
    // Taken now, the commit index covers everything committed before the read arrived.
    read.confirm ??= { index: raft.commitIndex, round };
  }
}

function takeRead(raft: Raft, leading: Leading, readId: string, from: PeerId | undefined): void {
  if (leading.reads.some((read) => read.readId === readId && read.from === from)) return;
  const read: PendingRead = { readId, from, deadlineMs: deadlineMs(raft), confirm: undefined };
  if (leading.reads.length >= raft.settings.maxPendingProposals) refuseRead(raft, read, 'queue-full');
  else leading.reads.push(read);
}

function serveConfirmed(raft: Raft, leading: Leading): void {
  const confirmed = confirmedRound(raft, leading);
  const waiting: PendingRead[] = [];
  for (const read of leading.reads) {
    if (read.confirm === undefined || read.confirm.round > confirmed) waiting.push(read);
    else answer(raft, read, read.confirm.index);
  }
  leading.reads = waiting;
}

function answer(raft: Raft, read: PendingRead, index: NonNullable<ReadReply['index']>): void {
  if (read.from === undefined) raft.effects.push({ kind: 'read-ready', readId: read.readId, index });
  else send(raft, read.from, { kind: 'read-reply', term: raft.term, readId: read.readId, index });
}

/** A leader that leads hears from a majority within an election timeout; one more for the way there and back. */
function deadlineMs(raft: Raft): number {
  return raft.nowMs + 2 * raft.settings.electionMs;
}
