// An agent as src/actions builds it, cut into steps that may be interrupted anywhere: what it does in one step depends on the
// duty of the log as far as it has applied it, on its fence, and on what it finds. It asks the leader less often than the real
// one does (only before it starts a primary): what holds here holds there. Never used outside tests.
import { type Timeline, makeMemberId, timeline } from '../../base/ids.ts';
import { lsn } from '../../base/lsn.ts';
import type { Command } from '../../cluster/commands.ts';
import { compareFences } from '../../cluster/fence.ts';
import type { ClusterState } from '../../cluster/state.ts';
import { type Duty, type Fetch, duties } from '../duties.ts';
import { holdLease } from './lease-model.ts';
import { changeRule, sendersOf } from './rule-change-model.ts';
import {
  NO_FENCE,
  type NodeModel,
  canStream,
  cut,
  isPrimary,
  start,
  stop,
  stream,
} from './postgres-model.ts';
import { NOBODY, mayFollow, namesFor, sameNames, timelineOf } from './wal.ts';

/** Ways to break an agent or its PostgreSQL, to see that the model notices. */
export interface AgentFaults {
  readonly cutForgottenAtRestart?: boolean;
  readonly reportsWithoutCut?: boolean;
  readonly reportsReplayedOnly?: boolean;
  readonly timelineByPostgres?: boolean;
  readonly walSendersUnverified?: boolean;
  /** Only the walsenders of the two rules are looked at. */
  readonly strangersUnverified?: boolean;
  /** A walsender that shows a priority is taken to count to the new number. */
  readonly countUnverified?: boolean;
  readonly flushUnverified?: boolean;
  readonly waitUnseen?: boolean;
  readonly fenceIgnored?: boolean;
  /** Compares epochs without the incarnation they belong to. */
  readonly incarnationIgnored?: boolean;
  /** Obeys the log from its beginning on, while it is still being read after a restart. */
  readonly obeysWhileCatchingUp?: boolean;
  /** A cut leaves `synchronous_standby_names` as it is, and a promotion does not wait until a rule is in force. */
  readonly placeholderForgotten?: boolean;
  readonly primaryStartsUnasked?: boolean;
}

/** What an agent may do to the world around its node. */
export interface Surroundings {
  readonly nowMs: number;
  /** Counts up with every event. */
  readonly now: number;
  readonly faults: AgentFaults;
  readonly nodes: readonly NodeModel[];
  /** The state as it is now: what a read through the leader shows. */
  readonly truth: ClusterState;
  readonly truthIndex: number;
  /** The state as this agent has applied it. */
  readonly state: ClusterState;
  propose(command: Command): void;
  newMemberSuffix(): string;
  newValue(): number;
  /** False for an agent that the cluster was recovered without: a node without data at that time waits for a person. */
  readonly mayRejoin: boolean;
  /** Whether WAL can flow between two nodes. */
  isLinked(a: NodeModel, b: NodeModel): boolean;
  /** A chance, for what may go either way. */
  chance(probability: number): boolean;
  onOpened(node: NodeModel): void;
}

export type DutyOf<K extends Duty['kind']> = Extract<Duty, { readonly kind: K }>;

const FORMER_PRIMARY_DELAY_MS = 1500;

const position = (node: NodeModel, length = node.wal.length) =>
  lsn(BigInt(Math.min(length, node.wal.length)));
const localMember = (node: NodeModel) => (node.isFit ? node.member : undefined);

export function stepAgent(node: NodeModel, world: Surroundings): void {
  if (!isCaughtUp(node, world) && !world.faults.obeysWhileCatchingUp) return;
  const duty = duties(world.state, node.name);
  if (duty.kind === 'none') return registerAnew(node, world);
  const order = world.faults.incarnationIgnored
    ? duty.epoch - node.fence.epoch
    : compareFences(duty, node.fence);
  if (!world.faults.fenceIgnored && order < 0) return;
  if (order > 0) {
    node.fence = { incarnation: duty.incarnation, epoch: duty.epoch };
    return;
  }
  if (duty.kind === 'removed') return carryOutRemoved(node, duty);
  if (world.state.nodes.get(node.name)?.member !== localMember(node)) register(node, world);
  switch (duty.kind) {
    case 'create':
      return;
    case 'cut':
      if (duty.fetch !== undefined) return carryOutFetch(node, world, duty, duty.fetch);
      delete node.agent.memo.fetching;
      return carryOutCut(node, world, duty, duty.wasPrimary);
    case 'hand-over':
      return carryOutHandOver(node, world, duty);
    case 'promote':
      return carryOutPromote(node, world, duty);
    case 'follow':
      return carryOutFollow(node, world, duty);
    case 'primary':
      return carryOutPrimary(node, world, duty);
    case 'hands-off':
      if (isPrimary(node)) stop(node);
      return;
    case 'stopped':
      if (node.isUp) stop(node);
      return;
  }
}

function isCaughtUp({ agent }: NodeModel, world: Surroundings): boolean {
  if (agent.catchUpTo === 'unread' && agent.isConnected) agent.catchUpTo = world.truthIndex;
  if (typeof agent.catchUpTo === 'number' && agent.applied >= agent.catchUpTo) agent.catchUpTo = 'done';
  return agent.catchUpTo === 'done';
}

function register(node: NodeModel, world: Surroundings): void {
  const known = world.state.nodes.get(node.name);
  if (known === undefined) return;
  const { subjectiveDown: _, ...registration } = known;
  world.propose({ kind: 'register-node', ...registration, member: localMember(node) });
}

/** One that was let in again. */
function registerAnew(node: NodeModel, world: Surroundings): void {
  const { name, peer } = node;
  const [group] = world.state.groups.keys();
  if (group === undefined || world.state.nodes.has(name)) return;
  const member = localMember(node);
  const systemIdentifier = member === undefined ? undefined : '1';
  const place = { host: name, port: 5432, priority: 0 };
  world.propose({ kind: 'register-node', node: name, group, peer, member, systemIdentifier, ...place });
}

function carryOutRemoved(node: NodeModel, { leaving, member }: DutyOf<'removed'>): void {
  if (isPrimary(node) || (leaving !== 'leave' && node.isUp)) return stop(node);
  if (node.isUp && node.upstream !== undefined) return cut(node);
  if (leaving === 'destroy' && node.member === member) node.isFit = false;
}

function hasReported(node: NodeModel, world: Surroundings, group: DutyOf<'cut'>['group']): boolean {
  const phase = world.state.groups.get(group)?.phase;
  return (
    phase?.kind === 'fencing' &&
    phase.reports.some((report) => report.node === node.name && report.member === localMember(node))
  );
}

function carryOutCut(
  node: NodeModel,
  world: Surroundings,
  duty: DutyOf<'cut' | 'hand-over'>,
  wasPrimary: boolean,
): void {
  if (hasReported(node, world, duty.group) || localMember(node) === undefined) return;
  if (!bringToCut(node, world, wasPrimary)) return;
  const length = world.faults.reportsReplayedOnly ? node.replayed : node.wal.length;
  report(node, world, duty, length, false);
}

const FETCH_TIMEOUT_MS = 3000;

/** Takes what it lacks from another one, cuts itself off again, and says where it stands. */
function carryOutFetch(node: NodeModel, world: Surroundings, duty: DutyOf<'cut'>, fetch: Fetch): void {
  if (localMember(node) === undefined) return;
  const { memo } = node.agent;
  const hasAll = (): boolean =>
    fetch.kind === 'given-up' ||
    (timelineOf(node.wal) === fetch.source.timeline && position(node) >= fetch.source.position);
  const { fetching } = memo;
  if (fetching?.isOver === false && fetching.startCount === node.startCount && node.isUp) {
    if (!hasAll() && world.nowMs < fetching.untilMs) return;
    fetching.isOver = true;
  }
  if (!bringToCut(node, world, duty.wasPrimary)) return;
  if (hasAll()) return report(node, world, duty, node.wal.length, false);
  if (fetch.kind === 'given-up') return;
  const { group, epoch } = duty;
  if (fetching?.isOver === true)
    return world.propose({
      kind: 'fetch-failed',
      group,
      epoch,
      node: node.name,
      reason: 'it came to an end',
    });
  memo.fetching = { startCount: node.startCount, untilMs: world.nowMs + FETCH_TIMEOUT_MS, isOver: false };
  node.upstream = fetch.source.node;
  node.isFetching = true;
}

function report(
  node: NodeModel,
  world: Surroundings,
  duty: DutyOf<'cut' | 'hand-over'>,
  length: number,
  stopped: boolean,
): void {
  const member = localMember(node);
  if (member === undefined || world.state.nodes.get(node.name)?.member !== member) return;
  const at = timeline(timelineOf(node.wal.slice(0, length)));
  world.propose({
    kind: 'cut-report',
    group: duty.group,
    epoch: duty.epoch,
    node: node.name,
    member,
    timeline: at,
    position: position(node, length),
    stopped,
    ...(duty.kind === 'cut' && duty.fetch !== undefined ? { afterFetch: true } : {}),
  });
}

/** One step towards a standby that is cut off and has replayed what it holds; true once it is there. */
function bringToCut(node: NodeModel, world: Surroundings, wasPrimary: boolean): boolean {
  if (isPrimary(node)) {
    stop(node);
    node.agent.memo.stoppedAtMs = world.nowMs;
    return false;
  }
  if (!node.isUp) {
    node.agent.memo.stoppedAtMs ??= world.nowMs;
    if (wasPrimary && world.nowMs - node.agent.memo.stoppedAtMs < FORMER_PRIMARY_DELAY_MS) return false;
    startStandby(node);
    return false;
  }
  if (!world.faults.placeholderForgotten && !sameNames(node.fileNames, NOBODY)) {
    node.fileNames = NOBODY;
    return false;
  }
  if (!world.faults.reportsWithoutCut && node.upstream !== undefined) {
    cut(node);
    return false;
  }
  if (!world.faults.reportsReplayedOnly) node.replayed = node.wal.length;
  return true;
}

function startStandby(node: NodeModel): void {
  cut(node);
  node.fileNames = NOBODY;
  start(node, 'standby', 0);
}

function carryOutHandOver(node: NodeModel, world: Surroundings, duty: DutyOf<'hand-over'>): void {
  if (hasReported(node, world, duty.group)) return;
  if (isPrimary(node)) {
    // It takes writes while it makes its checkpoint, under a lease where there is one.
    if (duty.rule.leased === true) holdLease(node, world, duty);
    if (world.chance(0.5)) return;
    for (const standby of world.nodes) {
      const isServed = canStream(standby, node) && world.isLinked(standby, node) && world.chance(0.8);
      if (isServed) stream(standby, node, node.wal.length);
    }
    stop(node);
    node.endedAs = 'clean';
    node.agent.memo.stoppedAtMs = world.nowMs;
    return;
  }
  if (!node.isUp && node.endedAs === 'clean') report(node, world, duty, node.wal.length, true);
  else carryOutCut(node, world, duty, true);
}

function carryOutPromote(node: NodeModel, world: Surroundings, duty: DutyOf<'promote'>): void {
  const { group, epoch } = duty;
  if (world.chance(0.03)) {
    stop(node);
    world.propose({ kind: 'promotion-failed', group, epoch, node: node.name, reason: 'it was made to fail' });
    return;
  }
  const isLeaseHeld = duty.rule.leased !== true || holdLease(node, world, duty);
  if (!isPrimary(node)) {
    if (isOnDuty(node, world, duty) && isLeaseHeld) open(node, world, duty.timeline);
    return;
  }
  const opened = node.wal.findIndex((record) => record.timeline === timelineOf(node.wal));
  if (timelineOf(node.wal) !== duty.timeline && !world.faults.timelineByPostgres) {
    stop(node);
    world.propose({
      kind: 'promotion-failed',
      group,
      epoch,
      node: node.name,
      reason: 'it opened another timeline',
    });
    return;
  }
  world.propose({
    kind: 'promoted',
    group,
    epoch,
    node: node.name,
    timeline: duty.timeline,
    switchLsn: position(node, opened),
  });
}

/** Cut off, and with the new rule in its settings: ready to be opened. */
function isOnDuty(node: NodeModel, world: Surroundings, duty: DutyOf<'promote'>): boolean {
  const names = namesFor(duty.rule);
  if (!node.isUp) {
    startStandby(node);
    return false;
  }
  if (node.upstream !== undefined) {
    cut(node);
    return false;
  }
  node.replayed = node.wal.length;
  if (!sameNames(node.fileNames, names)) {
    node.fileNames = names;
    return false;
  }
  return (
    world.faults.placeholderForgotten || names.kind === 'alone' || node.checkpointerNames.kind !== 'alone'
  );
}

function open(node: NodeModel, world: Surroundings, assigned: Timeline): void {
  const chosen = world.faults.timelineByPostgres ? timelineOf(node.wal) + 1 : assigned;
  node.role = 'primary';
  node.endedAs = 'primary';
  node.wal.push({ timeline: chosen, value: world.newValue() });
  node.replayed = node.wal.length;
  world.onOpened(node);
}

function carryOutFollow(node: NodeModel, world: Surroundings, duty: DutyOf<'follow'>): void {
  if (!node.isFit || node.member === undefined) return rejoin(node, world, duty);
  if (world.state.nodes.get(node.name)?.member !== node.member) return;
  if (isPrimary(node)) return stop(node);
  if (!node.isUp) {
    if (node.endedAs === 'primary' || (node.endedAs === 'clean' && !mayFollow(node.wal, duty)))
      return rejoin(node, world, duty);
    return startStandby(node);
  }
  if (node.upstream === duty.upstream.node && !node.isFetching && canFollowNow(node, world)) {
    node.fileNames = NOBODY;
    return;
  }
  if (node.upstream !== undefined) return cut(node);
  node.replayed = node.wal.length;
  if (!mayFollow(node.wal, duty)) return rejoin(node, world, duty);
  node.fileNames = NOBODY;
  node.upstream = duty.upstream.node;
}

function canFollowNow(node: NodeModel, world: Surroundings): boolean {
  const upstream = world.nodes.find((other) => other.name === node.upstream);
  return upstream !== undefined && canStream(node, upstream);
}

/** A clone, in two steps: the old data directory is gone before the new one is whole. */
function rejoin(node: NodeModel, world: Surroundings, duty: DutyOf<'follow'>): void {
  const source = world.nodes.find((other) => other.name === duty.upstream.node);
  const isForbidden = node.isFit && duty.isCounted;
  const isOther = world.state.groups.get(duty.group)?.phase.primary !== source?.name;
  if (
    isForbidden ||
    !world.mayRejoin ||
    !duty.upstream.isReady ||
    source === undefined ||
    // pg_rewind needs a primary; a clone does not.
    !(isPrimary(source) || (!node.isFit && source.isUp && isOther)) ||
    !world.isLinked(node, source)
  )
    return;
  if (timelineOf(source.wal) !== duty.upstream.timeline) return;
  if (node.isFit) {
    stop(node);
    node.isFit = false;
    return;
  }
  node.wal = [...source.wal];
  node.member = makeMemberId(node.name, world.newMemberSuffix());
  node.isFit = true;
  node.endedAs = 'standby';
  node.upstream = undefined;
  node.formerUpstream = undefined;
}

function carryOutPrimary(node: NodeModel, world: Surroundings, duty: DutyOf<'primary'>): void {
  if (duty.rule.leased === true || duty.next?.rule.leased === true) {
    if (!holdLease(node, world, duty)) return;
  } else {
    node.leaseUntilMs = undefined;
    delete node.agent.memo.lease;
  }
  if (!node.isUp) return startInPlace(node, world, duty);
  if (node.role === 'standby') return stop(node);
  if (timelineOf(node.wal) !== duty.timeline && !world.faults.timelineByPostgres) return stop(node);
  if (duty.next !== undefined) return changeRule(node, world, duty, duty.next);
  delete node.agent.memo.change;
  node.fileNames = namesFor(duty.rule);
  if (duty.floor === undefined) return;
  const holders = sendersOf(node, duty.rule.members).filter(
    ([, sender]) => BigInt(sender.flush) >= (duty.floor ?? 0n),
  );
  if (holders.length >= duty.rule.acks)
    world.propose({ kind: 'floor-passed', group: duty.group, epoch: duty.epoch });
}

function startInPlace(node: NodeModel, world: Surroundings, duty: DutyOf<'primary'>): void {
  if (localMember(node) === undefined || world.state.nodes.get(node.name)?.member !== node.member) return;
  const confirmed = duties(world.truth, node.name);
  const isConfirmed =
    node.agent.isConnected && confirmed.kind === 'primary' && confirmed.epoch === duty.epoch;
  if (!isConfirmed && !world.faults.primaryStartsUnasked) return;
  node.fileNames = namesFor(duty.next?.rule ?? duty.rule);
  node.upstream = undefined;
  start(node, 'primary', node.wal.length);
  world.onOpened(node);
}

/** What a restart of sentineld forgets. */
export function restartAgent(node: NodeModel, faults: AgentFaults): void {
  node.agent.isAlive = true;
  node.agent.applied = 0;
  node.agent.catchUpTo = 'unread';
  node.agent.memo = {};
  if (faults.cutForgottenAtRestart && node.upstream === undefined) node.upstream = node.formerUpstream;
  if (faults.fenceIgnored) node.fence = NO_FENCE;
}
