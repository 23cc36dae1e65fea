// A cluster of real cores on a simulated network, with simulated disks and clocks, all driven by one seed.
// The network loses, repeats, delays and reorders; disks lose what they had not confirmed; processes die between effects.
// Never used outside tests.
import { peerId, term } from '../../base/ids.ts';
import type { PeerId } from '../../base/ids.ts';
import { createRaft, stepAll } from '../raft.ts';
import type { Raft } from '../state.ts';
import type { Membership, RaftEffect, RaftEvent, RaftMessage, RaftSettings } from '../types.ts';
import { createInvariants } from './invariants.ts';
import type { Disk, Invariants } from './invariants.ts';
import type { Random } from './random.ts';
import { createTimeline } from './timeline.ts';
import type { Timeline } from './timeline.ts';

export type PersistEffect = Extract<RaftEffect, { kind: 'persist' }>;
type EventBody = (nowMs: number, random: number) => RaftEvent;

export interface SimulatedPeer {
  readonly id: PeerId;
  readonly disk: Disk;
  raft: Raft | undefined;
  incarnation: number;
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
  readonly peers: readonly SimulatedPeer[];
  readonly invariants: Invariants;
  readonly trouble: Trouble;
  /** `from>to` pairs that pass nothing. */
  readonly blocked: Set<string>;
  readonly counts: { steps: number; messages: number; elections: number; crashes: number; persists: number };
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

export function createNetwork(options: {
  readonly random: Random;
  readonly voterCount: number;
  readonly learnerCount?: number;
  /** Clocks run at rates that differ by up to this part. */
  readonly clockSpread?: number;
  readonly settings: RaftSettings;
  readonly trouble?: Partial<Trouble>;
}): Network {
  const { random, voterCount } = options;
  const clockSpread = options.clockSpread ?? 0.1;
  const ids = Array.from({ length: voterCount + (options.learnerCount ?? 0) }, (_, position) =>
    peerId(`p${position + 1}`),
  );
  const membership: Membership = { voters: ids.slice(0, voterCount), learners: ids.slice(voterCount) };
  const peers = ids.map((id): SimulatedPeer => ({
    id,
    disk: { hardState: { term: term(0), votedFor: undefined }, entries: [] },
    raft: undefined,
    incarnation: 0,
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
    peers,
    invariants: createInvariants(peers.slice(0, voterCount)),
    trouble: { ...NO_TROUBLE, ...options.trouble },
    blocked: new Set(),
    counts: { steps: 0, messages: 0, elections: 0, crashes: 0, persists: 0 },
  };
  for (const peer of peers) startPeer(network, peer, membership, options.settings);
  return network;
}

export function calm(network: Network): void {
  Object.assign(network.trouble, NO_TROUBLE);
  network.blocked.clear();
}

/** Starts, or starts again from what its disk holds. */
export function startPeer(
  network: Network,
  peer: SimulatedPeer,
  membership: Membership,
  settings: RaftSettings,
): void {
  peer.inbox = [];
  peer.writes = [];
  peer.incarnation += 1;
  network.invariants.onRestart(peer.id);
  const { hardState, entries } = peer.disk;
  const nowMs = clockOf(network, peer);
  peer.raft = createRaft({
    self: peer.id,
    membership,
    settings,
    hardState,
    entries,
    nowMs,
    random: network.random.next(),
  });
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
    apply(peer.disk, write);
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
      send(network, peer.id, effect.to, effect.message);
      return;
    case 'commit':
      network.invariants.onCommit(peer, effect.entries);
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
      apply(peer.disk, peer.writes.shift() as PersistEffect);
    if (peer.writes.length > 0 && random.chance(0.5)) return;
    enqueue(network, peer, (nowMs) => ({ kind: 'persisted', nowMs, ticket: effect.ticket }));
  };
  timeline.after(endsAtMs - timeline.nowMs(), finish);
}

function apply(disk: Disk, effect: PersistEffect): void {
  const first = effect.entries[0];
  if (first !== undefined) {
    if (first.index > disk.entries.length + 1)
      throw new Error(`hole: entry ${first.index} after ${disk.entries.length}`);
    disk.entries = [...disk.entries.slice(0, first.index - 1), ...effect.entries];
  }
  disk.hardState = effect.hardState;
}

function send(network: Network, from: PeerId, to: PeerId, message: RaftMessage): void {
  const { random, trouble } = network;
  network.counts.messages += 1;
  if (random.chance(trouble.lossProbability)) return;
  const copies = random.chance(trouble.repeatProbability) ? 2 : 1;
  const receiver = network.peers.find((peer) => peer.id === to);
  if (receiver === undefined) throw new Error(`message to ${to}, which does not exist`);
  const { incarnation } = receiver;
  for (let copy = 0; copy < copies; copy += 1) {
    const delayMs = random.chance(trouble.straggleProbability)
      ? random.between(100, 3000)
      : random.between(1, trouble.delayMsMax);
    network.timeline.after(delayMs, () => {
      if (network.blocked.has(`${from}>${to}`) || receiver.raft === undefined) return;
      // The transport knows the incarnation it speaks to; proposals rely on it, the rest of the core need not.
      if (message.kind === 'propose' && receiver.incarnation !== incarnation) return;
      enqueue(network, receiver, (nowMs, value) => ({
        kind: 'receive',
        nowMs,
        random: value,
        from,
        message,
      }));
    });
  }
}

function clockOf(network: Network, peer: SimulatedPeer): number {
  return network.timeline.nowMs() * peer.clockRate + peer.clockOffsetMs;
}
