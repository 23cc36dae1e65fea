// Heartbeat rounds: they keep followers from standing, tell the commit index, and prove to the leader that it still leads
// (Raft §5.2; check-quorum: thesis §6.2). Numbered, so that an old answer never counts for a newer round.
// Must never tell a follower a commit index beyond what it is known to hold.
import { logIndex } from '../base/ids.ts';
import type { PeerId } from '../base/ids.ts';
import { send } from './durability.ts';
import { reachedByMajority } from './quorum.ts';
import { resumeAppends } from './replicate.ts';
import type { Leading, Raft } from './state.ts';
import type { RaftMessage } from './types.ts';

type HeartbeatReply = Extract<RaftMessage, { kind: 'heartbeat-reply' }>;

/** Begins a round and returns its number. */
export function beginRound(raft: Raft, leading: Leading): number {
  leading.round += 1;
  leading.heartbeatDueMs = raft.nowMs + raft.settings.heartbeatMs;
  for (const [peer, progress] of leading.progress) {
    const commitIndex = logIndex(Math.min(raft.commitIndex, progress.match));
    if (commitIndex > progress.commitTold) progress.commitTold = commitIndex;
    send(raft, peer, { kind: 'heartbeat-request', term: raft.term, commitIndex, round: leading.round });
  }
  return leading.round;
}

export function onHeartbeatReply(raft: Raft, leading: Leading, from: PeerId, reply: HeartbeatReply): void {
  const progress = leading.progress.get(from);
  if (progress === undefined || reply.round < progress.firstRound) return;
  progress.activeAtMs = raft.nowMs;
  if (reply.round > progress.answeredRound) progress.answeredRound = reply.round;
  resumeAppends(raft, leading, from, progress);
}

/** The highest round that a majority of the voters has answered, this peer answering its own at once. */
export function confirmedRound(raft: Raft, leading: Leading): number {
  return reachedByMajority(raft.membership.voters, (voter) =>
    voter === raft.self ? leading.round : (leading.progress.get(voter)?.answeredRound ?? 0),
  );
}

/** Whether a majority of the voters answered within the last election timeout. */
export function hasQuorumContact(raft: Raft, leading: Leading): boolean {
  const heardAtMs = reachedByMajority(raft.membership.voters, (voter) =>
    voter === raft.self ? raft.nowMs : (leading.progress.get(voter)?.activeAtMs ?? Number.NEGATIVE_INFINITY),
  );
  return raft.nowMs - heardAtMs < raft.settings.electionMs;
}
