// The promises of failover, checked against what PostgreSQL does and what the log says: who may open, who may acknowledge, what a
// new primary must hold, and that each proposal counts once. After src/failover/testing/life.ts.
// Must never ask the code under test whether it did right.
import type { NodeId } from '../../../src/base/ids.ts';
import type { CommandOf } from '../../../src/cluster/applied.ts';
import type { ClusterState, GroupState } from '../../../src/cluster/state.ts';
import { majority } from '../../../src/cluster/quorum.ts';
import type { Duty } from '../../../src/failover/duties.ts';
import type { Applied } from '../cluster/bridge.ts';
import { tell } from '../describe.ts';
import { requestName } from './request-names.ts';
import { noteRequest } from '../tally.ts';
import { violated } from '../engine/violation.ts';
import { type Fence, GROUP, type Postgres, canAcknowledge, isPrimary } from '../postgres/postgres.ts';
import type { World } from '../world.ts';
import { timelineOf, type WalRecord } from '../../../src/failover/testing/wal.ts';

export interface GroupChecks {
  readonly nodes: Postgres[];
  /** Acknowledged writes, and where in the WAL each lies. */
  readonly acknowledged: WalRecord[];
  readonly positions: number[];
  highestOpened: number;
  highestPromoted: number;
  /** Incarnation and epoch -> who is the primary there, by the log and by having opened. */
  readonly primaries: Map<string, NodeId>;
  readonly openers: Map<string, NodeId>;
  /** Highest token that each node has acted on. */
  readonly acted: Map<NodeId, Fence>;
  /** The newest token that was committed, and what it was when the agent of each node was started. */
  newest: Fence;
  readonly atStart: Map<NodeId, Fence>;
  readonly effective: Set<string>;
  /** What failovers on a person's word have given up. */
  readonly givenUp: GivenUp[];
}

/** A failover on a person's word: what its candidate did not hold may be lost, as far as it was written before. */
interface GivenUp {
  /** Of the promotion. */
  readonly timeline: number;
  /** What the candidate held. */
  readonly kept: readonly WalRecord[];
  /** Later writes have higher values. */
  readonly valueMax: number;
}

export function createGroupChecks(nodes: Postgres[]): GroupChecks {
  return {
    nodes,
    acknowledged: [],
    positions: [],
    highestOpened: 1,
    highestPromoted: 1,
    primaries: new Map(),
    openers: new Map(),
    acted: new Map(),
    newest: { incarnation: 0, epoch: 0 },
    atStart: new Map(),
    effective: new Set(),
    givenUp: [],
  };
}

const isLower = (a: Fence, b: Fence): boolean =>
  a.incarnation < b.incarnation || (a.incarnation === b.incarnation && a.epoch < b.epoch);

const textOf = ({ incarnation, epoch }: Fence): string => `${incarnation}/${epoch}`;

type Act = Exclude<Duty, { readonly kind: 'none' }>;

/** Each entry, when the first peer applies it. */
export function onFirstApplied(world: World, before: ClusterState, applied: Applied): void {
  const { entry, state, envelope, result } = applied;
  if (before.appliedIndex + 1 !== entry.index)
    violated('StateMachineSafety', `entry ${entry.index} is applied to the state of ${before.appliedIndex}`);
  world.tally.committedEntries += 1;
  if (entry.kind === 'config') onMembership(world, before, state);
  if (envelope !== undefined && result?.event !== undefined) {
    if (envelope.session !== '' && envelope.command.kind !== 'open-session') {
      const { effective } = world.groupChecks;
      const id = `${state.membership.incarnation} ${envelope.session}-${envelope.sequence}`;
      if (effective.has(id)) violated('ExactlyOncePerSession', `${id} took effect again at ${entry.index}`);
      effective.add(id);
    }
    if (result.refused === undefined) onEffective(world, before, state, applied);
  }
  const group = state.groups.get(GROUP);
  const earlier = before.groups.get(GROUP);
  if (group !== undefined && group !== earlier) checkGroup(world, state, earlier, before, group, entry.index);
}

function onMembership(world: World, before: ClusterState, state: ClusterState): void {
  world.tally.membershipChanges += 1;
  if (state.membership.incarnation > before.membership.incarnation && before.membership.incarnation > 0)
    world.tally.recoveries += 1;
}

function onEffective(
  world: World,
  before: ClusterState,
  state: ClusterState,
  { envelope, entry }: Applied,
): void {
  const command = envelope?.command;
  const { tally } = world;
  const request = command && requestName(command);
  if (request !== undefined) {
    noteRequest(tally, request);
    tell(world, () => `asked for and taken at ${entry.index}: ${request}`);
  }
  switch (command?.kind) {
    case 'register-node':
      if (command.group !== GROUP) world.history.places.set(command.priority, entry.index);
      return;
    case 'begin-failover':
      if (command.group !== GROUP) return;
      tell(world, () => `failover begins at ${entry.index}: ${command.cause.kind}`);
      if (command.cause.kind === 'planned') tally.switchovers += 1;
      else tally.failovers += 1;
      if (command.cause.kind === 'down') checkQuorum(before);
      return;
    case 'promote':
      tally.promotions += 1;
      if (isForced(before)) giveUp(world, command);
      tell(
        world,
        () => `promotion of ${command.candidate} to timeline ${command.timeline} at ${entry.index}`,
      );
      return;
    case 'promotion-failed':
      tally.promotionsFailed += 1;
      return;
    case 'resume':
      tally.resumed += 1;
      return;
    case 'commit-rule':
      tally.ruleChanges += 1;
      tell(world, () => `rule ${state.groups.get(GROUP)?.rule.members.join(' ')} at ${entry.index}`);
      return;
    case 'set-feature-level':
      tally.featureRaises += 1;
      return;
    default:
  }
}

const isForced = ({ groups }: ClusterState): boolean => {
  const phase = groups.get(GROUP)?.phase;
  return phase?.kind === 'fencing' && phase.cause.kind === 'forced';
};

/**
 * A person has accepted that what nobody is sure to hold is lost: all that the candidate does not hold. Nothing else is given up, neither what
 * it holds nor what anybody acknowledges that is written from here on.
 */
function giveUp(world: World, { candidate, timeline }: CommandOf<'promote'>): void {
  const checks = world.groupChecks;
  const kept = checks.nodes.find(({ name }) => name === candidate)?.wal.slice() ?? [];
  const given: GivenUp = { timeline, kept, valueMax: world.counter };
  checks.givenUp.push(given);
  const before = checks.acknowledged.length;
  let count = 0;
  for (let at = 0; at < before; at += 1) {
    const [record, position] = [checks.acknowledged[at] as WalRecord, checks.positions[at] as number];
    if (isGivenUpBy(given, record, position)) continue;
    checks.acknowledged[count] = record;
    checks.positions[count] = position;
    count += 1;
  }
  checks.acknowledged.length = count;
  checks.positions.length = count;
  world.tally.writesGivenUp += before - count;
  tell(world, () => `${before - count} acknowledged writes are given up on a person's word`);
}

const isGivenUpBy = ({ timeline, kept, valueMax }: GivenUp, record: WalRecord, position: number): boolean =>
  record.timeline < timeline && record.value <= valueMax && kept[position - 1] !== record;

/** A majority of the voters must hold the primary for down at this epoch. */
function checkQuorum(before: ClusterState): void {
  const group = before.groups.get(GROUP);
  if (group === undefined) return;
  const entries = before.nodes.get(group.phase.primary)?.subjectiveDown ?? [];
  const { voters } = before.membership;
  const count = voters.filter((voter) =>
    entries.some((entry) => entry.peer === voter && entry.epoch === group.epoch),
  ).length;
  if (count < majority(voters.length))
    violated(
      'NoPromotionWithoutCommittedFailover',
      `a failover began on the word of ${count} of ${voters.length} voters`,
    );
}

function checkGroup(
  world: World,
  state: ClusterState,
  earlier: GroupState | undefined,
  before: ClusterState,
  group: GroupState,
  index: number,
): void {
  const checks = world.groupChecks;
  const token: Fence = { incarnation: state.membership.incarnation, epoch: group.epoch };
  if (isLower(checks.newest, token)) checks.newest = token;
  if (earlier !== undefined) {
    const former: Fence = { incarnation: before.membership.incarnation, epoch: earlier.epoch };
    if (isLower(token, former))
      violated('FenceTokenMonotonic', `the log went from ${textOf(former)} to ${textOf(token)}`);
    if (group.epoch !== earlier.epoch && group.epoch !== index)
      violated('FenceTokenMonotonic', `epoch ${group.epoch} began at ${index}`);
  }
  const { phase } = group;
  if (phase.kind === 'fencing') return;
  if (phase.kind === 'promoting' && earlier?.phase.kind !== 'promoting') {
    if (earlier?.phase.kind !== 'fencing')
      violated(
        'NoPromotionWithoutCommittedFailover',
        `${phase.primary} is promoted without a failover at ${index}`,
      );
    if (phase.timeline <= checks.highestPromoted)
      violated('AtMostOnePrimaryPerEpoch', `timeline ${phase.timeline} is given out again`);
    checks.highestPromoted = phase.timeline;
  }
  const key = textOf(token);
  const known = checks.primaries.get(key);
  if (known !== undefined && known !== phase.primary)
    violated('AtMostOnePrimaryPerEpoch', `${known} and ${phase.primary} are primaries of epoch ${key}`);
  checks.primaries.set(key, phase.primary);
}

/** The agent of a node was started: it reads the log before it acts, so that it knows at least what is committed now. */
export function agentStarted(world: World, node: Postgres): void {
  const { atStart, newest } = world.groupChecks;
  atStart.set(node.name, newest);
}

/** A fence file only ever rises. */
export function checkFence(node: Postgres, raised: Fence): void {
  if (isLower(raised, node.fence))
    violated(
      'FenceTokenMonotonic',
      `the fence of ${node.name} falls from ${textOf(node.fence)} to ${textOf(raised)}`,
    );
}

/** An agent carries out a step of this duty. */
export function checkActed(world: World, node: Postgres, duty: Act): void {
  const { acted } = world.groupChecks;
  const known = acted.get(node.name);
  if (known !== undefined && known.epoch === duty.epoch && known.incarnation === duty.incarnation) return;
  const token: Fence = { incarnation: duty.incarnation, epoch: duty.epoch };
  if (known !== undefined && isLower(token, known))
    violated(
      'FenceTokenMonotonic',
      `${node.name} obeys ${duty.kind} of ${textOf(token)} after ${textOf(known)}`,
    );
  acted.set(node.name, token);
}

/** A node has opened for writes, by this duty. */
export function opened(world: World, node: Postgres, duty: Act): void {
  const checks = world.groupChecks;
  const key = textOf(duty);
  tell(
    world,
    () => `${node.name} opens timeline ${timelineOf(node.wal)} at ${node.wal.length}, epoch ${key}`,
  );
  const atStart = checks.atStart.get(node.name);
  if (atStart !== undefined && isLower(duty, atStart))
    violated(
      'NoPromotionWithoutCommittedFailover',
      `${node.name} opens at epoch ${key}; its agent was started when ${textOf(atStart)} was committed`,
    );
  const primary = checks.primaries.get(key);
  if (primary !== node.name)
    violated(
      'NoPromotionWithoutCommittedFailover',
      `${node.name} opens at epoch ${key}, whose primary is ${primary ?? 'nobody'}`,
    );
  const other = checks.openers.get(key);
  if (other !== undefined && other !== node.name)
    violated('AtMostOnePrimaryPerEpoch', `${other} and ${node.name} opened at epoch ${key}`);
  checks.openers.set(key, node.name);
  // A stale promotion opens a timeline that was passed by already: useless, and unable to acknowledge, which is checked there.
  const own = timelineOf(node.wal);
  if (own >= checks.highestOpened) {
    checks.highestOpened = own;
    checkHolds(world, node, 'opens');
  }
}

/** Every acknowledged write lies in the node's WAL, at its place. */
export function checkHolds(world: World, node: Postgres, what: string): void {
  const { acknowledged: records, positions } = world.groupChecks;
  for (let at = records.length - 1; at >= 0; at -= 1) {
    const record = records[at] as WalRecord;
    if (node.wal[(positions[at] as number) - 1] === record) continue;
    violated(
      'NoAcknowledgedWriteLost',
      `${node.name} ${what} without write ${record.value}, acknowledged on timeline ${record.timeline}`,
    );
  }
}

/** Commits up to these positions go on: their clients are told. */
export function acknowledged(world: World, node: Postgres, positions: readonly number[]): void {
  if (positions.length === 0) return;
  const checks = world.groupChecks;
  const own = timelineOf(node.wal);
  const isGivenUp = (position: number): boolean =>
    checks.givenUp.some((given) => isGivenUpBy(given, node.wal[position - 1] as WalRecord, position));
  // What enough members had flushed before they were cut may be told late, by a primary that stood still meanwhile: then the new one holds it.
  if (
    own < checks.highestOpened &&
    !positions.every((position) => isHeldByLatest(checks, node, position) || isGivenUp(position))
  )
    violated(
      'AtMostOneAcknowledger',
      `${node.name} acknowledges on timeline ${own} after ${checks.highestOpened} was opened`,
    );
  for (const position of positions) {
    // It was flushed before its members were cut, and is told late.
    if (isGivenUp(position)) continue;
    checks.acknowledged.push(node.wal[position - 1] as WalRecord);
    checks.positions.push(position);
  }
  world.tally.acknowledgedWrites += positions.length;
}

function isHeldByLatest({ nodes, highestOpened }: GroupChecks, node: Postgres, position: number): boolean {
  const record = node.wal[position - 1];
  return nodes.some(({ wal }) => timelineOf(wal) >= highestOpened && wal[position - 1] === record);
}

/** No two nodes can acknowledge, whatever the network does from here on. */
export function checkAcknowledgers(world: World): void {
  const { nodes } = world.groupChecks;
  let primaries = 0;
  for (const node of nodes) if (isPrimary(node)) primaries += 1;
  if (primaries < 2) return;
  const able = nodes.filter((node) => canAcknowledge(node, nodes));
  if (able.length > 1)
    violated('AtMostOneAcknowledger', `${able.map((node) => node.name).join(' and ')} can both acknowledge`);
}
