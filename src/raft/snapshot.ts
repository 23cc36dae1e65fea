// Snapshots of our own state, and the compaction of the log that they allow (thesis §5.1).
// Must never go back behind a newer snapshot, nor drop an entry that the snapshot does not stand for.
import { assert } from '../base/assert.ts';
import { logIndex } from '../base/ids.ts';
import type { LogIndex } from '../base/ids.ts';
import { issueBeforeSnapshot, persistSnapshot } from './durability.ts';
import { compactTo, termAt } from './log.ts';
import { membershipAt, noteCompacted } from './membership.ts';
import type { Raft } from './state.ts';
import type { Snapshot } from './types.ts';

/** The shell wrote down its state as applied up to `index`. */
export function onSnapshotTaken(raft: Raft, index: LogIndex, data: Uint8Array): void {
  if (index <= (raft.snapshot?.index ?? 0)) {
    // One from the leader was installed meanwhile, or this is an old one.
    // mark: own-snapshot-outdated
    return;
  }
  const membership = membershipAt(raft, index);
  if (membership.incarnation === 0) {
    // Who the members were at that time was never told to this peer, so it cannot pass it on. Only Raft's own simulation gets here
    // (simulation.test.ts): elsewhere every log begins with a snapshot that says who takes part (daemon/beginning.ts).
    return;
  }
  assert(
    index <= raft.commitIndex,
    () => `a snapshot at ${index}, but only ${raft.commitIndex} is committed`,
  );
  const term = termAt(raft.log, index);
  assert(term !== undefined, () => `a snapshot at ${index}, which the log does not hold`);
  issueBeforeSnapshot(raft, index);
  const snapshot: Snapshot = { index, term, membership, data };
  compact(raft, snapshot, logIndex(Math.max(raft.log.base.index, index - raft.settings.keptEntries)));
}

/** Takes a snapshot that our log agrees with; the log then begins after `baseIndex`. */
export function compact(raft: Raft, snapshot: Snapshot, baseIndex: LogIndex): void {
  raft.snapshot = snapshot;
  compactTo(raft.log, baseIndex);
  persistSnapshot(raft, { snapshot, base: raft.log.base, replacesLog: false });
  noteCompacted(raft);
}
