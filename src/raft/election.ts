// Votes: asking for them, granting them, counting them (Raft §5.2, §5.4.1; pre-vote: thesis §9.6; stickiness: §4.2.3).
// Must never grant two candidates a vote in one term, and never count a pre-vote or an old reply as a vote.
import { term } from '../base/ids.ts';
import type { PeerId } from '../base/ids.ts';
import { isHardStateDurable, send } from './durability.ts';
import { isUpToDate, lastIndex, lastTerm } from './log.ts';
import { isChangePending, isJoining, isVoter, othersOf, previousMembership } from './membership.ts';
import { hasMajority, tally } from './quorum.ts';
import {
  becomeCandidate,
  becomeFollower,
  becomeLeader,
  becomePreCandidate,
  hasLiveLeader,
  resetElectionDeadline,
} from './role.ts';
import type { Raft } from './state.ts';
import type { RaftMessage } from './types.ts';

type VoteRequest = Extract<RaftMessage, { kind: 'vote-request' }>;
type VoteReply = Extract<RaftMessage, { kind: 'vote-reply' }>;

/** Stands for election if no leader was heard from in time. A learner, or a peer whose disk stalls, never stands. */
export function standIfDue(raft: Raft): void {
  if (raft.role === 'leader' || raft.nowMs < raft.electionDeadlineMs || !mayStand(raft)) return;
  if (hasMajority(raft.membership.voters, raft.answered)) raft.undecided += 1;
  raft.answered = new Set([raft.self]);
  becomePreCandidate(raft);
  requestVotes(raft, { preVote: true, transfer: false });
  countBallot(raft);
}

/** The leader hands over: stands at once, without a pre-vote, since the leader lives (thesis §3.10). */
export function onTimeoutNow(raft: Raft, from: PeerId): void {
  if (raft.role !== 'follower' || raft.leader !== from || !mayStand(raft)) return;
  stand(raft, { transfer: true });
}

/**
 * Answers a request for a vote or pre-vote of any term. Whether one of us is a voter is not asked: either may know an older
 * membership than the other, and it is for the candidate to count only voters (thesis §4.2.2).
 */
export function onVoteRequest(raft: Raft, from: PeerId, request: VoteRequest): void {
  if (isJoining(raft)) {
    // mark: vote-refused-joining
    refuseVote(raft, from, request);
    return;
  }
  if (!request.transfer && hasLiveLeader(raft)) {
    // mark: vote-refused-leader-lives
    refuseVote(raft, from, request);
    return;
  }
  if (request.preVote) {
    if (request.term > raft.term && isUpToDate(raft.log, request.lastIndex, request.lastTerm)) {
      // A pre-vote promises nothing, so it changes and persists nothing; it speaks for the term that was asked for.
      send(raft, from, { kind: 'vote-reply', term: request.term, preVote: true, granted: true });
    } else {
      refuseVote(raft, from, request);
    }
    return;
  }
  if (request.term > raft.term) becomeFollower(raft, request.term, undefined);
  if (
    request.term < raft.term ||
    !mayVoteFor(raft, from) ||
    !isUpToDate(raft.log, request.lastIndex, request.lastTerm)
  ) {
    refuseVote(raft, from, request);
    return;
  }
  if (raft.votedFor === undefined) {
    raft.votedFor = from;
    raft.durability.hardStateDirty = true;
  }
  resetElectionDeadline(raft);
  send(raft, from, { kind: 'vote-reply', term: raft.term, preVote: false, granted: true });
}

/** Counts a reply of the present ballot; everything else is stale. Replies of a higher term were dealt with before. */
export function onVoteReply(raft: Raft, from: PeerId, reply: VoteReply): void {
  if (raft.ballot === undefined || !isVoter(raft, from)) return;
  raft.answered.add(from);
  if (reply.preVote !== (raft.role === 'pre-candidate')) return;
  const expectedTerm = reply.preVote && reply.granted ? raft.term + 1 : raft.term;
  if (reply.term !== expectedTerm) {
    // mark: vote-of-another-term
    return;
  }
  if (!raft.ballot.has(from)) raft.ballot.set(from, reply.granted);
  countBallot(raft);
}

/** The own vote counts from the moment it is durable: a single voter wins here. */
export function countOwnVote(raft: Raft): void {
  if (raft.role !== 'candidate' || raft.ballot === undefined || !isHardStateDurable(raft)) return;
  if (raft.ballot.has(raft.self)) return;
  raft.ballot.set(raft.self, true);
  countBallot(raft);
}

function mayStand(raft: Raft): boolean {
  if (raft.durability.stalled) return false;
  if (isVoter(raft, raft.self)) return true;
  if (!isChangePending(raft) || !previousMembership(raft).voters.includes(raft.self)) return false;
  // Our removal is in the log and perhaps nowhere else. It may take us to commit it: the others can have shorter logs, and
  // then need our log, though not our vote (thesis §4.2.2).
  // mark: removed-voter-stands
  return true;
}

function mayVoteFor(raft: Raft, candidate: PeerId): boolean {
  return raft.votedFor === candidate || (raft.votedFor === undefined && raft.leader === undefined);
}

function countBallot(raft: Raft): void {
  if (raft.ballot === undefined) return;
  const outcome = tally(raft.membership.voters, raft.ballot);
  if (outcome === 'open') return;
  if (outcome === 'lost') {
    becomeFollower(raft, raft.term, undefined);
  } else if (raft.role === 'pre-candidate') {
    stand(raft, { transfer: false });
  } else {
    becomeLeader(raft);
  }
}

function stand(raft: Raft, options: { readonly transfer: boolean }): void {
  becomeCandidate(raft);
  requestVotes(raft, { preVote: false, transfer: options.transfer });
}

function requestVotes(raft: Raft, options: { readonly preVote: boolean; readonly transfer: boolean }): void {
  for (const peer of othersOf(raft)) {
    if (!isVoter(raft, peer)) continue;
    send(raft, peer, {
      kind: 'vote-request',
      term: options.preVote ? term(raft.term + 1) : raft.term,
      preVote: options.preVote,
      lastIndex: lastIndex(raft.log),
      lastTerm: lastTerm(raft.log),
      transfer: options.transfer,
    });
  }
}

function refuseVote(raft: Raft, from: PeerId, request: VoteRequest): void {
  send(raft, from, { kind: 'vote-reply', term: raft.term, preVote: request.preVote, granted: false });
}
