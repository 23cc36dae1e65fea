// What memberships must be, judged from outside by what was committed and by what lies on the disks: the one in a snapshot, and
// the one that a leader begins a change from.
// Must never go by what the core remembers of its own changes.
import type { Raft } from '../../../src/raft/raft.ts';
import type { Entry, Membership, Snapshot } from '../../../src/raft/types.ts';
import { MEMBERSHIP_CODEC } from '../cluster/bridge.ts';
import { violated } from '../engine/violation.ts';
import type { Host, World } from '../world.ts';

/** A snapshot carries the membership of the newest change that was committed at or below it. */
export function checkSnapshotMembership(world: World, host: Host, snapshot: Snapshot): void {
  const { committed } = world.logChecks;
  if (snapshot.index > committed.length) return;
  let expected: Membership = world.beginning.membership;
  for (let at = snapshot.index - 1; at >= 0; at -= 1) {
    const entry = committed[at] as Entry;
    if (entry.kind !== 'config') continue;
    expected = MEMBERSHIP_CODEC.decode(entry.data);
    break;
  }
  if (textOf(snapshot.membership) === textOf(expected)) return;
  violated(
    'ConfigFromDurableLog',
    `the snapshot of ${snapshot.index} on ${host.id} says ${textOf(snapshot.membership)}, the log says ${textOf(expected)}`,
  );
}

const textOf = ({ incarnation, voters, learners }: Membership): string =>
  `${voters.join(' ')} + ${learners.join(' ')} (${incarnation})`;

/**
 * A leader has begun a change. Before something of its own term is committed, an earlier leader's change that it does not know may
 * still be committed without it: there would be two at once (the bug of 2015).
 */
export function checkChangeBegun(world: World, host: Host, raft: Raft): void {
  const { committed, committedInTerm } = world.logChecks;
  const begun = raft.log.entries.at(raft.membershipIndex - raft.log.base.index - 1);
  if (begun === undefined || begun.term !== raft.term || begun.index <= committed.length) return;
  if (committedInTerm.at(-1) === raft.term) return;
  if (MEMBERSHIP_CODEC.decode(begun.data).incarnation !== host.before.membership?.incarnation) return;
  for (const other of world.hosts) {
    for (const { entry } of other.disk.records) {
      if (entry.kind !== 'config' || entry.index <= committed.length || entry.term >= raft.term) continue;
      if (raft.log.entries[entry.index - raft.log.base.index - 1]?.term === entry.term) continue;
      violated(
        'AtMostOneUncommittedConfig',
        `${host.id} begins change ${begun.index}/${begun.term} before anything of its term is committed, while ${other.id} holds change ${entry.index}/${entry.term}`,
      );
    }
  }
}
