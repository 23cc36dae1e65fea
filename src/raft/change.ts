// Membership changes: one server at a time, in force from the moment they are in the log (thesis §4.1, §4.2).
// Must never begin a change before the leader has committed an entry of its own term (the bug of 2015), nor while an earlier
// one is not committed, nor one by which two disjoint majorities could exist.
import { logIndex } from '../base/ids.ts';
import type { PeerId } from '../base/ids.ts';
import { hasCommittedInTerm } from './commit.ts';
import { appendEntry, lastIndex } from './log.ts';
import { isChangePending, noteAppended, othersOf } from './membership.ts';
import { createProgress } from './progress.ts';
import { majority } from './quorum.ts';
import type { Leading, Raft } from './state.ts';
import type { ChangeRefusal, Entry, Membership, MembershipChange } from './types.ts';

export function onChangeMembership(raft: Raft, changeId: string, change: MembershipChange): void {
  const reason = refusalOf(raft, change);
  if (reason !== undefined) {
    raft.effects.push({ kind: 'change-refused', changeId, reason });
    return;
  }
  appendConfig(raft, changed(raft.membership, change));
  if (raft.leading !== undefined) followMembership(raft, raft.leading);
}

/** Appends a `config` entry of the present term, which puts it in force. */
export function appendConfig(raft: Raft, membership: Membership): void {
  const entry: Entry = {
    index: logIndex(lastIndex(raft.log) + 1),
    term: raft.term,
    kind: 'config',
    data: raft.codec.encode(membership),
  };
  appendEntry(raft.log, entry);
  noteAppended(raft, entry);
}

function refusalOf(raft: Raft, change: MembershipChange): ChangeRefusal | undefined {
  if (raft.leading === undefined) return 'not-leader';
  if (raft.leading.transfer !== undefined) return 'transferring';
  // An uncommitted change that an earlier leader began lies below the first entry of our term: this covers it too.
  if (!hasCommittedInTerm(raft)) {
    // mark: change-refused-not-ready
    return 'not-ready';
  }
  if (isChangePending(raft)) {
    // mark: change-refused-pending
    return 'change-pending';
  }
  return unfitness(raft, raft.leading, change);
}

/** Why the change cannot be made to the present membership. */
function unfitness(raft: Raft, leading: Leading, change: MembershipChange): ChangeRefusal | undefined {
  const { voters, learners } = raft.membership;
  const isVoter = voters.includes(change.peer);
  const isLearner = learners.includes(change.peer);
  switch (change.kind) {
    case 'add-learner':
      return isVoter || isLearner ? 'already-member' : undefined;
    case 'promote': {
      if (isVoter) return 'already-member';
      if (!isLearner) return 'unknown-peer';
      const isBehind = (leading.progress.get(change.peer)?.match ?? 0) < raft.commitIndex;
      if (isBehind) return 'learner-behind';
      if (
        isInContact(raft, leading, change.peer) &&
        isQuorumInContact(raft, leading, [...voters, change.peer])
      )
        return undefined;
      // mark: change-refused-no-contact
      return 'no-contact';
    }
    case 'remove':
      if (!isVoter && !isLearner) return 'unknown-peer';
      return isVoter && voters.length === 1 ? 'last-voter' : undefined;
    case 'move':
      return isVoter || isLearner ? undefined : 'unknown-peer';
  }
}

/** The peer answered within the last election timeout. */
function isInContact(raft: Raft, leading: Leading, peer: PeerId): boolean {
  const heardAtMs = leading.progress.get(peer)?.activeAtMs ?? Number.NEGATIVE_INFINITY;
  return peer === raft.self || raft.nowMs - heardAtMs < raft.settings.electionMs;
}

/** The entry that adds a voter needs the majority that counts it: without one the leader would have to step down, for good. */
function isQuorumInContact(raft: Raft, leading: Leading, voters: readonly PeerId[]): boolean {
  return voters.filter((voter) => isInContact(raft, leading, voter)).length >= majority(voters.length);
}

function changed(membership: Membership, change: MembershipChange): Membership {
  const { voters, learners } = membership;
  const addresses = new Map(membership.addresses);
  const { peer } = change;
  switch (change.kind) {
    case 'add-learner':
      addresses.set(peer, change.address);
      return { ...membership, learners: [...learners, peer].sort(), addresses };
    case 'promote':
      return {
        ...membership,
        voters: [...voters, peer].sort(),
        learners: without(learners, peer),
        addresses,
      };
    case 'remove':
      addresses.delete(peer);
      return { ...membership, voters: without(voters, peer), learners: without(learners, peer), addresses };
    case 'move':
      addresses.set(peer, change.address);
      return { ...membership, addresses };
  }
}

function without<T>(list: readonly T[], item: T): readonly T[] {
  return list.filter((each) => each !== item);
}

/** Who is new is replicated to from here on, who is gone no more. */
function followMembership(raft: Raft, leading: Leading): void {
  const others = new Set(othersOf(raft));
  for (const peer of leading.progress.keys()) if (!others.has(peer)) leading.progress.delete(peer);
  for (const peer of others) {
    if (leading.progress.has(peer)) continue;
    const next = lastIndex(raft.log);
    leading.progress.set(peer, createProgress({ next, nowMs: raft.nowMs, firstRound: leading.round + 1 }));
  }
}
