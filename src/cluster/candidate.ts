// Which reports allow whom to be promoted (DESIGN of failover: docs/failover.md, step 3). Used twice: by the leader that
// proposes, and by apply on every peer, which checks the proposal again.
import type { MemberId, NodeId } from '../base/ids.ts';
import type { CutReport, SyncRule } from './commands.ts';
import { isLastChoice, mayBeNeeded, promotionBar, syncBar } from './eligibility.ts';
import { reportsSuffice } from './quorum.ts';
import { heardReports } from './site-history.ts';
import {
  type ClusterState,
  type Floor,
  type GroupState,
  type Phase,
  asideReason,
  hasUnknownRule,
  nodesOfGroup,
} from './state.ts';

/** A group that is being fenced, and its phase. */
export type Fencing = Extract<Phase, { readonly kind: 'fencing' }>;

/** Orders positions in the WAL: by timeline, then by LSN. Positive where `a` is ahead. */
export function comparePositions(
  a: Pick<CutReport, 'timeline' | 'position'>,
  b: Pick<CutReport, 'timeline' | 'position'>,
): number {
  if (a.timeline !== b.timeline) return a.timeline - b.timeline;
  return a.position === b.position ? 0 : a.position > b.position ? 1 : -1;
}

/** A report at or above the floor's switch point holds everything that was acknowledged before that promotion. */
function isAtOrAboveFloor(report: CutReport, floor: Floor): boolean {
  if (report.timeline >= floor.timeline) return true;
  return report.timeline === floor.from.timeline && report.position >= floor.from.position;
}

function respectsFloor(report: CutReport, latest: Floor | undefined, cut: ReadonlySet<MemberId>): boolean {
  for (let floor = latest; floor !== undefined; floor = floor.before) {
    if (isAtOrAboveFloor(report, floor)) return true;
    if (reportsSuffice(floor.rule, floor.next, cut)) {
      // mark: floor-replaced-by-earlier-rule
      continue;
    }
    return false;
  }
  return true;
}

/**
 * Why `candidate` must not be promoted on the reports of `phase`, or undefined where it may. A report on a timeline that the log
 * never assigned (somebody promoted that node by hand) proves nothing: its WAL left the group's history at an unknown point.
 */
export function candidateRefusal(
  state: ClusterState,
  group: GroupState,
  phase: Fencing,
  candidate: CutReport,
): string | undefined {
  const aside = asideReason(group, candidate.node);
  if (aside !== undefined) return `${candidate.node} is ${aside}`;
  const barred = promotionBar(state, group, candidate.node);
  const { cause } = phase;
  const isByName = (cause.kind === 'forced' || cause.kind === 'followed') && cause.to === candidate.node;
  if (barred !== undefined && !isByName && !isLastChoice(state, group, candidate)) {
    // mark: candidate-barred
    return `${candidate.node} is ${barred}`;
  }
  const fetching = phase.fetches?.find(({ node }) => node === candidate.node);
  if (fetching !== undefined && !fetching.isOver && fetching.failed === undefined)
    return `${candidate.node} is fetching WAL from ${fetching.from}`;
  if (hasUnknownRule(group)) return refusalWithoutRule(state, group, phase, candidate);
  if (cause.kind === 'followed') return refusalOfFollower(state, group, cause.to, phase.reports, candidate);
  if (candidate.timeline > phase.timeline)
    return `${candidate.node} is on timeline ${candidate.timeline}, which the log never assigned`;
  const refusal = refusalByRule(state, group, phase, candidate);
  return refusal === undefined || cause.kind !== 'forced'
    ? refusal
    : forcedRefusal(group, phase, cause.to, candidate);
}

/** Of a failover on a person's word: what may be lost is accepted, two primaries are not. */
function forcedRefusal(
  group: GroupState,
  phase: Fencing,
  to: NodeId | undefined,
  candidate: CutReport,
): string | undefined {
  if (to !== undefined && candidate.node !== to) return `the failover was asked to lead to ${to}`;
  const cut = new Set(phase.reports.map((report) => report.member));
  if (isKnownOff(phase, phase.primary) || reportsSuffice(group.rule, group.next?.rule, cut)) return undefined;
  return `nothing proves that the former primary ${phase.primary} is stopped`;
}

/** The former primary, or any other node, is known to take no more writes at this epoch: it has reported, or is off. */
export function isKnownOff(phase: Fencing, node: NodeId): boolean {
  return phase.off.includes(node) || heardReports(phase).some((report) => report.node === node);
}

/** Only what the sync rule proves. A switchover on purpose of a leased group loses nothing either: it needs the primary's report. */
function refusalByRule(
  state: ClusterState,
  group: GroupState,
  phase: Fencing,
  candidate: CutReport,
): string | undefined {
  const isAsync = group.rule.leased === true;
  const isPlanned = phase.cause.kind === 'planned';
  const reports = phase.reports.filter((report) => report.timeline <= phase.timeline);
  const others = reports.filter((report) => report.node !== phase.primary);
  const cut = new Set(others.map((report) => report.member));
  const isProved = reportsSuffice(group.rule, group.next?.rule, cut) && !(isAsync && isPlanned);
  if (candidate.node !== phase.primary && isProved) {
    const ahead = others.find(
      (report) => comparePositions(report, candidate) > 0 && !isPassedOver(state, group, report),
    );
    if (ahead !== undefined) return aheadText(state, group, ahead, candidate);
    if (isAsync || respectsFloor(candidate, group.floor, cut)) return undefined;
    // mark: candidate-below-floor
    return `${candidate.node} stands below the switch point of the promotion to timeline ${group.floor?.timeline}`;
  }
  const former = reports.find((report) => report.node === phase.primary);
  if (former === undefined) {
    return `${cut.size} of ${membersToHear(group.rule, group.next?.rule)} members of the sync rule have cut their WAL streams, which is too few without ${phase.primary}`;
  }
  if (candidate.node === phase.primary) {
    // mark: former-primary-chosen-again
    return undefined;
  }
  if (candidate.timeline === former.timeline && candidate.position >= former.position) {
    // mark: candidate-level-with-former-primary
    return undefined;
  }
  return `${candidate.node} lacks WAL that the former primary ${phase.primary} holds`;
}

/**
 * A node that may not be promoted does not keep others from being: what was acknowledged is on a member of the rule among those that have
 * reported, or, where a floor stands, of the rules before. One that was such a member, and may be no longer, is not passed over: it is the
 * last choice.
 */
export function isPassedOver(state: ClusterState, group: GroupState, { node, member }: CutReport): boolean {
  if (promotionBar(state, group, node) === undefined) return false;
  if (mayBeNeeded(group, member)) return false;
  // mark: barred-passed-over
  return true;
}

function aheadText(state: ClusterState, group: GroupState, ahead: CutReport, candidate: CutReport): string {
  const barred = promotionBar(state, group, ahead.node);
  const text = `${ahead.node} holds more WAL than ${candidate.node}`;
  return barred === undefined ? text : `${text}, and is ${barred}`;
}

/**
 * After a recovery of the log: every commit that was ever acknowledged is on some node, so that once all of them are cut, the one that
 * holds the most holds them all. Timelines may have been assigned in the part of the log that is lost, and so may the primary.
 */
function refusalWithoutRule(
  state: ClusterState,
  group: GroupState,
  phase: Fencing,
  candidate: CutReport,
): string | undefined {
  const { reports } = phase;
  const silent = [...silentNodes(state, group, heardReports(phase)), ...doubtfulNodes(state, group)];
  if (silent.length > 0) {
    return `the log was recovered, so all nodes of group ${group.id} have to report first; not heard of: ${silent.join(', ')}`;
  }
  const ahead = reports.find((report) => comparePositions(report, candidate) > 0);
  return ahead === undefined ? undefined : aheadText(state, group, ahead, candidate);
}

/**
 * Of a group that has followed another site: its nodes have acknowledged nothing, and hold what that site sent, on that site's timelines. Of
 * those that can be heard the one that holds the most loses the least; but for a node that a person has named.
 */
function refusalOfFollower(
  state: ClusterState,
  group: GroupState,
  to: NodeId | undefined,
  reports: readonly CutReport[],
  candidate: CutReport,
): string | undefined {
  if (to !== undefined) return candidate.node === to ? undefined : `the promotion was asked to lead to ${to}`;
  const ahead = reports.find(
    (report) =>
      comparePositions(report, candidate) > 0 &&
      asideReason(group, report.node) === undefined &&
      !isPassedOver(state, group, report),
  );
  return ahead === undefined ? undefined : aheadText(state, group, ahead, candidate);
}

/** The registered nodes of the group of which there is no report of their present data directory. */
export function silentNodes(
  state: ClusterState,
  group: GroupState,
  reports: readonly CutReport[],
): readonly NodeId[] {
  return nodesOfGroup(state, group.id)
    .filter((node) => !reports.some((report) => report.node === node.node && report.member === node.member))
    .map((node) => node.node);
}

/** Those that were removed before the log was recovered, and of which nobody knows whether they were let in again. */
export function doubtfulNodes(state: ClusterState, { id }: GroupState): readonly NodeId[] {
  return [...state.removed.values()]
    .filter(({ group, isDoubtful }) => group === id && isDoubtful)
    .map(({ node }) => node);
}

function membersToHear(rule: SyncRule, next: SyncRule | undefined): number {
  return new Set([...rule.members, ...(next?.members ?? [])]).size;
}

/**
 * The members that the rule of a promotion may begin with: a node that is fenced, paused or in maintenance comes into none, nor does one
 * that may not be counted.
 */
export function firstMembers(
  state: ClusterState,
  group: GroupState,
  phase: Fencing,
  candidate: CutReport,
): MemberId[] {
  // One that has begun to fetch may stand above what it reported before.
  const hasMoved = (id: NodeId): boolean =>
    phase.fetches?.some(({ node, isOver }) => node === id && !isOver) === true;
  const able = phase.reports.filter(
    ({ node }) =>
      asideReason(group, node) === undefined && syncBar(state, group, node) === undefined && !hasMoved(node),
  );
  const { cause } = phase;
  // Equal numbers of timelines are not equal history: what a named node stands on may be its own.
  if (cause.kind === 'followed' && cause.to !== undefined) return [];
  const former = cause.kind === 'followed' ? candidate.node : phase.primary;
  return followersAtOnce(former, able, candidate);
}

/** The members of those of the reports that can follow the candidate directly. */
export function followersAtOnce(
  formerPrimary: NodeId,
  reports: readonly CutReport[],
  candidate: CutReport,
): MemberId[] {
  return reports
    .filter(
      (report) =>
        report.node !== candidate.node &&
        report.node !== formerPrimary &&
        !report.stopped &&
        report.timeline === candidate.timeline &&
        report.position <= candidate.position,
    )
    .map((report) => report.member)
    .sort();
}
