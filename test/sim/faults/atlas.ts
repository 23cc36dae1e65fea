// What may be destroyed now: the atlas keeps the impossible from being asked. A peer's copy may go only where the others hold what
// it has answered for, and never so many that no majority is left. A person replaces what is gone before more may go.
import type { PeerId } from '../../../src/base/ids.ts';
import { majority } from '../../../src/raft/quorum.ts';
import type { Membership } from '../../../src/raft/types.ts';
import { MEMBERSHIP_CODEC } from '../cluster/bridge.ts';
import { durableLastIndex, durableTerm, durableTermAt, holdsDurably } from '../disk/disk.ts';
import { type Host, type World, leaderHost } from '../world.ts';

/** Every membership that some process goes by, or would. */
export function membershipsInForce(world: World): readonly Membership[] {
  const found: Membership[] = [];
  for (const host of world.hosts) {
    const membership =
      host.raft?.membership ?? (world.lost.has(host.id) ? undefined : membershipOnDisk(host));
    if (membership !== undefined && membership.incarnation > 0 && !found.includes(membership))
      found.push(membership);
    if (host.raft !== undefined) found.push(...askedFor(host, host.raft.membership));
  }
  return found;
}

/** Those that a removal makes which a busy process was asked for and has not come to yet. */
function askedFor({ inbox }: Host, membership: Membership): Membership[] {
  return inbox.flatMap((event) =>
    event.kind === 'change-membership' && event.change.kind === 'remove'
      ? [{ ...membership, voters: membership.voters.filter((voter) => voter !== event.change.peer) }]
      : [],
  );
}

/** What the process would go by if it were started; undefined where it would not run. */
function membershipOnDisk({ disk, quarantine, initialMembership }: Host): Membership | undefined {
  if (quarantine !== undefined || disk.state === undefined) return undefined;
  const config = disk.records.findLast((record) => record.entry.kind === 'config');
  if (config !== undefined) return MEMBERSHIP_CODEC.decode(config.entry.data);
  const { snapshotFile } = disk.state;
  return disk.snapshots.find((file) => file.id === snapshotFile)?.snapshot.membership ?? initialMembership;
}

/** Whether a majority of each membership in force is left without this peer. */
export function mayLose(world: World, peer: PeerId): boolean {
  if (world.lost.has(peer)) return true;
  return membershipsInForce(world).every(({ voters }) => {
    if (!voters.includes(peer)) return true;
    const lost = voters.filter((voter) => world.lost.has(voter)).length;
    return lost + 1 <= voters.length - majority(voters.length);
  });
}

/** Whether the voters that would be left after a removal can still decide. */
export function mayRemove(world: World, membership: Membership, peer: PeerId): boolean {
  const voters = membership.voters.filter((voter) => voter !== peer);
  if (voters.length === 0) return false;
  const usable = voters.filter((voter) => !world.lost.has(voter)).length;
  return usable >= majority(voters.length);
}

/**
 * Whether this peer's disk may forget without the peer knowing: everything it has answered for is on a majority of the voters
 * even without it, and nobody can be elected any more in a term in which it has voted.
 */
export function mayForget(world: World, host: Host): boolean {
  if (!mayLose(world, host.id) || world.lost.size > 0) return false;
  const leader = leaderHost(world);
  const raft = leader?.raft;
  if (leader === undefined || raft === undefined || leader === host) return false;
  const { membership, membershipIndex } = raft;
  if (membershipIndex > raft.commitIndex || !membership.voters.includes(host.id)) return false;
  const term = durableTerm(host.disk);
  if (raft.term < term) return false;
  for (const other of world.hosts) {
    if (other === host) continue;
    if (!membership.voters.includes(other.id)) {
      // Removed, or on its way back: while its log is short it takes itself for a voter of the first membership, where this peer's vote counts.
      if (!world.lost.has(other.id) && host.initialMembership.voters.includes(other.id)) return false;
      continue;
    }
    if (other.raft === undefined || other.raft.membershipIndex !== membershipIndex) return false;
    if (durableTerm(other.disk) < term || other.raft.role === 'candidate') return false;
  }
  const last = durableLastIndex(host.disk);
  const lastTerm = durableTermAt(host.disk, last);
  if (lastTerm === undefined) return last === 0;
  const holders = membership.voters.filter((voter) => {
    const disk = world.hostOf.get(voter)?.disk;
    return voter !== host.id && disk !== undefined && holdsDurably(disk, last, lastTerm);
  });
  return holders.length >= majority(membership.voters.length);
}
