// The follower's side of snapshots: takes the leader's in place of entries that it can no longer send (thesis §5.1).
// Must never take back what is committed here, nor keep a tail that does not follow the snapshot, nor answer before the
// snapshot, or the entries it stands for, are durable.
import type { PeerId } from '../base/ids.ts';
import { commitTo } from './commit.ts';
import { issueBeforeSnapshot, persistSnapshot, withdrawCredit } from './durability.ts';
import { confirmMatch, heardLeader } from './follow.ts';
import { lastIndex, matchesAt, restartAt } from './log.ts';
import { noteReplaced } from './membership.ts';
import { compact } from './snapshot.ts';
import type { Raft } from './state.ts';
import type { RaftMessage, Snapshot } from './types.ts';

type SnapshotRequest = Extract<RaftMessage, { kind: 'snapshot-request' }>;

export function onSnapshotRequest(raft: Raft, from: PeerId, request: SnapshotRequest): void {
  heardLeader(raft, from);
  const { snapshot, round } = request;
  if (snapshot.index <= raft.commitIndex) {
    // mark: snapshot-already-covered
    confirmMatch(raft, from, round, raft.commitIndex);
    return;
  }
  issueBeforeSnapshot(raft, snapshot.index);
  if (matchesAt(raft.log, snapshot.index, snapshot.term)) keepTail(raft, snapshot);
  else replaceLog(raft, snapshot);
  confirmMatch(raft, from, round, snapshot.index);
}

/** Our log holds the snapshot's last entry, hence all before it: they are committed, and what follows may stay. */
function keepTail(raft: Raft, snapshot: Snapshot): void {
  // mark: snapshot-keeps-tail
  commitTo(raft, snapshot.index);
  compact(raft, snapshot, snapshot.index);
}

/** Our log is too short, or another one there: none of it above the commit index may stay. */
function replaceLog(raft: Raft, snapshot: Snapshot): void {
  if (lastIndex(raft.log) > raft.commitIndex) {
    // mark: snapshot-over-uncommitted-tail
    withdrawCredit(raft, raft.commitIndex);
  }
  const base = { index: snapshot.index, term: snapshot.term };
  restartAt(raft.log, base);
  raft.snapshot = snapshot;
  raft.commitIndex = snapshot.index;
  persistSnapshot(raft, { snapshot, base, replacesLog: true });
  raft.effects.push({ kind: 'restore', snapshot });
  noteReplaced(raft);
}
