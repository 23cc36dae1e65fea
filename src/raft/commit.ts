// When an entry is committed (Raft §5.3, §5.4.2).
// Must never commit an entry of an earlier term by counting copies, nor count a copy that is not durable, nor go back.
import { assert } from '../base/assert.ts';
import { logIndex } from '../base/ids.ts';
import type { LogIndex } from '../base/ids.ts';
import { entriesBetween, lastIndex, matchesAt } from './log.ts';
import { reachedByMajority } from './quorum.ts';
import type { Raft } from './state.ts';

/** On the leader: commits what a majority of the voters holds durably, if that is an entry of the leader's own term. */
export function advanceLeaderCommit(raft: Raft): void {
  const { leading } = raft;
  if (leading === undefined) return;
  const reached = reachedByMajority(raft.membership.voters, (voter) =>
    voter === raft.self ? raft.durability.durableIndex : (leading.progress.get(voter)?.match ?? 0),
  );
  const candidate = logIndex(reached);
  if (candidate <= raft.commitIndex) return;
  if (!matchesAt(raft.log, candidate, raft.term)) {
    // mark: earlier-term-waits
    return;
  }
  commitTo(raft, candidate);
}

/** On a follower: commits what the leader has committed, as far as our log is known to equal the leader's. */
export function advanceFollowerCommit(raft: Raft, leaderCommit: LogIndex, verifiedIndex: LogIndex): void {
  const candidate = logIndex(Math.min(leaderCommit, verifiedIndex));
  if (candidate > raft.commitIndex) commitTo(raft, candidate);
}

/** The leader has committed an entry of its own term, so its commit index is no older than anyone's (thesis §6.4). */
export function hasCommittedInTerm(raft: Raft): boolean {
  return raft.leading !== undefined && raft.commitIndex >= raft.leading.termStartIndex;
}

/** Emits the entries up to `index` as committed; they must be in the log. */
export function commitTo(raft: Raft, index: LogIndex): void {
  assert(
    index <= lastIndex(raft.log),
    () => `commit ${index} is beyond the log, which ends at ${lastIndex(raft.log)}`,
  );
  const from = logIndex(raft.commitIndex + 1);
  raft.commitIndex = index;
  raft.effects.push({ kind: 'commit', entries: entriesBetween(raft.log, from, index) });
}
