// A whole life of one group under faults, from a seed: the real apply, duties and decide over a model of PostgreSQL and of the
// agents, with everything interrupted, delayed, repeated and lost at random. Checks after every step that the promise holds.
// Never used outside tests.
import { type LogIndex, type NodeId, type PeerId, makeMemberId, nodeId, peerId } from '../../base/ids.ts';
import { applyMembership } from '../../cluster/apply-membership.ts';
import { apply, emptyState } from '../../cluster/apply.ts';
import type { Command, Envelope } from '../../cluster/commands.ts';
import type { ClusterState, GroupState } from '../../cluster/state.ts';
import { type Memory, decide } from '../decide.ts';
import { DEFAULT_FAILOVER_SETTINGS, type View } from '../view.ts';
import { type Surroundings, restartAgent, stepAgent } from './agent-model.ts';
import {
  type NodeModel,
  canStream,
  connect,
  isPrimary,
  newNode,
  release,
  stop,
  stream,
  takeOut,
} from './postgres-model.ts';
import {
  GROUP,
  type Tally,
  count,
  describeNode,
  emptyTally,
  found,
  mischief,
  reportOf,
  textOf,
  votersOf,
  wholePrimary,
} from './life-parts.ts';
import { guard } from './lease-model.ts';
import { asked } from './life-people.ts';
import { isPassingOver, unplaced } from './life-places.ts';
import { settled } from './life-settings.ts';
import { BrokenPromise, type LifeOptions } from './life-options.ts';
import { createPromise } from './life-promise.ts';
import { createProposals } from './life-proposals.ts';
import { seededRandom } from './random.ts';
import { timelineOf } from './wal.ts';

const SETTLE_MS_MAX = 60_000;

export function live(options: LifeOptions): Tally {
  const life = begin(options);
  for (let count = 0; count < options.steps; count += 1) life.step();
  if (options.heals) life.settle();
  return life.tally;
}

function begin(options: LifeOptions) {
  const random = seededRandom(options.seed);
  const faults = options.faults ?? {};
  const applyEntry = options.apply ?? apply;
  const nodeCount = random.pick([3, 3, 4]);
  const names = ['a', 'b', 'c', 'd'].slice(0, nodeCount).map(nodeId);
  const peers: PeerId[] = names.map((name) => peerId(name));
  const nodes = names.map((name) =>
    newNode(name, peerId(name), makeMemberId(name, '00000000'), [{ timeline: 1, value: 0 }]),
  );
  const broken = new Set<string>();
  const { inFlight, late, propose, envelopeOf } = createProposals();
  const states: ClusterState[] = [emptyState(votersOf(peers, 1))];
  const tally = emptyTally();
  let nowMs = 1000;
  let now = 0;
  let value = 0;
  let suffix = 0;
  let memory: Memory = new Map();

  const truth = (): ClusterState => states.at(-1) as ClusterState;
  const group = (): GroupState => truth().groups.get(GROUP) as GroupState;
  const fail = (text: string): never => {
    throw new BrokenPromise(`seed ${options.seed}, event ${now}: ${text}`);
  };
  const trace = (line: () => string): void => options.onTrace?.(`${now} ${line()}`);
  const promise = createPromise({ nodes, tally, group: () => group(), fail, trace });
  const linkOf = (a: NodeModel, b: NodeModel): string => [a.name, b.name].sort().join('-');
  const isLinked = (a: NodeModel, b: NodeModel): boolean => !broken.has(linkOf(a, b));

  const proposeAny = (from: string, command: Command | undefined): void => {
    if (command !== undefined) propose(from, command);
  };

  const commit = (envelope: Envelope): void => {
    const [state, before] = [truth(), group()];
    const result = applyEntry(state, states.length as LogIndex, envelope);
    states.push(result.state);
    trace(
      () =>
        `commit ${states.length - 1} ${textOf(envelope.command)}${result.refused === undefined ? '' : ` REFUSED ${result.refused}`}`,
    );
    if (result.refused !== undefined) tally.refused += 1;
    else count(tally, envelope.command, before);
    if (result.refused === undefined && isPassingOver(state, before, envelope.command)) tally.passedOver += 1;
    if (before !== undefined) promise.onCommitted(before, group(), states.length - 1);
  };

  const surroundings = (node: NodeModel): Surroundings => ({
    nowMs,
    now,
    faults,
    nodes,
    truth: truth(),
    truthIndex: states.length - 1,
    state: node.agent.log[node.agent.applied] as ClusterState,
    mayRejoin: node.agent.log === states,
    propose: (command) => propose(node, command),
    newMemberSuffix: () => {
      suffix += 1;
      tally.clones += 1;
      return suffix.toString(16).padStart(8, '0');
    },
    newValue: () => (value += 1),
    isLinked,
    chance: (probability) => !isCalm && random.chance(probability),
    onOpened: promise.onOpened,
  });
  let isCalm = false;
  /** Index of what no recovery may lose: the group's creation, or the recovery before. */
  let foundAt = 0;

  const runAgent = (node: NodeModel): void => {
    if (!node.agent.isAlive) return;
    const before = options.onTrace === undefined ? '' : describeNode(node);
    stepAgent(node, surroundings(node));
    if (options.onTrace !== undefined && describeNode(node) !== before)
      trace(() => `agent at ${node.agent.applied}: ${describeNode(node)}`);
  };

  const learn = (node: NodeModel, count: number): void => {
    if (node.agent.isAlive && node.agent.isConnected)
      node.agent.applied = Math.min(states.length - 1, node.agent.applied + count);
  };

  const view = (): View => {
    const reachable = nodes.filter((node) => node.agent.isAlive && node.agent.isConnected);
    return {
      nowMs,
      wallMs: nowMs,
      // Slots are no part of the model (kept-slots.test.ts): who is absent would only be proposed in between.
      settings: { ...DEFAULT_FAILOVER_SETTINGS, absentAfterMs: Infinity },
      reports: new Map(
        reachable.map((node) => [node.name, { report: reportOf(node, now), receivedAtMs: nowMs }]),
      ),
    };
  };

  const lead = (): void => {
    const decision = decide(options.leaderSees?.(truth()) ?? truth(), view(), memory);
    memory = decision.memory;
    for (const command of decision.commands) propose('leader', command);
  };

  const observe = (peer: PeerId, isDown: boolean): void => {
    const { epoch, phase } = group();
    const node = phase.primary;
    propose(
      `observer ${peer}`,
      isDown
        ? { kind: 'subjective-down', peer, node, epoch, evidence: 'refused' }
        : { kind: 'subjective-up', peer, node, epoch },
    );
  };

  const write = (node: NodeModel): void => {
    if (!isPrimary(node)) return;
    value += 1;
    node.wal.push({ timeline: timelineOf(node.wal), value });
    node.replayed = node.wal.length;
    node.waiting.push({ position: node.wal.length, value });
    if (node.checkpointerNames.kind === 'alone') promise.acknowledge(node, takeOut(node, node.wal.length));
  };

  const upstreamOf = (node: NodeModel): NodeModel | undefined =>
    nodes.find((other) => other.name === node.upstream && canStream(node, other) && isLinked(node, other));

  const receive = (node: NodeModel, count: number): void => {
    const upstream = upstreamOf(node);
    if (upstream === undefined) return;
    if (!node.isFetching) connect(node, upstream, now);
    stream(node, upstream, count);
  };

  const answer = (node: NodeModel): void => {
    const upstream = upstreamOf(node);
    if (upstream === undefined || node.isFetching) return;
    connect(node, upstream, now).flush = node.wal.length;
    if (isPrimary(upstream))
      promise.acknowledge(upstream, release(upstream, node.member as NonNullable<typeof node.member>));
  };

  const reloadCheckpointer = (node: NodeModel): void => {
    node.checkpointerNames = node.fileNames;
    if (isPrimary(node) && node.checkpointerNames.kind === 'alone')
      promise.acknowledge(node, takeOut(node, node.wal.length));
  };

  const anyNode = (): NodeModel => random.pick(nodes);
  /** What happens, with its weight. */
  const events: readonly (readonly [number, () => void])[] = [
    [60, () => runAgent(anyNode())],
    [30, () => learn(anyNode(), random.pick([1, 3, 50]))],
    [
      30,
      () => {
        const [taken] = inFlight.splice(random.between(0, Math.max(0, inFlight.length - 1)), 1);
        if (taken === undefined) return;
        if (random.chance(0.05)) late.push(taken);
        else commit(taken.envelope);
        if (random.chance(0.05)) inFlight.push(taken);
      },
    ],
    [
      0.3,
      () => {
        const taken = late.shift();
        if (taken !== undefined) commit(taken.envelope);
      },
    ],
    [0.5, () => void inFlight.pop()],
    [15, lead],
    [1, () => (memory = new Map())],
    [1, () => proposeAny('leader', mischief(random, group(), truth(), nodes))],
    [0.5, () => observe(random.pick(peers), true)],
    [0.7, () => peers.forEach((peer) => observe(peer, true))],
    [
      3,
      () =>
        peers.forEach((peer) =>
          observe(peer, !isPrimary(nodes.find((node) => node.name === group().phase.primary) as NodeModel)),
        ),
    ],
    [12, () => write(anyNode())],
    [25, () => receive(anyNode(), random.between(0, 4))],
    [25, () => answer(anyNode())],
    [
      4,
      () => {
        const node = anyNode();
        node.replayed = Math.min(node.wal.length, node.replayed + random.between(1, 5));
      },
    ],
    [5, () => reloadCheckpointer(anyNode())],
    [
      8,
      () => {
        const node = anyNode();
        for (const sender of node.senders.values()) if (random.chance(0.5)) sender.names = node.fileNames;
      },
    ],
    [0.5, () => anyNode().senders.clear()],
    [0.5, () => stop(anyNode())],
    [0.3, () => (anyNode().agent.isAlive = false)],
    [
      2,
      () => {
        const node = anyNode();
        if (node.agent.isAlive && random.chance(0.85)) return;
        tally.agentRestarts += 1;
        restartAgent(node, faults);
      },
    ],
    [0.3, () => (anyNode().agent.isConnected = false)],
    [2, () => connectAgent(anyNode())],
    [0.3, () => broken.add(linkOf(anyNode(), anyNode()))],
    [1.5, () => broken.clear()],
    ...(options.recovers === true ? [[0.4, () => recover()] as const] : []),
    ...asked({ ...{ options, random, nodes, tally, view, group }, state: truth, propose: proposeAny }),
  ];
  const totalWeight = events.reduce((sum, [weight]) => sum + weight, 0);

  const step = (): void => {
    now += 1;
    nowMs += random.pick([5, 20, 100, 400]);
    for (const node of nodes) guard(node, nowMs);
    let at = random.between(0, Math.floor(totalWeight * 100)) / 100;
    const [, event] = events.find(([weight]) => (at -= weight) <= 0) ?? [0, lead];
    event();
    promise.checkAcknowledgers();
  };

  /** An agent of an earlier incarnation stops its PostgreSQL on first contact, and joins anew with an empty log. */
  const connectAgent = (node: NodeModel): void => {
    const { agent } = node;
    if (agent.log !== states) {
      stop(node);
      agent.log = states;
      restartAgent(node, faults);
    }
    agent.isConnected = true;
  };

  /** The quorum is lost, and with it the end of the log; one peer goes on alone, the others join it, some of them late. */
  const recover = (): void => {
    if (nodes.some((node) => !node.isFit)) return;
    const lost = random.between(0, Math.min(60, states.length - 1 - foundAt));
    const before = [...states];
    states.length -= lost;
    inFlight.length = 0;
    late.length = 0;
    memory = new Map();
    promise.onRecovered();
    const membership = votersOf(peers, truth().membership.incarnation + 1);
    states.push(applyMembership(truth(), states.length as LogIndex, membership));
    // One that lacks this entry could only make a second cluster of the same incarnation: a mistake nobody can undo.
    foundAt = states.length - 1;
    tally.recoveries += 1;
    trace(() => `the log is recovered at ${states.length - 1}, ${lost} entries are lost`);
    const survivor = anyNode();
    for (const node of nodes) {
      if (node.agent.log !== states) continue;
      if (node === survivor) {
        node.agent.applied = Math.min(node.agent.applied, states.length - 2);
        if (node.agent.catchUpTo !== 'done') node.agent.catchUpTo = 'unread';
        continue;
      }
      node.agent.log = before;
      node.agent.isConnected = false;
      if (random.chance(0.5)) connectAgent(node);
    }
  };

  /** Everything is repaired; observers tell the truth, half a second late. The group has to come back by itself. */
  const settle = (): void => {
    isCalm = true;
    broken.clear();
    inFlight.length = 0;
    late.length = 0;
    for (const node of nodes) {
      if (!node.agent.isAlive) restartAgent(node, faults);
      connectAgent(node);
    }
    if (options.isSteered === true)
      for (const command of settled(random, group())) commit(envelopeOf(command));
    for (const command of unplaced(truth())) commit(envelopeOf(command));
    for (const { node } of truth().removed.values())
      commit(envelopeOf({ kind: 'readmit-node', group: GROUP, node }));
    const okSinceMs = new Map<NodeId, number>();
    const startMs = nowMs;
    for (; nowMs - startMs < SETTLE_MS_MAX; nowMs += 50) {
      now += 1;
      for (const node of nodes) {
        guard(node, nowMs);
        learn(node, Infinity);
        runAgent(node);
        receive(node, 1000);
        answer(node);
        reloadCheckpointer(node);
        for (const sender of node.senders.values()) sender.names = node.fileNames;
      }
      for (const node of nodes)
        for (const member of node.senders.keys())
          if (!nodes.some((other) => other.member === member && upstreamOf(other) === node))
            node.senders.delete(member);
      lead();
      const primary = nodes.find((node) => node.name === group().phase.primary) as NodeModel;
      const isWell = isPrimary(primary);
      if (isWell) okSinceMs.set(primary.name, okSinceMs.get(primary.name) ?? nowMs);
      else okSinceMs.delete(primary.name);
      for (const peer of peers) {
        const standing = truth()
          .nodes.get(primary.name)
          ?.subjectiveDown.find((entry) => entry.peer === peer);
        const seenUp = nowMs - (okSinceMs.get(primary.name) ?? Infinity) >= 500;
        if (seenUp && standing !== undefined) observe(peer, false);
        else if (!seenUp && standing !== undefined && standing.epoch !== group().epoch) observe(peer, true);
        else if (!isWell && nowMs - startMs > 5000 && standing === undefined) observe(peer, true);
        for (const taken of inFlight.splice(0)) commit(taken.envelope);
      }
      write(primary);
      promise.checkAcknowledgers();
      if (nowMs - startMs > 2000 && isWhole()) return;
    }
    fail(`not whole again after ${SETTLE_MS_MAX} ms: ${describe()}`);
  };

  const isWhole = (): boolean => {
    const primary = wholePrimary(group(), nodes);
    if (primary !== undefined) promise.checkHolds(primary, 'goes on');
    return primary !== undefined && primary.waiting.length <= 1;
  };

  const describe = (): string => {
    const { events: _events, ...rest } = truth();
    return `${textOf(rest)}; ${nodes.map(describeNode).join('; ')}`;
  };

  const isEven = options.isSteered === true;
  found({ names, nodes, commit: (command) => commit(envelopeOf(command)), states, isEven });
  foundAt = states.length - 1;
  return { random, nodes, states, tally, step, settle };
}
