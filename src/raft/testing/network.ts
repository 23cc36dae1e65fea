// A cluster of real cores on a simulated network, with simulated disks and clocks, all driven by one seed.
// The network loses, repeats, delays and reorders; disks lose what they had not confirmed; processes die between effects.
// Never used outside tests.
import { peerId } from '../../base/ids.ts';
import type { LogIndex, PeerId } from '../../base/ids.ts';
import { createRaft, stepAll } from '../raft.ts';
import type { Raft } from '../state.ts';
import type { Membership, RaftEffect, RaftEvent, RaftMessage, RaftSettings } from '../types.ts';
import { JSON_CODEC } from './codec.ts';
import { EMPTY_DISK, written } from './disk.ts';
import type { Disk, PersistEffect } from './disk.ts';
import { createInvariants } from './invariants.ts';
import type { Invariants } from './invariants.ts';
import type { Random } from './random.ts';
import { appliedFrom, applyEntries, EMPTY_STATE, writeState } from './state-machine.ts';
import type { AppliedState } from './state-machine.ts';
import { createTimeline } from './timeline.ts';
import type { Timeline } from './timeline.ts';

type EventBody = (nowMs: number, random: number) => RaftEvent;

export interface SimulatedPeer {
  readonly id: PeerId;
  /** Its first start is with this one, or with nobody where it joins. */
  initialMembership: Membership;
  disk: Disk;
  /** Counts its disks: one that comes back with an empty disk is another peer of the same name. */
  disks: number;
  raft: Raft | undefined;
  /** Of its processes: messages and writes of an earlier one are nothing to a later one. */
  incarnation: number;
  state: AppliedState;
  snapshotAskedAt: LogIndex;
  inbox: EventBody[];
  writes: PersistEffect[];
  /** Writes end not before this moment. */
  diskBusyUntilMs: number;
  /** The process does nothing before this moment. */
  pausedUntilMs: number;
  /** Its clock: `virtual time * rate + offset`. */
  readonly clockRate: number;
  readonly clockOffsetMs: number;
}

export interface Trouble {
  lossProbability: number;
  repeatProbability: number;
  /** Of a message that is late by seconds. */
  straggleProbability: number;
  delayMsMax: number;
  writeMsMax: number;
  crashProbability: number;
}

export interface Network {
  readonly timeline: Timeline;
  readonly random: Random;
  readonly settings: RaftSettings;
  readonly peers: readonly SimulatedPeer[];
  readonly invariants: Invariants;
  readonly trouble: Trouble;
  /** A peer writes its state down after so many entries; 0 for never. */
  readonly snapshotEveryEntries: number;
  /** `from>to` pairs that pass nothing. */
  readonly blocked: Set<string>;
  readonly counts: {
    steps: number;
    messages: number;
    elections: number;
    crashes: number;
    persists: number;
    snapshots: number;
    restores: number;
    changes: number;
  };
}

const TICK_MS = 20;
const NO_TROUBLE: Trouble = {
  lossProbability: 0,
  repeatProbability: 0,
  straggleProbability: 0,
  delayMsMax: 2,
  writeMsMax: 2,
  crashProbability: 0,
};

/** A peer with its n-th disk is reached at `<name>:<n>`, so that nobody takes it for the one before (store ids stand for it). */
export function addressOf(id: PeerId, disks: number): string {
  return `${id}:${disks}`;
}

export function createNetwork(options: {
  readonly random: Random;
  readonly voterCount: number;
  readonly learnerCount?: number;
  /** Peers that are no members at first. */
  readonly spareCount?: number;
  readonly snapshotEveryEntries?: number;
  /** Clocks run at rates that differ by up to this part. */
  readonly clockSpread?: number;
  readonly settings: RaftSettings;
  readonly trouble?: Partial<Trouble>;
}): Network {
  const { random, voterCount } = options;
  const clockSpread = options.clockSpread ?? 0.1;
  const memberCount = voterCount + (options.learnerCount ?? 0);
  const ids = Array.from({ length: memberCount + (options.spareCount ?? 0) }, (_, position) =>
    peerId(`p${position + 1}`),
  );
  const members = ids.slice(0, memberCount);
  const membership: Membership = {
    voters: ids.slice(0, voterCount),
    learners: ids.slice(voterCount, memberCount),
    addresses: new Map(members.map((id) => [id, addressOf(id, 1)])),
    incarnation: 1,
  };
  const peers = ids.map((id): SimulatedPeer => ({
    id,
    initialMembership: membership,
    disk: EMPTY_DISK,
    disks: 1,
    raft: undefined,
    incarnation: 0,
    state: EMPTY_STATE,
    snapshotAskedAt: EMPTY_STATE.index,
    inbox: [],
    writes: [],
    diskBusyUntilMs: 0,
    pausedUntilMs: 0,
    clockRate: 1 + clockSpread * (random.next() - 0.5),
    clockOffsetMs: random.between(0, 1_000_000),
  }));
  const network: Network = {
    timeline: createTimeline(),
    random,
    settings: options.settings,
    peers,
    invariants: createInvariants(peers, membership),
    trouble: { ...NO_TROUBLE, ...options.trouble },
    snapshotEveryEntries: options.snapshotEveryEntries ?? 0,
    blocked: new Set(),
    counts: {
      steps: 0,
      messages: 0,
      elections: 0,
      crashes: 0,
      persists: 0,
      snapshots: 0,
      restores: 0,
      changes: 0,
    },
  };
  for (const peer of peers) if (members.includes(peer.id)) startPeer(network, peer);
  return network;
}

export function calm(network: Network): void {
  Object.assign(network.trouble, NO_TROUBLE);
  network.blocked.clear();
}

/** Whether it was ever started, and so may be started again. */
export function hasDisk(peer: SimulatedPeer): boolean {
  return peer.incarnation > 0;
}

/** Starts with an empty disk, knowing of nobody. */
export function startJoiner(network: Network, peer: SimulatedPeer): void {
  crash(network, peer);
  if (hasDisk(peer)) peer.disks += 1;
  peer.disk = EMPTY_DISK;
  peer.initialMembership = { voters: [], learners: [], addresses: new Map(), incarnation: 0 };
  startPeer(network, peer);
}

/** Starts, or starts again from what its disk holds. */
export function startPeer(network: Network, peer: SimulatedPeer): void {
  peer.inbox = [];
  peer.writes = [];
  peer.incarnation += 1;
  peer.state = appliedFrom(peer.disk.snapshot);
  peer.snapshotAskedAt = peer.state.index;
  const nowMs = clockOf(network, peer);
  peer.raft = createRaft({
    self: peer.id,
    membership: peer.initialMembership,
    codec: JSON_CODEC,
    settings: network.settings,
    ...peer.disk,
    nowMs,
    random: network.random.next(),
  });
  network.invariants.onRestart(peer, peer.raft);
  const { incarnation } = peer;
  const tick = (): void => {
    if (peer.incarnation !== incarnation || peer.raft === undefined) return;
    // A stopped process has no ticks waiting when it goes on; messages may well wait for it.
    if (peer.pausedUntilMs <= network.timeline.nowMs()) {
      enqueue(network, peer, (atMs, random) => ({ kind: 'tick', nowMs: atMs, random }));
    }
    network.timeline.after(TICK_MS, tick);
  };
  network.timeline.after(network.random.between(0, TICK_MS), tick);
}

/** Ends the process. Of the writes under way, some reached the disk without an answer, the rest are lost. */
export function crash(network: Network, peer: SimulatedPeer): void {
  if (peer.raft === undefined) return;
  peer.raft = undefined;
  peer.incarnation += 1;
  network.counts.crashes += 1;
  network.invariants.forgetReadsOf(`${peer.id}-`);
  for (const write of peer.writes.slice(0, network.random.between(0, peer.writes.length)))
    peer.disk = written(peer.disk, write);
  peer.writes = [];
}

export function enqueue(network: Network, peer: SimulatedPeer, body: EventBody): void {
  peer.inbox.push(body);
  if (peer.inbox.length === 1) network.timeline.after(network.random.between(0, 2), drainOf(network, peer));
}

function drainOf(network: Network, peer: SimulatedPeer): () => void {
  const { incarnation } = peer;
  const drain = (): void => {
    if (peer.incarnation !== incarnation || peer.raft === undefined) return;
    const pauseMs = peer.pausedUntilMs - network.timeline.nowMs();
    if (pauseMs > 0) network.timeline.after(pauseMs, drain);
    else stepPeer(network, peer, peer.raft);
  };
  return drain;
}

function stepPeer(network: Network, peer: SimulatedPeer, raft: Raft): void {
  const bodies = peer.inbox;
  peer.inbox = [];
  const nowMs = clockOf(network, peer);
  const events = bodies.map((body) => body(nowMs, network.random.next()));
  network.invariants.beforeStep(raft);
  const effects = stepAll(raft, events);
  network.invariants.afterStep(peer, raft, events, effects);
  network.counts.steps += 1;
  for (const effect of effects) {
    if (network.trouble.crashProbability > 0 && network.random.chance(network.trouble.crashProbability)) {
      crash(network, peer);
      return;
    }
    carryOut(network, peer, effect);
  }
}

function carryOut(network: Network, peer: SimulatedPeer, effect: RaftEffect): void {
  switch (effect.kind) {
    case 'persist':
      write(network, peer, effect);
      return;
    case 'send':
      network.invariants.onSend(peer, effect.message, effect.to);
      send(network, peer, effect.to, effect.message);
      return;
    case 'commit':
      network.invariants.onCommit(peer, effect.entries);
      peer.state = applyEntries(peer.state, effect.entries);
      takeSnapshotIfDue(network, peer);
      return;
    case 'restore':
      network.counts.restores += 1;
      network.invariants.onRestore(peer, effect.snapshot);
      peer.state = appliedFrom(effect.snapshot);
      return;
    case 'membership':
      network.counts.changes += effect.membership.voters.length > 0 && peer.raft?.role === 'leader' ? 1 : 0;
      return;
    case 'change-refused':
      return;
    case 'role':
      if (effect.role === 'leader') network.counts.elections += 1;
      return;
    case 'read-ready':
      network.invariants.onReadReady(effect.readId, effect.index);
      return;
    case 'read-refused':
      network.invariants.onReadRefused(effect.readId);
      return;
    case 'proposal-refused':
      network.invariants.onProposalRefused(effect.proposalId);
      return;
  }
}

/** Writes the state down; that may take a while, in which a newer one is installed. */
function takeSnapshotIfDue(network: Network, peer: SimulatedPeer): void {
  const { snapshotEveryEntries, random } = network;
  const { index } = peer.state;
  if (snapshotEveryEntries === 0 || index - peer.snapshotAskedAt < snapshotEveryEntries) return;
  peer.snapshotAskedAt = index;
  const data = writeState(peer.state);
  const { incarnation } = peer;
  network.timeline.after(random.chance(0.1) ? random.between(0, 500) : random.between(0, 20), () => {
    if (peer.incarnation !== incarnation || peer.raft === undefined) return;
    network.counts.snapshots += 1;
    enqueue(network, peer, (nowMs) => ({ kind: 'snapshot-taken', nowMs, index, data }));
  });
}

/** Writes end in order. Some are answered together with the next one (group commit). */
function write(network: Network, peer: SimulatedPeer, effect: PersistEffect): void {
  const { timeline, random } = network;
  network.counts.persists += 1;
  peer.writes.push(effect);
  const { incarnation } = peer;
  const endsAtMs =
    Math.max(timeline.nowMs(), peer.diskBusyUntilMs) + random.between(1, network.trouble.writeMsMax);
  peer.diskBusyUntilMs = endsAtMs;
  const finish = (): void => {
    if (peer.incarnation !== incarnation) return;
    if (peer.diskBusyUntilMs - timeline.nowMs() > 50) {
      timeline.after(peer.diskBusyUntilMs - timeline.nowMs(), finish);
      return;
    }
    while (peer.writes[0] !== undefined && peer.writes[0].ticket <= effect.ticket)
      peer.disk = written(peer.disk, peer.writes.shift() as PersistEffect);
    if (peer.writes.length > 0 && random.chance(0.5)) return;
    enqueue(network, peer, (nowMs) => ({ kind: 'persisted', nowMs, ticket: effect.ticket }));
  };
  timeline.after(endsAtMs - timeline.nowMs(), finish);
}

function send(network: Network, from: SimulatedPeer, to: PeerId, message: RaftMessage): void {
  const { random, trouble } = network;
  network.counts.messages += 1;
  const receiver = network.peers.find((peer) => peer.id === to);
  if (receiver === undefined) throw new Error(`message to ${to}, which does not exist`);
  const isLost = random.chance(trouble.lossProbability);
  const copies = random.chance(trouble.repeatProbability) ? 2 : 1;
  const { incarnation } = receiver;
  const { disks } = from;
  const isForeign = !knows(from, receiver.id, receiver.disks);
  for (let copy = 0; copy < copies; copy += 1) {
    const delayMs = random.chance(trouble.straggleProbability)
      ? random.between(100, 3000)
      : random.between(1, trouble.delayMsMax);
    network.timeline.after(delayMs, () => {
      const isCut = network.blocked.has(`${from.id}>${to}`) || receiver.raft === undefined;
      const arrives = !isLost && !isCut && !isForeign && knows(receiver, from.id, disks);
      if (message.kind === 'snapshot-request') tellSnapshotSent(network, from, to, message, arrives);
      if (!arrives) return;
      // The transport knows the incarnation it speaks to; proposals rely on it, the rest of the core need not.
      if (message.kind === 'propose' && receiver.incarnation !== incarnation) return;
      enqueue(network, receiver, (nowMs, value) => ({
        kind: 'receive',
        nowMs,
        random: value,
        from: from.id,
        message,
      }));
    });
  }
}

/** Whether `peer`, as far as it was told who the members are, takes the holder of that disk for `other`. */
function knows(peer: SimulatedPeer, other: PeerId, disks: number): boolean {
  const address = peer.raft?.membership.addresses.get(other);
  return address === undefined || address === addressOf(other, disks);
}

/** The transport mostly says what became of a snapshot; sometimes its own word is lost. */
function tellSnapshotSent(
  network: Network,
  from: SimulatedPeer,
  to: PeerId,
  message: Extract<RaftMessage, { kind: 'snapshot-request' }>,
  arrived: boolean,
): void {
  if (network.random.chance(network.trouble.lossProbability)) return;
  const { incarnation } = from;
  const { index } = message.snapshot;
  network.timeline.after(network.random.between(0, network.trouble.delayMsMax), () => {
    if (from.incarnation !== incarnation || from.raft === undefined) return;
    enqueue(network, from, (nowMs) => ({ kind: 'snapshot-sent', nowMs, to, index, arrived }));
  });
}

function clockOf(network: Network, peer: SimulatedPeer): number {
  return network.timeline.nowMs() * peer.clockRate + peer.clockOffsetMs;
}
