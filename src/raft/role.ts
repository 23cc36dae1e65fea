// Changes of role: follower, pre-candidate, candidate, leader (Raft §5.2, thesis §9.6).
// Must never lower the term, and never forget the vote of the present term on a step-down within that term.
import { assert } from '../base/assert.ts';
import { logIndex, term } from '../base/ids.ts';
import type { PeerId, Term } from '../base/ids.ts';
import { dropHeld } from './durability.ts';
import { appendEntry, lastIndex } from './log.ts';
import { othersOf } from './membership.ts';
import { createProgress } from './progress.ts';
import { createRecentIds } from './recent.ts';
import { refuseForwardedReads, refuseReads } from './read-refusal.ts';
import type { Raft } from './state.ts';

const NO_DATA = new Uint8Array(0);

/** Follows `leader` (or nobody yet) in `newTerm`. */
export function becomeFollower(raft: Raft, newTerm: Term, leader: PeerId | undefined): void {
  const before = { term: raft.term, role: raft.role, leader: raft.leader };
  leaveRole(raft);
  if (newTerm > raft.term) enterTerm(raft, newTerm, undefined);
  assert(newTerm === raft.term, () => `term would fall from ${raft.term} to ${newTerm}`);
  if (leader !== before.leader || newTerm !== before.term) refuseForwardedReads(raft);
  raft.role = 'follower';
  raft.leader = leader;
  resetElectionDeadline(raft);
  announce(raft, before);
}

/** Asks whether it could win, without touching term or vote: a peer that was cut off must not disturb the rest on return. */
export function becomePreCandidate(raft: Raft): void {
  const before = { term: raft.term, role: raft.role, leader: raft.leader };
  assert(raft.role !== 'leader', 'a leader does not stand for election');
  leaveRole(raft);
  refuseForwardedReads(raft);
  raft.role = 'pre-candidate';
  raft.leader = undefined;
  raft.ballot = new Map([[raft.self, true]]);
  resetElectionDeadline(raft);
  announce(raft, before);
}

/** Opens a new term and votes for itself. The own vote is put on the ballot only when it is durable. */
export function becomeCandidate(raft: Raft): void {
  const before = { term: raft.term, role: raft.role, leader: raft.leader };
  assert(raft.role !== 'leader', 'a leader does not stand for election');
  leaveRole(raft);
  refuseForwardedReads(raft);
  enterTerm(raft, term(raft.term + 1), raft.self);
  raft.role = 'candidate';
  raft.leader = undefined;
  raft.ballot = new Map();
  resetElectionDeadline(raft);
  announce(raft, before);
}

/** Leads the present term: appends the no-op that lets entries of earlier terms commit (§5.4.2, thesis §6.4). */
export function becomeLeader(raft: Raft): void {
  const before = { term: raft.term, role: raft.role, leader: raft.leader };
  assert(raft.role === 'candidate', () => `a ${raft.role} cannot become leader`);
  assert(raft.votedFor === raft.self, () => `leader of term ${raft.term} after voting for ${raft.votedFor}`);
  leaveRole(raft);
  endElections(raft);
  const termStartIndex = logIndex(lastIndex(raft.log) + 1);
  raft.role = 'leader';
  raft.leader = raft.self;
  raft.leading = {
    termStartIndex,
    progress: new Map(
      othersOf(raft).map((peer) => [peer, createProgress({ next: termStartIndex, nowMs: raft.nowMs })]),
    ),
    round: 0,
    heartbeatDueMs: raft.nowMs + raft.settings.heartbeatMs,
    transfer: undefined,
    accepted: createRecentIds(),
    reads: [],
  };
  appendEntry(raft.log, { index: termStartIndex, term: raft.term, kind: 'noop', data: NO_DATA });
  announce(raft, before);
}

/**
 * Chooses anew how long to wait for a leader: `electionMs` plus a random part of `electionSpreadMs` (§9.3). The random part is doubled with
 * each election that came to nothing although a majority answered: where messages take as long as the spread, all stand before they hear
 * of each other. Who hears no majority goes on as before, to be quick once it does.
 */
export function resetElectionDeadline(raft: Raft): void {
  const { electionMs, electionSpreadMs } = raft.settings;
  const spreadMs = electionSpreadMs * 2 ** Math.min(raft.undecided, SPREAD_DOUBLINGS_MAX);
  raft.electionDeadlineMs = raft.nowMs + electionMs + raft.random * spreadMs;
}

const SPREAD_DOUBLINGS_MAX = 3;

/** There is a leader: the next election is a first one again. */
export function endElections(raft: Raft): void {
  raft.undecided = 0;
  raft.answered = new Set([raft.self]);
}

/** A leader was heard from within the shortest election timeout: nobody else gets a vote (§4.2.3, lease stickiness). */
export function hasLiveLeader(raft: Raft): boolean {
  if (raft.role === 'leader') return true;
  return raft.leader !== undefined && raft.nowMs - raft.leaderHeardAtMs < raft.settings.electionMs;
}

function enterTerm(raft: Raft, newTerm: Term, votedFor: PeerId | undefined): void {
  assert(newTerm > raft.term, () => `term would go from ${raft.term} to ${newTerm}`);
  dropHeld(raft);
  raft.term = newTerm;
  raft.votedFor = votedFor;
  raft.durability.hardStateDirty = true;
}

function leaveRole(raft: Raft): void {
  if (raft.leading !== undefined) refuseReads(raft, raft.leading, 'not-leader');
  raft.leading = undefined;
  raft.ballot = undefined;
}

function announce(raft: Raft, before: Pick<Raft, 'term' | 'role' | 'leader'>): void {
  if (before.term === raft.term && before.role === raft.role && before.leader === raft.leader) return;
  raft.effects.push({ kind: 'role', role: raft.role, term: raft.term, leader: raft.leader });
}
