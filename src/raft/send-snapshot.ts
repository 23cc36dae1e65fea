// The leader's side of snapshots: for a follower that needs entries which are compacted away (thesis §5.1), or which tell of an
// earlier incarnation. Must never have more than one under way to a follower, nor send one to a follower that has been silent,
// nor append meanwhile: what was sent counts only when the follower says that it is durable there.
import { assert } from '../base/assert.ts';
import type { LogIndex, PeerId } from '../base/ids.ts';
import { send } from './durability.ts';
import { endSnapshot, recordSnapshot } from './progress.ts';
import type { Progress } from './progress.ts';
import type { Leading, Raft } from './state.ts';

/**
 * Whether the entry before `next`, with which every append begins, is compacted away; or what follows it holds a membership of
 * an earlier incarnation, which would part the follower from us as soon as it is in its log.
 */
export function needsSnapshot(raft: Raft, progress: Progress): boolean {
  return progress.next <= raft.log.base.index || progress.next <= raft.earlierIncarnationIndex;
}

/** Sends a snapshot where one is due, and gives up one that was not answered for in time. */
export function advanceSnapshot(raft: Raft, leading: Leading, peer: PeerId, progress: Progress): void {
  const { snapshot } = progress;
  if (snapshot === undefined) {
    if (raft.nowMs < progress.snapshotDueMs || isSilent(raft, progress)) return;
    if (isOfEarlierIncarnation(raft)) {
      // mark: snapshot-of-an-earlier-incarnation
      return;
    }
    sendSnapshot(raft, leading, peer, progress);
  } else if (raft.nowMs - snapshot.sentAtMs >= raft.settings.snapshotTimeoutMs) {
    // mark: snapshot-timed-out
    endSnapshot(progress, raft.nowMs);
  } else if (isAnswerMissing(raft, progress)) {
    // mark: snapshot-answer-missing
    endSnapshot(progress, raft.nowMs);
  }
}

/**
 * There is none yet of this incarnation. One from before a recovery would put its receiver back among peers that are gone, where nobody of this incarnation may
 * talk to it any more. The shell takes another one once the recovery is applied.
 */
function isOfEarlierIncarnation({ snapshot, membership }: Raft): boolean {
  return snapshot === undefined || snapshot.membership.incarnation < membership.incarnation;
}

/** What the network says of a snapshot; one that arrived is not done before the follower has answered. */
export function onSnapshotSent(raft: Raft, to: PeerId, index: LogIndex, arrived: boolean): void {
  const progress = raft.leading?.progress.get(to);
  const snapshot = progress?.snapshot;
  if (progress === undefined || snapshot?.index !== index) {
    // mark: snapshot-news-late
    return;
  }
  if (arrived) {
    snapshot.arrived = true;
    progress.appendedAtMs = raft.nowMs;
  } else {
    // mark: snapshot-failed
    endSnapshot(progress, raft.nowMs + raft.settings.electionMs);
  }
}

/** It would be sent to nobody, and again and again. */
function isSilent(raft: Raft, progress: Progress): boolean {
  return raft.nowMs - progress.activeAtMs >= raft.settings.electionMs;
}

/** It arrived, and an append can follow it: asking costs little, while the answer may have been lost. */
function isAnswerMissing(raft: Raft, { snapshot, appendedAtMs }: Progress): boolean {
  if (snapshot?.arrived !== true || snapshot.index < raft.log.base.index) return false;
  return raft.nowMs - appendedAtMs >= 2 * raft.settings.electionMs;
}

function sendSnapshot(raft: Raft, leading: Leading, peer: PeerId, progress: Progress): void {
  const { snapshot } = raft;
  assert(snapshot !== undefined, () => `${peer} needs a snapshot, and there is none`);
  // mark: snapshot-sent
  leading.round += 1;
  send(raft, peer, { kind: 'snapshot-request', term: raft.term, snapshot, round: leading.round });
  recordSnapshot(progress, snapshot.index, raft.nowMs);
}
