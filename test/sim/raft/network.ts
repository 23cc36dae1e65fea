// The network between peers: it loses, repeats, delays and reorders; what a handshake refuses does not arrive. The rules of the
// handshake are those of src/transport: cluster, membership, incarnation, and the store a peer is known by.
import type { PeerId } from '../../../src/base/ids.ts';
import {
  type Caller,
  isMemberOf,
  isPerhapsMember,
  receive,
  storesOf,
} from '../../../src/cluster/acquaintance.ts';
import { committedMembership, pendingMemberships } from '../../../src/raft/membership.ts';
import type { Raft } from '../../../src/raft/raft.ts';
import type { RaftMessage } from '../../../src/raft/types.ts';
import { EVENT, type Host, type Packet, type World, after, isBlocked } from '../world.ts';
import { note } from '../describe.ts';
import { put } from './inbox.ts';

/** Packets remembered for a fault that brings them again. */
const OLD_PACKETS = 48;
/** How long the sender of a snapshot takes to notice that it did not get through. */
const SNAPSHOT_FAILURE_US = 30_000;

export function sendMessage(world: World, from: Host, to: PeerId, message: RaftMessage): void {
  const { network, random, tally } = world;
  const { raft } = from;
  const target = world.hostOf.get(to);
  if (target === undefined || raft === undefined || !hasLink(raft, target)) return;
  tally.messages += 1;
  const committed = committedMembership(raft);
  const packet: Packet = {
    from: from.place,
    to: target.place,
    incarnation: committed.membership.incarnation,
    storeId: from.storeId,
    membershipIndex: committed.index,
    logMembershipIndex: Math.max(raft.membershipIndex, committed.index),
    toBoot: target.boot,
    toStore: target.storeId,
    fromBoot: from.boot,
    isLate: false,
    message,
  };
  const address = raft.membership.addresses.get(to);
  const isElsewhere = address !== undefined && address !== target.address && !network.forwards;
  if (isElsewhere || random.ppm(network.lossPpm)) {
    tally.messagesLost += 1;
    remember(world, packet);
    if (message.kind === 'snapshot-request') tellFailure(world, packet);
    return;
  }
  let delayUs = 100 + random.below(network.delayUsMax);
  if (message.kind === 'snapshot-request') delayUs += 2000 + random.below(10_000);
  const latePpm = message.kind === 'heartbeat-reply' ? network.lateHeartbeatPpm : 0;
  if (random.ppm(Math.max(network.stragglePpm, latePpm))) {
    tally.messagesLate += 1;
    delayUs = random.between(50_000, 1_500_000);
    packet.isLate = !isBlocked(world, from.place, target.place);
  }
  after(world, delayUs, { kind: EVENT.deliver, host: target.place, boot: -1, ref: packet });
  if (network.repeatPpm > 0 && message.kind !== 'snapshot-request' && random.ppm(network.repeatPpm)) {
    tally.messagesRepeated += 1;
    after(world, delayUs + random.below(20_000), {
      kind: EVENT.deliver,
      host: target.place,
      boot: -1,
      ref: packet,
    });
  }
}

/** Whether the packet reaches the process it is meant for; tells the sender of a snapshot what became of it. */
export function arrives(world: World, packet: Packet): boolean {
  const target = world.hosts[packet.to] as Host;
  const isThere =
    target.raft !== undefined &&
    // No connection outlives the disk that it led to.
    target.storeId === packet.toStore &&
    (packet.isLate || !isBlocked(world, packet.from, packet.to)) &&
    isAccepted(world, target, packet);
  const { message } = packet;
  if (message.kind !== 'snapshot-request') {
    // A connection leads to one run of a process: what is meant for an earlier one is not delivered to the next.
    if (message.kind === 'propose' && packet.toBoot !== target.boot) return false;
    if (isThere && world.random.ppm(20_000)) remember(world, packet);
    return isThere;
  }
  if (!isThere) tellFailure(world, packet);
  else tellArrival(world, packet);
  return isThere;
}

/** What the receiver makes of what the sender says about itself: the rules of src/cluster, as src/transport follows them. */
function isAccepted(world: World, target: Host, packet: Packet): boolean {
  const { raft, replica } = target;
  if (raft === undefined || replica === undefined) return false;
  const { membership, index } = committedMembership(raft);
  const peer = (world.hosts[packet.from] as Host).id;
  const caller: Caller = {
    peer,
    incarnation: packet.incarnation,
    membershipIndex: packet.membershipIndex,
    logMembershipIndex: packet.logMembershipIndex,
    store: packet.storeId,
  };
  const reception = receive(caller, {
    incarnation: membership.incarnation,
    membershipIndex: index,
    commitIndex: raft.commitIndex,
    isMember: () => isMemberOf([membership, ...pendingMemberships(raft)], peer),
    storesOf: () => storesOf(replica.state, target.storesAhead, peer),
  });
  if (reception === 'welcome') return true;
  if (reception === 'ahead' || reception === 'behind') world.tally.messagesOfAnEarlierIncarnation += 1;
  else world.tally.messagesRefused += 1;
  note(world, target, () => `refuses ${peer} with ${packet.storeId}: ${reception}`);
  return false;
}

/** A peer has links to all of its memberships, committed or not, and to those that called it from a later one. */
function hasLink(raft: Raft, target: Host): boolean {
  const { membership, index } = committedMembership(raft);
  if (membership.incarnation === 0) return true;
  if (isMemberOf([membership, ...pendingMemberships(raft)], target.id)) return true;
  if (target.raft === undefined) return false;
  const theirs = committedMembership(target.raft);
  const caller = {
    incarnation: theirs.membership.incarnation,
    logMembershipIndex: target.raft.membershipIndex,
  };
  const us = { incarnation: membership.incarnation, commitIndex: raft.commitIndex };
  return theirs.index > index || isPerhapsMember(caller, us);
}

function tellArrival(world: World, packet: Packet): void {
  const { message } = packet;
  const sender = world.hosts[packet.from] as Host;
  if (message.kind !== 'snapshot-request' || sender.boot !== packet.fromBoot || world.random.ppm(50_000))
    return;
  const { index } = message.snapshot;
  put(world, sender, {
    kind: 'snapshot-sent',
    nowMs: 0,
    to: (world.hosts[packet.to] as Host).id,
    index,
    arrived: true,
  });
}

function tellFailure(world: World, packet: Packet): void {
  const { message } = packet;
  const sender = world.hosts[packet.from] as Host;
  if (message.kind !== 'snapshot-request' || world.random.ppm(100_000)) return;
  const { index } = message.snapshot;
  const to = (world.hosts[packet.to] as Host).id;
  const event = { kind: 'snapshot-sent', nowMs: 0, to, index, arrived: false };
  after(world, SNAPSHOT_FAILURE_US, {
    kind: EVENT.snapshotTaken,
    host: sender.place,
    boot: packet.fromBoot,
    ref: event,
  });
}

function remember(world: World, packet: Packet): void {
  const { network } = world;
  if (packet.message.kind === 'propose') return;
  network.old[network.oldNext] = packet;
  network.oldNext = (network.oldNext + 1) % OLD_PACKETS;
}
