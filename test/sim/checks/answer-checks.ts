// What a peer writes and says, against its disk: terms, votes, the links between entries, what it has answered for, and that none
// of it is gone after a start (thesis section 3.8; the list of the project).
import type { LogIndex, PeerId } from '../../../src/base/ids.ts';
import { termAt } from '../../../src/raft/log.ts';
import type { Raft } from '../../../src/raft/raft.ts';
import type { RaftEffect, RaftMessage, Snapshot } from '../../../src/raft/types.ts';
import { durableLastIndex, durableTerm, durableTermAt, durableVote } from '../disk/disk.ts';
import { violated } from '../engine/violation.ts';
import type { Host, World } from '../world.ts';
import { checkConfigOfLog, isSame, keyOf } from './log-checks.ts';
import { checkSnapshotMembership } from './member-checks.ts';

/** What goes to the disk: terms, votes and links between entries. */
export function onPersist(world: World, host: Host, effect: Extract<RaftEffect, { kind: 'persist' }>): void {
  const { raft, disk } = host;
  if (raft === undefined) return;
  const { hardState, entries } = effect;
  const before = host.store?.waiting.at(-1) ?? host.store?.writing?.effects.at(-1);
  const earlier = before?.hardState ?? disk.state?.hardState;
  if (earlier !== undefined) {
    if (hardState.term < earlier.term)
      violated('TermMonotonic', `${host.id} writes term ${hardState.term} after ${earlier.term}`);
    if (
      hardState.term === earlier.term &&
      earlier.votedFor !== undefined &&
      hardState.votedFor !== earlier.votedFor
    )
      violated(
        'VoteOncePerTermAcrossCrash',
        `${host.id} voted for ${earlier.votedFor} in term ${hardState.term} and writes a vote for ${hardState.votedFor ?? 'nobody'}`,
      );
  }
  const acked = world.logChecks.acked[host.place] as { index: number; term: number };
  if (effect.snapshot !== undefined) {
    const { snapshot, replacesLog } = effect.snapshot;
    checkSnapshotWritten(world, host, snapshot);
    // Where the log disagrees with it, what came after belongs to the same lost branch.
    const isOther = writtenTermAt(host, snapshot.index) !== snapshot.term;
    if (replacesLog && isOther && snapshot.index < acked.index) {
      // Until the next answer: which of the two logs a crash leaves is open.
      acked.index = 0;
      acked.term = 0;
    }
  }
  const [first] = entries;
  if (first === undefined) return;
  if (first.index <= acked.index) {
    acked.index = first.index - 1;
    acked.term = termAt(raft.log, acked.index as LogIndex) ?? writtenTermAt(host, acked.index) ?? 0;
  }
  // A recovery writes its term and its entry at once: nobody has heard of either before both are durable.
  if (raft.role === 'candidate') return;
  const { links } = world.logChecks;
  const { incarnation } = raft.membership;
  let previousTerm = termAt(raft.log, (first.index - 1) as LogIndex);
  for (const entry of entries) {
    if (previousTerm !== undefined) {
      const key = keyOf(incarnation, entry.term, entry.index);
      const known = links.get(key);
      if (known === undefined) links.set(key, { entry, previousTerm });
      else if (known.previousTerm !== previousTerm || !isSame(known.entry, entry))
        violated('LogMatching', `two entries ${entry.index}/${entry.term}, one of them on ${host.id}`);
    }
    previousTerm = entry.term;
  }
}

/** Snapshots only ever get newer. */
function checkSnapshotWritten(world: World, host: Host, snapshot: Snapshot): void {
  const { store, disk } = host;
  const earlier = [...(store?.writing?.effects ?? []), ...(store?.waiting ?? [])].findLast(
    (effect) => effect.snapshot !== undefined,
  );
  const file = disk.snapshots.find((known) => known.id === disk.state?.snapshotFile);
  const before = earlier?.snapshot?.snapshot ?? file?.snapshot;
  if (before !== undefined && snapshot.index < before.index)
    violated(
      'CommitMonotonic',
      `${host.id} writes the snapshot of ${snapshot.index} after that of ${before.index}`,
    );
  checkSnapshotMembership(world, host, snapshot);
}

/** As the disk will have it: what was answered for is written, while the log in memory may be that of a later snapshot already. */
function writtenTermAt({ store, disk }: Host, index: number): number | undefined {
  const queued = [...(store?.writing?.effects ?? []), ...(store?.waiting ?? [])];
  const entry = queued.flatMap(({ entries }) => entries).findLast((each) => each.index === index);
  return entry?.term ?? durableTermAt(disk, index);
}

/** A write has ended: no entry may lie on the disk before the term it belongs to. */
export function onWritten(host: Host): void {
  const { disk } = host;
  const term = disk.records.at(-1)?.entry.term ?? 0;
  if (term > durableTerm(disk))
    violated(
      'TermMonotonic',
      `the disk of ${host.id} holds an entry of term ${term} under term ${durableTerm(disk)}`,
    );
}

/** What a peer says of itself must be on its disk: its term, its vote, the entries it answers for. */
export function onSend(world: World, host: Host, to: PeerId, message: RaftMessage): void {
  const { disk } = host;
  const checks = world.logChecks;
  const isPreVote = (message.kind === 'vote-request' || message.kind === 'vote-reply') && message.preVote;
  if (!isPreVote && message.term > durableTerm(disk))
    violated(
      'TermMonotonic',
      `${host.id} speaks of term ${message.term}, its disk holds ${durableTerm(disk)}`,
    );
  if (message.term > (checks.highestTerm[host.place] as number) && !isPreVote)
    checks.highestTerm[host.place] = message.term;
  if (message.kind === 'append-reply') {
    if (message.success) onAcknowledged(world, host, message.matchIndex, message.term);
    return;
  }
  if (message.kind !== 'vote-reply' && message.kind !== 'vote-request') return;
  if (isPreVote) return;
  const candidate = message.kind === 'vote-request' ? host.id : message.granted ? to : undefined;
  if (candidate === undefined) return;
  const { votes } = checks;
  const key = `${host.storeId}:${message.term}`;
  const known = votes.get(key) ?? candidate;
  if (known !== candidate)
    violated(
      'VoteOncePerTermAcrossCrash',
      `${host.id} votes for ${known} and ${candidate} in term ${message.term}`,
    );
  votes.set(key, candidate);
  if (durableTerm(disk) === message.term && durableVote(disk) !== candidate)
    violated(
      'VoteOncePerTermAcrossCrash',
      `${host.id} votes for ${candidate} before its disk holds the vote`,
    );
}

function onAcknowledged(world: World, host: Host, index: number, ofTerm: number): void {
  const { disk, raft } = host;
  if (raft === undefined) return;
  if (index > durableLastIndex(disk))
    violated(
      'AckedNeverLost',
      `${host.id} answers for entry ${index}, its disk ends at ${durableLastIndex(disk)}`,
    );
  const term = termAt(raft.log, index as LogIndex);
  const durable = durableTermAt(disk, index);
  // One of an earlier term, sent from the same step in which a later leader replaced the entry, is still true of the disk.
  if (ofTerm === raft.term && term !== undefined && durable !== undefined && term !== durable)
    violated(
      'AckedNeverLost',
      `${host.id} answers for entry ${index}/${term}, its disk holds ${index}/${durable}`,
    );
  const acked = world.logChecks.acked[host.place] as { index: number; term: number };
  if (index <= acked.index || durable === undefined) return;
  acked.index = index;
  acked.term = durable;
}

/** After a start: nothing of what was answered for may be gone. */
export function onRestart(world: World, host: Host, raft: Raft): void {
  const checks = world.logChecks;
  checks.applied[host.place] = raft.snapshot?.index ?? 0;
  checkConfigOfLog(host, raft);
  if (host.isAmnesiac) return;
  if (raft.term < (checks.highestTerm[host.place] as number))
    violated(
      'TermMonotonic',
      `${host.id} spoke of term ${checks.highestTerm[host.place]} and starts in ${raft.term}`,
    );
  const { index, term } = checks.acked[host.place] as { index: number; term: number };
  if (index > raft.log.base.index && termAt(raft.log, index as LogIndex) !== term)
    violated('AckedNeverLost', `${host.id} answered for entry ${index}/${term}, and starts without it`);
  if ((raft.snapshot?.index ?? 0) < (checks.commitFloor[host.place] as number))
    violated('CommitMonotonic', `${host.id} starts with an older snapshot than it had`);
  checks.commitFloor[host.place] = raft.snapshot?.index ?? 0;
}
