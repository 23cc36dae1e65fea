// The follower's side: takes entries and heartbeats from the leader of its term (Raft §5.3).
// Must never truncate entries that match, nor commit beyond what this leader has verified, nor answer before it is durable.
import { assert } from '../base/assert.ts';
import { logIndex } from '../base/ids.ts';
import type { LogIndex, PeerId } from '../base/ids.ts';
import { advanceFollowerCommit } from './commit.ts';
import { send, sendAfterDurable, truncateLog } from './durability.ts';
import { appendEntry, INDEX_ZERO, lastIndex, lastIndexOfTermAtMost, matchesAt, termAt } from './log.ts';
import { isJoining, noteAppended } from './membership.ts';
import { becomeFollower, endElections, resetElectionDeadline } from './role.ts';
import type { Raft } from './state.ts';
import type { Entry, RaftMessage } from './types.ts';

type AppendRequest = Extract<RaftMessage, { kind: 'append-request' }>;
type AppendReply = Extract<RaftMessage, { kind: 'append-reply' }>;
type HeartbeatRequest = Extract<RaftMessage, { kind: 'heartbeat-request' }>;

/** Takes `from` for the leader of our term and starts waiting anew. */
export function heardLeader(raft: Raft, from: PeerId): void {
  assert(
    raft.role !== 'leader' && (raft.leader === undefined || raft.leader === from),
    () => `two leaders in term ${raft.term}: ${raft.leader} and ${from}`,
  );
  if (raft.role !== 'follower' || raft.leader === undefined) becomeFollower(raft, raft.term, from);
  raft.leaderHeardAtMs = raft.nowMs;
  endElections(raft);
  resetElectionDeadline(raft);
}

export function onAppendRequest(raft: Raft, from: PeerId, request: AppendRequest): void {
  heardLeader(raft, from);
  const { base } = raft.log;
  // What we compacted away is committed, so this leader has the same there (Leader Completeness): it matches.
  if (request.prevIndex >= base.index && !matchesAt(raft.log, request.prevIndex, request.prevTerm)) {
    refuseAppend(raft, from, request);
    return;
  }
  takeEntries(raft, request.entries);
  const verified = logIndex(Math.max(request.prevIndex + request.entries.length, base.index));
  advanceFollowerCommit(raft, request.commitIndex, verified);
  confirmMatch(raft, from, request.round, verified);
}

/** Tells the leader, once that is durable, that our log equals its own up to `matchIndex`. */
export function confirmMatch(raft: Raft, to: PeerId, round: number, matchIndex: LogIndex): void {
  const reply: AppendReply = {
    kind: 'append-reply',
    term: raft.term,
    round,
    success: true,
    matchIndex,
    hintIndex: INDEX_ZERO,
    hintTerm: raft.term,
  };
  sendAfterDurable(raft, to, reply, matchIndex);
}

/** The leader never tells more than it knows to be durable here, so a shorter log means that this disk lost entries. */
export function onHeartbeatRequest(raft: Raft, from: PeerId, request: HeartbeatRequest): void {
  heardLeader(raft, from);
  if (request.commitIndex > lastIndex(raft.log) && isJoining(raft)) {
    // Meant for a former member of this name: one that joins has not told this leader that it holds anything.
    return;
  }
  assert(
    request.commitIndex <= lastIndex(raft.log),
    () =>
      `${from} counted on entries up to ${request.commitIndex} here, but the log ends at ${lastIndex(raft.log)}: entries were lost`,
  );
  advanceFollowerCommit(raft, request.commitIndex, request.commitIndex);
  send(raft, from, { kind: 'heartbeat-reply', term: raft.term, round: request.round });
}

/** Keeps what matches, replaces from the first entry that does not, appends what is new. Old requests change nothing. */
function takeEntries(raft: Raft, entries: readonly Entry[]): void {
  for (const entry of entries) {
    if (entry.index <= raft.log.base.index) {
      // mark: append-below-the-base
      assertSameAtBase(raft, entry);
      continue;
    }
    if (matchesAt(raft.log, entry.index, entry.term)) continue;
    if (entry.index <= lastIndex(raft.log)) truncateLog(raft, entry.index);
    appendEntry(raft.log, entry);
    noteAppended(raft, entry);
  }
}

/** What is compacted away was committed; a leader that has something else there must not be followed. */
function assertSameAtBase({ log }: Raft, entry: Entry): void {
  assert(
    entry.index < log.base.index || entry.term === log.base.term,
    () => `entry ${entry.index} has term ${entry.term}, but term ${log.base.term} is committed there`,
  );
}

/** Tells the leader where to look next: the last index of ours that could still agree with it. */
function refuseAppend(raft: Raft, from: PeerId, request: AppendRequest): void {
  const hintIndex: LogIndex = lastIndexOfTermAtMost(raft.log, request.prevIndex, request.prevTerm);
  const hintTerm = termAt(raft.log, hintIndex);
  assert(hintTerm !== undefined, () => `hole in the log at ${hintIndex}`);
  send(raft, from, {
    kind: 'append-reply',
    term: raft.term,
    round: request.round,
    success: false,
    matchIndex: INDEX_ZERO,
    hintIndex,
    hintTerm,
  });
}
