// One whole life of a cluster: faults and clients from a seed, then peace, in which it must converge.
// Throws with the seed and the command that replays it. Never used outside tests.
import type { PeerId } from '../../base/ids.ts';
import { majority } from '../quorum.ts';
import type { RaftSettings } from '../types.ts';
import { block, changeMembership, CHANGES, MANY_FAULTS, SHORT_REIGNS, strikeOnce } from './faults.ts';
import type { Fault } from './faults.ts';
import { addressOf, calm, crash, createNetwork, enqueue, hasDisk, startPeer } from './network.ts';
import type { Network, SimulatedPeer, Trouble } from './network.ts';
import { seededRandom } from './random.ts';
import type { Random } from './random.ts';

export interface LifeReport {
  readonly steps: number;
  readonly messages: number;
  readonly elections: number;
  readonly crashes: number;
  readonly committed: number;
  readonly faults: number;
  readonly snapshots: number;
  readonly restores: number;
  readonly changes: number;
}

const BASE_SETTINGS: RaftSettings = {
  heartbeatMs: 50,
  electionMs: 200,
  electionSpreadMs: 150,
  maxEntriesPerAppend: 4,
  maxBytesPerAppend: 400,
  maxInflightAppends: 4,
  maxInflightBytes: 1000,
  maxPendingProposals: 32,
  maxProposalBytes: 256,
  keptEntries: 5,
  snapshotTimeoutMs: 1000,
};
const TROUBLED_MS = 4000;
/** Longer than the latest straggler takes. */
const QUIET_MS = 4000;
const ANSWER_MS = 400;

export function live(seed: number): LifeReport {
  try {
    return liveThrough(seed);
  } catch (error) {
    throw new Error(
      `seed ${seed}: ${String(error)}\nreplay: RAFT_SEED=${seed} npx vitest run src/raft/simulation.test.ts`,
      { cause: error },
    );
  }
}

/** How rough a life is: what may befall a message, a disk, a process, and how often something larger happens. */
interface Weather {
  readonly trouble: (random: Random) => Partial<Trouble>;
  readonly faultEveryMs: readonly [number, number];
  readonly faults: readonly Fault[];
  readonly clockSpread: number;
}

const WEATHERS: readonly Weather[] = [
  {
    trouble: (random) => ({
      lossProbability: random.pick([0, 0.01, 0.05, 0.2]),
      repeatProbability: random.pick([0, 0.05, 0.2]),
      straggleProbability: random.pick([0, 0.01, 0.1]),
      delayMsMax: random.pick([2, 10, 60]),
      writeMsMax: random.pick([2, 10, 40]),
      crashProbability: random.pick([0, 0.0005, 0.003]),
    }),
    faultEveryMs: [50, 500],
    faults: MANY_FAULTS,
    clockSpread: 0.1,
  },
  {
    // Leaders live shortly and leave much behind that is not committed.
    trouble: (random) => ({
      lossProbability: random.pick([0, 0.1, 0.3]),
      repeatProbability: 0.1,
      straggleProbability: random.pick([0.01, 0.2]),
      delayMsMax: random.pick([2, 20]),
      writeMsMax: random.pick([2, 20]),
      crashProbability: random.pick([0, 0.002, 0.01]),
    }),
    faultEveryMs: [10, 250],
    faults: MANY_FAULTS,
    clockSpread: 0.6,
  },
  {
    trouble: (random) => ({
      lossProbability: random.pick([0, 0.1]),
      straggleProbability: random.pick([0, 0.1]),
      delayMsMax: random.pick([20, 60]),
      writeMsMax: random.pick([2, 40]),
    }),
    faultEveryMs: [10, 200],
    faults: SHORT_REIGNS,
    clockSpread: 0.3,
  },
];

function liveThrough(seed: number): LifeReport {
  const random = seededRandom(seed);
  const weather = random.pick(WEATHERS);
  const settings = {
    ...BASE_SETTINGS,
    maxEntriesPerAppend: random.pick([1, 4, 16]),
    maxInflightAppends: random.pick([1, 4]),
    keptEntries: random.pick([0, 3, 20]),
  };
  const isChanging = random.chance(0.5);
  const network = createNetwork({
    random,
    voterCount: random.pick([1, 2, 3, 3, 3, 4, 5, 5]),
    learnerCount: random.chance(0.25) ? 1 : 0,
    spareCount: isChanging ? 2 : 0,
    snapshotEveryEntries: random.pick([0, 5, 20, 60]),
    settings,
    trouble: weather.trouble(random),
    clockSpread: weather.clockSpread,
  });
  const faults = isChanging ? [...weather.faults, ...CHANGES] : weather.faults;
  const life: Life = {
    network,
    weather,
    faults,
    isChanging,
    proposalCount: 0,
    faultCount: 0,
    troubled: true,
  };
  scheduleClient(life);
  scheduleFault(life);
  scheduleRestarts(life);
  runFor(network, TROUBLED_MS);
  network.invariants.checkDisks();
  assertConverges(life);
  network.invariants.checkDisks();
  const { persists: _, ...counts } = network.counts;
  return { ...counts, committed: network.invariants.committedCount(), faults: life.faultCount };
}

interface Life {
  readonly network: Network;
  readonly weather: Weather;
  readonly faults: readonly Fault[];
  /** Whether members come and go. */
  readonly isChanging: boolean;
  proposalCount: number;
  faultCount: number;
  troubled: boolean;
}

/** Peace: first a bare majority must get on without the rest, then all together; then there must be silence. */
function assertConverges(life: Life): void {
  const { network } = life;
  life.troubled = false;
  calm(network);
  for (const peer of network.peers) {
    peer.pausedUntilMs = 0;
    peer.diskBusyUntilMs = network.timeline.nowMs();
  }
  // A change may be under way, in which case it is only known afterwards whom a majority is made of.
  if (life.isChanging) {
    startAll(network, network.peers.filter(hasDisk));
    runFor(network, QUIET_MS);
    removeReplaced(network);
  }
  const { voters, learners } = network.invariants.committedMembership();
  const awake = new Set(shuffled(network, voters).slice(0, majority(voters.length)));
  for (const peer of network.peers) if (!awake.has(peer.id)) crash(network, peer);
  startAll(
    network,
    network.peers.filter((peer) => awake.has(peer.id)),
  );
  assertWorks(life);
  startAll(
    network,
    network.peers.filter((peer) => voters.includes(peer.id) || learners.includes(peer.id)),
  );
  assertWorks(life);
  runFor(network, 1000);
  const before = { ...network.counts };
  assertDeafPeerDisturbsNobody(life, voters);
  runFor(network, 1000);
  if (network.counts.persists !== before.persists)
    throw new Error('IdleWritesNothing: a write without a proposal');
  if (network.counts.elections !== before.elections) throw new Error('StableLeader: an election in peace');
}

/** A member whose disk was replaced cannot take part: the operator removes it. */
function removeReplaced(network: Network): void {
  for (const { id, disks } of network.peers) {
    const address = network.invariants.committedMembership().addresses.get(id);
    if (address === undefined || address === addressOf(id, disks)) continue;
    changeMembership(network, { kind: 'remove', peer: id });
    runFor(network, QUIET_MS);
  }
}

function startAll(network: Network, peers: readonly SimulatedPeer[]): void {
  for (const peer of peers) if (peer.raft === undefined) startPeer(network, peer);
}

/** The running peers find a leader, read through it, commit through it, and all stand at the same index. */
function assertWorks(life: Life): void {
  const { network } = life;
  const { invariants } = network;
  const peers = network.peers.filter((peer) => peer.raft !== undefined);
  runFor(network, QUIET_MS);
  const reads = peers.map((peer) => read(life, peer));
  runFor(network, ANSWER_MS);
  for (const id of reads)
    if (invariants.wasRefused(id)) throw new Error(`LivenessAfterHeal: read ${id} was refused`);
  const proposals = peers.map((peer) => propose(life, peer));
  runFor(network, ANSWER_MS);
  for (const id of proposals)
    if (!invariants.isCommitted(id)) throw new Error(`LivenessAfterHeal: ${id} did not commit`);
  const open = invariants.openReads();
  if (open.length > 0) throw new Error(`ReadAnsweredOnce: ${open.join(', ')} never ended`);
  for (const { id, raft } of peers) {
    if (raft?.commitIndex !== invariants.committedCount()) {
      throw new Error(
        `LivenessAfterHeal: ${id} stands at ${raft?.commitIndex} of ${invariants.committedCount()}`,
      );
    }
  }
}

/** One that does not hear the leader, but hears the others, must not unseat it (thesis §4.2.3, §9.6). */
function assertDeafPeerDisturbsNobody({ network }: Life, voters: readonly PeerId[]): void {
  const leader = network.peers.find((peer) => peer.raft?.role === 'leader');
  const deaf = shuffled(network, voters).find((id) => id !== leader?.id);
  if (leader === undefined || deaf === undefined || voters.length < 3) return;
  block(network, leader.id, deaf);
  runFor(network, 1500);
  if (leader.raft?.role !== 'leader')
    throw new Error(`StableLeader: ${deaf}, which could not hear ${leader.id}, unseated it`);
  network.blocked.clear();
  runFor(network, 1500);
}

function shuffled(network: Network, ids: readonly PeerId[]): readonly PeerId[] {
  return ids
    .map((id) => ({ id, place: network.random.next() }))
    .sort((a, b) => a.place - b.place)
    .map(({ id }) => id);
}

function runFor(network: Network, durationMs: number): void {
  const untilMs = network.timeline.nowMs() + durationMs;
  while (network.timeline.advance(untilMs));
}

function scheduleClient(life: Life): void {
  const { network } = life;
  const act = (): void => {
    if (!life.troubled) return;
    const peer = network.random.pick(network.peers);
    if (peer.raft !== undefined) {
      if (network.random.chance(0.6)) {
        const burst = network.random.chance(0.05) ? 40 : network.random.between(1, 3);
        for (let count = 0; count < burst; count += 1) propose(life, peer);
      } else {
        read(life, peer);
      }
    }
    network.timeline.after(network.random.between(2, 40), act);
  };
  network.timeline.after(100, act);
}

function propose(life: Life, peer: SimulatedPeer): string {
  life.proposalCount += 1;
  const proposalId = `${peer.id}-${peer.incarnation}-${life.proposalCount}`;
  const data = new TextEncoder().encode(proposalId);
  enqueue(life.network, peer, (nowMs) => ({ kind: 'propose', nowMs, proposalId, data }));
  return proposalId;
}

function read(life: Life, peer: SimulatedPeer): string {
  life.proposalCount += 1;
  const readId = `${peer.id}-${peer.incarnation}-r${life.proposalCount}`;
  life.network.invariants.onReadAsked(readId);
  enqueue(life.network, peer, (nowMs) => ({ kind: 'read', nowMs, readId }));
  return readId;
}

function scheduleRestarts(life: Life): void {
  const { network } = life;
  const look = (): void => {
    if (!life.troubled) return;
    for (const peer of network.peers) {
      if (peer.raft === undefined && hasDisk(peer) && network.random.chance(0.3)) startPeer(network, peer);
    }
    network.timeline.after(60, look);
  };
  network.timeline.after(60, look);
}

function scheduleFault(life: Life): void {
  const { network } = life;
  const strike = (): void => {
    if (!life.troubled) return;
    life.faultCount += 1;
    strikeOnce(
      {
        network,
        isTroubled: () => life.troubled,
        propose: (peer) => propose(life, peer),
        read: (peer) => read(life, peer),
      },
      life.faults,
    );
    network.timeline.after(network.random.between(...life.weather.faultEveryMs), strike);
  };
  network.timeline.after(network.random.between(50, 800), strike);
}
