// The follower's side: takes entries and heartbeats from the leader of its term (Raft §5.3).
// Must never truncate entries that match, nor commit beyond what this leader has verified, nor answer before it is durable.
import { assert } from '../base/assert.ts';
import { logIndex } from '../base/ids.ts';
import type { LogIndex, PeerId } from '../base/ids.ts';
import { advanceFollowerCommit } from './commit.ts';
import { send, sendAfterDurable, truncateLog } from './durability.ts';
import { appendEntry, lastIndex, lastIndexOfTermAtMost, matchesAt, termAt } from './log.ts';
import { becomeFollower, resetElectionDeadline } from './role.ts';
import type { Raft } from './state.ts';
import type { Entry, RaftMessage } from './types.ts';

type AppendRequest = Extract<RaftMessage, { kind: 'append-request' }>;
type HeartbeatRequest = Extract<RaftMessage, { kind: 'heartbeat-request' }>;

/** Takes `from` for the leader of our term and starts waiting anew. */
function heardLeader(raft: Raft, from: PeerId): void {
  assert(
    raft.role !== 'leader' && (raft.leader === undefined || raft.leader === from),
    () => `two leaders in term ${raft.term}: ${raft.leader} and ${from}`,
  );
  if (raft.role !== 'follower' || raft.leader === undefined) becomeFollower(raft, raft.term, from);
  raft.leaderHeardAtMs = raft.nowMs;
  resetElectionDeadline(raft);
}

export function onAppendRequest(raft: Raft, from: PeerId, request: AppendRequest): void {
  heardLeader(raft, from);
  if (!matchesAt(raft.log, request.prevIndex, request.prevTerm)) {
    refuseAppend(raft, from, request);
    return;
  }
  takeEntries(raft, request.entries);
  const verified = logIndex(request.prevIndex + request.entries.length);
  advanceFollowerCommit(raft, request.commitIndex, verified);
  const reply = { kind: 'append-reply', term: raft.term, round: request.round, success: true } as const;
  sendAfterDurable(
    raft,
    from,
    { ...reply, matchIndex: verified, hintIndex: logIndex(0), hintTerm: raft.term },
    verified,
  );
}

/** The leader never tells more than it knows to be durable here, so a shorter log means that this disk lost entries. */
export function onHeartbeatRequest(raft: Raft, from: PeerId, request: HeartbeatRequest): void {
  heardLeader(raft, from);
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
    if (matchesAt(raft.log, entry.index, entry.term)) continue;
    if (entry.index <= lastIndex(raft.log)) truncateLog(raft, entry.index);
    appendEntry(raft.log, entry);
  }
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
    matchIndex: logIndex(0),
    hintIndex,
    hintTerm,
  });
}
