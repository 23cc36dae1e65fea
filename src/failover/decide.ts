// decide(state, view, memory) -> commands the leader should propose now. Pure: time and reports come in with the view, what
// has to be remembered between calls (since when something holds) goes in and out as `memory`. Proposing the same command
// twice is harmless: apply refuses what no longer fits.
import type { GroupId, PeerId } from '../base/ids.ts';
import { runningFetch } from '../cluster/apply-fetch.ts';
import { type Fencing, isKnownOff } from '../cluster/candidate.ts';
import type { Command, HostDeclaration } from '../cluster/commands.ts';
import { RESTORE_FEATURE_LEVEL, featureLevelRefusal } from '../cluster/features.ts';
import { isLeased, isObjectivelyDown, majority, standingDownCount } from '../cluster/quorum.ts';
import {
  type ClusterState,
  type GroupState,
  type NodeState,
  isHeld,
  isPaused,
  isTimelineOpen,
  nodesOfGroup,
} from '../cluster/state.ts';
import { concludeServers } from './watched.ts';
import { beginFailback } from './failback.ts';
import { chooseCandidate, hasFollowersToCome, promotion } from './choose.ts';
import { failoverObstacle, switchoverObstacle } from './obstacles.ts';
import { decideRestarts } from './decide-restarts.ts';
import { beginSite, decideSite } from './decide-site.ts';
import { decideSlots } from './decide-slots.ts';
import { decideFetch } from './fetch.ts';
import { planCascades } from './plan-cascade.ts';
import { planRule } from './rule-plan.ts';
import { type View, freshReport } from './view.ts';

/** Since when (monotonic milliseconds at this leader) something has held; keys are made by {@link since}. */
export type Memory = ReadonlyMap<string, number>;

export interface Decision {
  readonly commands: readonly Command[];
  readonly memory: Memory;
}

/** Remembers when a condition began. What is not asked about in a round is forgotten. */
export interface Stopwatch {
  /** Milliseconds for which `key` has been asked about without a pause; 0 the first time. */
  elapsedMs(key: string): number;
  /** Whether `key` was asked about in the round before. */
  isRunning(key: string): boolean;
}

export function decide(state: ClusterState, view: View, memory: Memory): Decision {
  const kept = new Map<string, number>();
  const stopwatch: Stopwatch = {
    elapsedMs: (key) => {
      const sinceMs = memory.get(key) ?? view.nowMs;
      kept.set(key, sinceMs);
      return view.nowMs - sinceMs;
    },
    isRunning: (key) => memory.has(key),
  };
  const commands: Command[] = [...raiseFeatureLevel(state), ...createGroups(state, view, stopwatch)];
  for (const group of state.groups.values()) {
    commands.push(...endPauses(group, view));
    const command = decideGroup(state, group, view, stopwatch);
    if (command !== undefined) commands.push(command);
    commands.push(...decideSlots(state, group, view, stopwatch));
    commands.push(...planCascades(state, group, view, stopwatch));
    commands.push(...decideRestarts(state, group, view));
  }
  commands.push(...concludeServers(state));
  return { commands, memory: kept };
}

/** As soon as every member understands the next level: a rolling upgrade ends by itself. */
function* raiseFeatureLevel(state: ClusterState): Iterable<Command> {
  const level = state.featureLevel + 1;
  if (featureLevelRefusal(state, level) !== undefined) return;
  // mark: feature-level-raised
  yield { kind: 'set-feature-level', level };
}

/** A registered node without data that is not heard is not waited for longer than this; see createGroups. */
const HEARING_WAIT_MS = 5000;

function* createGroups(state: ClusterState, view: View, stopwatch: Stopwatch): Iterable<Command> {
  const names = new Set<GroupId>();
  for (const node of state.nodes.values()) if (!state.groups.has(node.group)) names.add(node.group);
  if (names.size === 0) return;
  for (const name of names) {
    const everyoneIsHere = expectedPeers(state, name).every((peer) => isHere(state, peer, name));
    const waitedMs = stopwatch.elapsedMs(`create ${name}`);
    const nodes = nodesOfGroup(state, name);
    if (!everyoneIsHere && waitedMs < view.settings.creationWaitMs) continue;
    if (nodes.some((node) => mayRun(view, node))) continue;
    if (nodes.some(({ options }) => options?.source !== undefined)) {
      const begun = beginSite(nodes);
      if (begun !== undefined) yield begun;
      continue;
    }
    if (isToFollow(state, view, name)) continue;
    const withData = nodes.filter((node) => node.systemIdentifier !== undefined);
    const restoring = nodes.filter((node) => freshReport(view, node.node)?.restores === true);
    const isRestored = withData.length === 0 && restoring.length > 0;
    // An empty group in the place of one that is to be restored would stand in its way: only its agent says that it is.
    const mayRestore = nodes.some(({ node }) => freshReport(view, node) === undefined);
    if (withData.length === 0 && !isRestored && mayRestore && waitedMs < HEARING_WAIT_MS) continue;
    if (isRestored && state.featureLevel < RESTORE_FEATURE_LEVEL) continue;
    const eligible = withData.length > 0 ? withData : isRestored ? restoring : nodes;
    const [first] = [...eligible].sort(byPriority);
    if (first === undefined || withData.length > 1) continue;
    // mark: group-restored
    if (isRestored) yield { kind: 'restore-group', group: name, primary: first.node };
    else yield { kind: 'create-group', group: name, primary: first.node };
  }
}

/**
 * A node of it that is to follow another site waits until every peer understands that. Its agent's own word, beside the log, for what it would
 * say there no older peer understands.
 */
function isToFollow({ nodes }: ClusterState, view: View, group: GroupId): boolean {
  return [...view.reports.values()].some(
    ({ report: { node, follows } }) =>
      follows === group && !nodes.has(node) && freshReport(view, node) !== undefined,
  );
}

/** The peers that may bring a node into a group that is to be created: all voters, and learners that say so, but for those that say otherwise. */
function expectedPeers({ membership, peers }: ClusterState, group: GroupId): PeerId[] {
  const runs = (peer: PeerId): HostDeclaration['runs'] => peers.get(peer)?.host?.runs;
  return [
    ...membership.voters.filter((peer) => peers.get(peer)?.host === undefined || runs(peer)?.group === group),
    ...membership.learners.filter((peer) => runs(peer)?.group === group),
  ];
}

/**
 * Its node is registered: in that group where its host says that it runs one of it, for it may have had another one before. One that does not
 * say may bring any node.
 */
function isHere({ nodes, peers }: ClusterState, peer: PeerId, group: GroupId): boolean {
  const isDeclared = peers.get(peer)?.host?.runs?.group === group;
  return [...nodes.values()].some((node) => node.peer === peer && (!isDeclared || node.group === group));
}

/**
 * A server that runs already is not restarted for a new group: `sentinelctl adopt` makes one of it. Where there is data, only an agent that
 * can be heard says that nothing runs.
 */
function mayRun(view: View, { node, systemIdentifier }: NodeState): boolean {
  const report = freshReport(view, node);
  return report === undefined ? systemIdentifier !== undefined : report.found !== undefined;
}

/** What was to last until a time that the leader's clock has passed. */
function* endPauses({ id, paused, pausedNodes }: GroupState, { wallMs }: View): Iterable<Command> {
  for (const pause of [...(paused === undefined ? [] : [{ ...paused, node: undefined }]), ...pausedNodes]) {
    const { node, untilMs } = pause;
    if (untilMs === undefined || wallMs < untilMs) continue;
    // mark: pause-ended-by-time
    yield { kind: 'end-pause', group: id, node, onlyUntilMs: untilMs };
  }
}

function decideGroup(
  state: ClusterState,
  group: GroupState,
  view: View,
  stopwatch: Stopwatch,
): Command | undefined {
  const phase = group.phase;
  const promotion = `promotion ${group.id} ${group.epoch}`;
  switch (phase.kind) {
    case 'creating':
      return replaceFirstPrimary(state, group, view, stopwatch);
    case 'following':
      return decideSite(state, group, phase, view, stopwatch);
    case 'running': {
      const isNew =
        stopwatch.isRunning(promotion) && stopwatch.elapsedMs(promotion) < view.settings.promotionGraceMs;
      return (
        (isNew ? undefined : beginIfDown(state, group, view, stopwatch)) ??
        beginScheduled(state, group, view) ??
        beginFailback(state, group, view, stopwatch) ??
        (isNew && isToBeReplaced(state, group, view) ? undefined : planRule(state, group, view, stopwatch))
      );
    }
    case 'promoting': {
      const elapsedMs = stopwatch.elapsedMs(promotion);
      if (phase.failed !== undefined) {
        const pausedMs = stopwatch.elapsedMs(`failed ${group.id} ${group.epoch}`);
        if (pausedMs < retryPauseMs(group, view)) {
          // mark: promotion-retried-later
          return undefined;
        }
        return {
          kind: 'begin-failover',
          group: group.id,
          epoch: group.epoch,
          cause: { kind: 'promotion-failed' },
        };
      }
      return elapsedMs < view.settings.promotionGraceMs
        ? undefined
        : beginIfDown(state, group, view, stopwatch);
    }
    case 'fencing':
      return decideFencing(state, group, phase, view, stopwatch);
  }
}

/**
 * After the second promotion in a row that failed; twice as long after each further one. The first is tried again at once. Each
 * promotion since the last one that went well has left a floor.
 */
function retryPauseMs(group: GroupState, { settings }: View): number {
  let promotionCount = 0;
  for (let floor = group.floor; floor !== undefined; floor = floor.before) promotionCount += 1;
  if (promotionCount < 2) return 0;
  const pauseMs = settings.reportFreshMs * 2 ** Math.min(promotionCount - 2, 20);
  return Math.min(pauseMs, RETRY_GRACES_MAX * settings.promotionGraceMs);
}

/** A group whose first primary never came; nobody has written to it, for clients are let in only once it runs. */
function replaceFirstPrimary(
  state: ClusterState,
  group: GroupState,
  view: View,
  stopwatch: Stopwatch,
): Command | undefined {
  if (freshReport(view, group.phase.primary) !== undefined) return undefined;
  // It goes on with a database that this node alone has.
  if (group.systemIdentifier !== undefined) return undefined;
  const silentMs = stopwatch.elapsedMs(`creating ${group.id} ${group.epoch}`);
  const nodes = nodesOfGroup(state, group.id);
  if (
    silentMs < 2 * view.settings.creationWaitMs ||
    nodes.some((node) => node.systemIdentifier !== undefined)
  )
    return undefined;
  const others = nodes.filter((node) => freshReport(view, node.node) !== undefined);
  const able =
    group.restore === undefined
      ? others
      : others.filter((node) => freshReport(view, node.node)?.restores === true);
  const [first] = able.sort(byPriority);
  if (first === undefined) return undefined;
  // mark: first-primary-replaced
  if (group.restore !== undefined) return { kind: 'restore-group', group: group.id, primary: first.node };
  return { kind: 'create-group', group: group.id, primary: first.node };
}

const RETRY_GRACES_MAX = 10;

const byPriority = (a: NodeState, b: NodeState): number =>
  b.priority - a.priority || (a.node < b.node ? -1 : 1);

/** Held for down, with a standby that can take over: only the time that a new primary is given is waited for, and its rule is to stay until then. */
function isToBeReplaced(state: ClusterState, group: GroupState, view: View): boolean {
  const primary = state.nodes.get(group.phase.primary);
  return (
    primary !== undefined &&
    isObjectivelyDown(state.membership.voters, primary.subjectiveDown, group.epoch) &&
    failoverObstacle(state, group, view) === undefined
  );
}

/** A failover is begun only while enough agents can be reached to finish the fencing. */
function beginIfDown(
  state: ClusterState,
  group: GroupState,
  view: View,
  stopwatch: Stopwatch,
): Command | undefined {
  const primary = state.nodes.get(group.phase.primary);
  if (
    primary === undefined ||
    !isObjectivelyDown(state.membership.voters, primary.subjectiveDown, group.epoch)
  )
    return undefined;
  const hindered = `hindered ${group.id} ${group.epoch}`;
  // A failover that has begun is finished, also in a pause.
  const isHindered =
    (group.phase.kind === 'running' && isPaused(group)) ||
    isHeld(group) ||
    failoverObstacle(state, group, view) !== undefined;
  if (isHindered || (stopwatch.isRunning(hindered) && isPerhapsBack(primary, view, stopwatch))) {
    stopwatch.elapsedMs(hindered);
    return undefined;
  }
  return { kind: 'begin-failover', group: group.id, epoch: group.epoch, cause: { kind: 'down' } };
}

const BACK_GRACE_MS = 3000;
/** Its start itself may end what stood in the way: of a primary that is adopted with it. */
const START_GRACE_MS = 3000;

/**
 * Nobody could take over, and PostgreSQL, all of whose processes were gone, starts or runs as primary again, as its agent says. Its observers
 * find that out within one probe; until then their entries stand, and what stood in the way of a failover may have gone with its start.
 */
function isPerhapsBack(primary: NodeState, view: View, stopwatch: Stopwatch): boolean {
  const condition = freshReport(view, primary.node)?.condition;
  if (condition === 'starting') return stopwatch.elapsedMs(`starting ${primary.node}`) < START_GRACE_MS;
  const wasGone = primary.subjectiveDown.some(({ evidence }) => evidence === 'processes-gone');
  if (!wasGone || condition !== 'primary') return false;
  return stopwatch.elapsedMs(`back ${primary.node}`) < BACK_GRACE_MS;
}

/** A switchover that is due and could not begin is tried again for so long; then it is given up. */
export const SCHEDULE_VALID_MS = 600_000;

function beginScheduled(state: ClusterState, group: GroupState, view: View): Command | undefined {
  const { scheduled } = group;
  if (scheduled === undefined || view.wallMs < scheduled.atMs) return undefined;
  if (scheduled.to === group.phase.primary || view.wallMs - scheduled.atMs > SCHEDULE_VALID_MS)
    return { kind: 'schedule-switchover', group: group.id, at: undefined, onlyAtMs: scheduled.atMs };
  if (isPaused(group) || switchoverObstacle(state, group, scheduled.to, view) !== undefined) return undefined;
  return {
    kind: 'begin-failover',
    group: group.id,
    epoch: group.epoch,
    cause: { kind: 'planned', to: scheduled.to },
    scheduledAtMs: scheduled.atMs,
  };
}

function decideFencing(
  state: ClusterState,
  group: GroupState,
  phase: Fencing,
  view: View,
  stopwatch: Stopwatch,
): Command | undefined {
  if (phase.cause.kind === 'recovered') {
    // mark: fencing-recovered-group
    const best = chooseCandidate(state, group, phase, 0, view);
    return best === undefined ? undefined : promotion(state, group, phase, best);
  }
  const elapsedMs = stopwatch.elapsedMs(`fencing ${group.id} ${group.epoch}`);
  if (phase.cause.kind === 'followed') {
    const best = chooseCandidate(state, group, phase, elapsedMs, view);
    // Others are waited for.
    if (best === undefined && runningFetch(phase) === undefined) return undefined;
    const fetch = decideFetch({ state, group, phase, view, stopwatch }, best);
    if (fetch === 'wait') return undefined;
    if (fetch !== undefined) return fetch;
    return best === undefined ? undefined : promotion(state, group, phase, best);
  }
  const former = phase.reports.find((report) => report.node === phase.primary);
  if (phase.cause.kind === 'planned' && former === undefined) {
    if (
      hasDied(state, group, phase, view, stopwatch) &&
      (elapsedMs >= view.settings.handOverTimeoutMs || !isToReport(group, phase, view))
    ) {
      // mark: switchover-primary-died
      return { kind: 'begin-failover', group: group.id, epoch: group.epoch, cause: { kind: 'down' } };
    }
    if (elapsedMs < view.settings.handOverTimeoutMs) return undefined;
    // mark: switchover-called-off
    return resumeIfWell(state, group, phase, view, elapsedMs);
  }
  const handedOverMs =
    phase.cause.kind === 'planned' ? stopwatch.elapsedMs(`handed over ${group.id} ${group.epoch}`) : 0;
  const patientMs = phase.cause.kind === 'planned' ? handedOverMs : elapsedMs;
  const candidate = chooseCandidate(state, group, phase, patientMs, view);
  const fetch = decideFetch({ state, group, phase, view, stopwatch }, candidate);
  if (fetch !== undefined) return fetch === 'wait' ? undefined : fetch;
  const isLeaseOver = isKnownOff(phase, phase.primary) || elapsedMs >= leaseWaitMs(group);
  const isToCome =
    phase.cause.kind === 'planned' &&
    handedOverMs < view.settings.followersWaitMs &&
    candidate !== undefined &&
    candidate.node !== phase.primary &&
    hasFollowersToCome(state, group, phase, candidate, view);
  if (candidate !== undefined && isLeaseOver && !isToCome) return promotion(state, group, phase, candidate);
  const isWanted = phase.cause.kind === 'forced';
  if (former !== undefined || isWanted || elapsedMs < view.settings.resumeAfterMs) return undefined;
  return resumeIfWell(state, group, phase, view, elapsedMs);
}

/** Clocks of two hosts do not run apart further than this within a lease. */
const DRIFT_SHARE = 0.2;
const DRIFT_MS_MIN = 500;

/**
 * How long a promotion waits after this leader's election and after it applied the `begin-failover`, whichever is later: a lease that
 * an earlier leader, or this one before, has granted was asked for earlier than that (docs/failover.md, "Leases").
 */
export function leaseWaitMs(group: GroupState): number {
  const { leaseMs } = group.settings;
  return isLeased(group) ? leaseMs + Math.max(DRIFT_MS_MIN, DRIFT_SHARE * leaseMs) : 0;
}

/** The primary of a planned switchover is down, and not only for the moment between its stop and its report. */
function hasDied(
  state: ClusterState,
  group: GroupState,
  phase: Fencing,
  view: View,
  stopwatch: Stopwatch,
): boolean {
  const node = state.nodes.get(phase.primary);
  if (node === undefined || !isObjectivelyDown(state.membership.voters, node.subjectiveDown, group.epoch))
    return false;
  return (
    stopwatch.elapsedMs(`handing over, but down ${group.id} ${group.epoch}`) >= view.settings.targetTimeoutMs
  );
}

/**
 * In a leased group nobody else is sure to hold what the primary has, and whoever asked for a switchover asked to lose nothing: while
 * its agent can be heard, and brings it to where it can report, that is waited for.
 */
function isToReport(group: GroupState, phase: Fencing, view: View): boolean {
  const condition = freshReport(view, phase.primary)?.condition;
  return isLeased(group) && condition !== undefined && condition !== 'failed' && condition !== 'absent';
}

/**
 * A primary that has not reported, and that too few voters hold for down, goes on. Its agent is waited for, which may be about to stop it; one
 * that stays silent for the whole of the time is not: PostgreSQL runs on without it, and as long as the group is being fenced its standbys are cut
 * off or its rule cannot change. Should that agent come back and stop it after all, the primary is down, which leads to a failover.
 */
function resumeIfWell(
  state: ClusterState,
  group: GroupState,
  phase: Fencing,
  view: View,
  elapsedMs: number,
): Command | undefined {
  const node = state.nodes.get(phase.primary);
  if (node === undefined || !isTimelineOpen(group, phase.timeline)) return undefined;
  if (
    standingDownCount(state.membership.voters, node.subjectiveDown) >=
    majority(state.membership.voters.length)
  )
    return undefined;
  const isHeard = freshReport(view, phase.primary) !== undefined;
  const silentMs =
    phase.cause.kind === 'planned' ? view.settings.handOverTimeoutMs : view.settings.silentAgentMs;
  if (!isHeard && elapsedMs < silentMs) return undefined;
  return { kind: 'resume', group: group.id, epoch: group.epoch };
}
