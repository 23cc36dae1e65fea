// What can befall a cluster beyond single messages: partitions, crashes, hung disks, pauses, transfers at a bad moment.
// Every fault can end: nothing here makes it impossible to converge later. Never used outside tests.
import type { PeerId } from '../../base/ids.ts';
import type { MembershipChange } from '../types.ts';
import { addressOf, crash, enqueue, startJoiner } from './network.ts';
import type { Network, SimulatedPeer } from './network.ts';

export interface FaultContext {
  readonly network: Network;
  /** What a fault sets going for later happens only while this holds. */
  isTroubled(): boolean;
  propose(peer: SimulatedPeer): void;
  read(peer: SimulatedPeer): void;
}

export type Fault = (network: Network, context: FaultContext) => void;

/** Lets one of `faults` happen. */
export function strikeOnce(context: FaultContext, faults: readonly Fault[]): void {
  context.network.random.pick(faults)(context.network, context);
}

/** A bit of everything. */
export const MANY_FAULTS: readonly Fault[] = [
  partition,
  partition,
  blockOneWay,
  blockOnePair,
  heal,
  heal,
  crashSome,
  crashSome,
  crashAll,
  hangDisk,
  pause,
  transfer,
  transfer,
  cutLeader,
  relieveDeafLeader,
  pauseLeader,
];

/** Reigns end before they have achieved anything: what figure 8 of the paper is made of. */
export const SHORT_REIGNS: readonly Fault[] = [
  crashLeader,
  crashLeader,
  crashLeader,
  cutLeader,
  partition,
  heal,
  heal,
];

/** Members come and go, also the leader, also while the cluster is in trouble. */
export const CHANGES: readonly Fault[] = [
  addLearner,
  addLearner,
  addLearner,
  addLearner,
  promote,
  promote,
  promote,
  promote,
  remove,
  removeLeader,
  move,
];

/** One that is no member, by what is committed and by what the leader wants, comes with an empty disk. */
function addLearner(network: Network): void {
  const memberships = network.peers.map(
    ({ raft, initialMembership }) => raft?.membership ?? initialMembership,
  );
  memberships.push(network.invariants.committedMembership());
  const spares = network.peers.filter(({ id }) => !memberships.some(({ addresses }) => addresses.has(id)));
  if (spares.length === 0) return;
  const spare = network.random.pick(spares);
  startJoiner(network, spare);
  changeMembership(network, {
    kind: 'add-learner',
    peer: spare.id,
    address: addressOf(spare.id, spare.disks),
  });
}

function promote(network: Network): void {
  const { learners } = network.invariants.committedMembership();
  if (learners.length > 0)
    changeMembership(network, { kind: 'promote', peer: network.random.pick(learners) });
}

function remove(network: Network): void {
  changeMembership(network, { kind: 'remove', peer: network.random.pick(network.peers).id });
}

function removeLeader(network: Network): void {
  const leader = network.peers.find((peer) => peer.raft?.role === 'leader');
  if (leader !== undefined) changeMembership(network, { kind: 'remove', peer: leader.id });
}

/** To the address it has: what is told to the peers is the same, but it is a change. */
function move(network: Network): void {
  const { id, disks } = network.random.pick(network.peers);
  changeMembership(network, { kind: 'move', peer: id, address: addressOf(id, disks) });
}

/** Asked of all who think that they lead. */
export function changeMembership(network: Network, change: MembershipChange): void {
  for (const peer of network.peers) {
    if (peer.raft?.role !== 'leader') continue;
    enqueue(network, peer, (nowMs) => ({ kind: 'change-membership', nowMs, changeId: 'c', change }));
  }
}

function partition(network: Network): void {
  const side = new Set(network.peers.filter(() => network.random.chance(0.5)).map((peer) => peer.id));
  network.blocked.clear();
  for (const from of network.peers) {
    for (const to of network.peers) if (side.has(from.id) !== side.has(to.id)) block(network, from.id, to.id);
  }
}

function blockOneWay(network: Network): void {
  const [from, to] = [network.random.pick(network.peers), network.random.pick(network.peers)];
  block(network, from.id, to.id);
}

/** Not transitive: two that do not hear each other, but both hear the rest. */
function blockOnePair(network: Network): void {
  const [a, b] = [network.random.pick(network.peers), network.random.pick(network.peers)];
  block(network, a.id, b.id);
  block(network, b.id, a.id);
}

function cutLeader(network: Network): void {
  const leader = network.peers.find((peer) => peer.raft?.role === 'leader');
  if (leader === undefined) return;
  for (const peer of network.peers) {
    if (network.random.chance(0.9)) block(network, leader.id, peer.id);
    if (network.random.chance(0.9)) block(network, peer.id, leader.id);
  }
}

function heal(network: Network): void {
  network.blocked.clear();
}

function crashSome(network: Network): void {
  crash(network, network.random.pick(network.peers));
}

function crashLeader(network: Network): void {
  const leader = network.peers.find((peer) => peer.raft?.role === 'leader');
  if (leader !== undefined) crash(network, leader);
}

function crashAll(network: Network): void {
  if (!network.random.chance(0.3)) return;
  for (const peer of network.peers) crash(network, peer);
}

function hangDisk(network: Network): void {
  network.random.pick(network.peers).diskBusyUntilMs =
    network.timeline.nowMs() + network.random.between(100, 2000);
}

function pause(network: Network): void {
  network.random.pick(network.peers).pausedUntilMs =
    network.timeline.nowMs() + network.random.between(50, 1000);
}

function pauseLeader(network: Network): void {
  const leader = network.peers.find((peer) => peer.raft?.role === 'leader');
  if (leader !== undefined)
    leader.pausedUntilMs = network.timeline.nowMs() + network.random.between(50, 1000);
}

/** The old leader hears nobody and so does not learn that it was relieved, while clients ask it and write elsewhere. */
function relieveDeafLeader(network: Network, context: FaultContext): void {
  const leader = network.peers.find((peer) => peer.raft?.role === 'leader');
  const target = network.random.pick(network.peers);
  if (leader === undefined || target === leader) return;
  enqueue(network, leader, (nowMs) => ({ kind: 'transfer', nowMs, to: target.id }));
  network.timeline.after(network.random.between(0, 10), () => {
    if (!context.isTroubled()) return;
    for (const peer of network.peers) if (network.random.chance(0.95)) block(network, peer.id, leader.id);
  });
  for (let delayMs = 5; delayMs < 60; delayMs += 5) {
    network.timeline.after(delayMs, () => {
      if (leader.raft !== undefined && context.isTroubled()) context.read(leader);
      if (target.raft !== undefined && context.isTroubled()) context.propose(target);
    });
  }
}

function transfer(network: Network): void {
  const to = network.random.pick(network.peers).id;
  for (const peer of network.peers) {
    if (peer.raft?.role === 'leader') enqueue(network, peer, (nowMs) => ({ kind: 'transfer', nowMs, to }));
  }
}

export function block(network: Network, from: PeerId, to: PeerId): void {
  if (from !== to) network.blocked.add(`${from}>${to}`);
}
