// Which of the nodes that have reported the leader proposes to promote, with which rule, and for whom it waits a moment longer. Pure.
// That a promotion is safe is apply's business (cluster/candidate.ts): this chooses among those that are.
import { type NodeId, type Timeline, timeline } from '../base/ids.ts';
import {
  type Fencing,
  candidateRefusal,
  comparePositions,
  firstMembers,
  silentNodes,
} from '../cluster/candidate.ts';
import type { Command, CutReport } from '../cluster/commands.ts';
import { isLastChoice, syncBar } from '../cluster/eligibility.ts';
import { heardReports, isUnopened } from '../cluster/site-history.ts';
import {
  type ClusterState,
  type GroupState,
  type NodeState,
  asideReason,
  nodesOfGroup,
} from '../cluster/state.ts';
import type { AgentReport } from '../cluster/report.ts';
import { canBeCut, isTooFarBehind, mayBePromoted } from './obstacles.ts';
import { comparePreference } from './preference.ts';
import { wantedRule } from './rule-plan.ts';
import { type View, freshReport } from './view.ts';

/**
 * The best report that may be promoted: the wish of a person, else one that was not to be promoted last, then the one with most WAL, then by
 * {@link comparePreference}, then by name. The former primary is chosen only where nobody else may be; in a leased group, or where a person
 * accepts a loss, also where it is the one that holds the most.
 */
export function chooseCandidate(
  state: ClusterState,
  group: GroupState,
  phase: Fencing,
  patientMs: number,
  view: View,
): CutReport | undefined {
  const { cause } = phase;
  const isLeaseRule = group.rule.leased === true;
  const isEligible = (report: CutReport): boolean =>
    candidateRefusal(state, group, phase, report) === undefined &&
    (cause.kind === 'forced' || !isTooFarBehind(group, report, view));
  const eligible = phase.reports.filter(isEligible);
  const former = eligible.find((report) => report.node === phase.primary);
  const wish = wishOf(group, phase, former);
  const target = eligible.find((report) => report.node === wish);
  if (target !== undefined) return target;
  const isPatient = patientMs < view.settings.targetTimeoutMs;
  if (isPatient && wish !== undefined) return undefined;
  // Whoever asked for one node should not get another one: the old primary, which has stopped and reported, is the primary again.
  if (cause.kind === 'planned' && wish !== undefined && former !== undefined) return former;
  if (isPatient && cause.kind === 'planned' && eligible.every((report) => report.node === phase.primary))
    return undefined;
  const isBarred = (report: CutReport): number => Number(isLastChoice(state, group, report));
  const isLast = (report: CutReport): number =>
    Number(cause.kind !== 'followed' && report.node === phase.primary);
  const mayLose = cause.kind === 'forced' || cause.kind === 'followed' || isLeaseRule;
  // Nothing but the reports says who holds the most: the first one to come is not promoted over another that holds more.
  const toCome = silentCandidates(state, group, phase, view);
  if (isPatient && mayLose && cause.kind !== 'planned' && toCome.length > 0) return undefined;
  if (awaitedOfSite(state, group, phase, patientMs, view).length > 0) return undefined;
  const [best] = eligible.sort(
    (a, b) =>
      (mayLose ? comparePositions(b, a) : 0) ||
      isBarred(a) - isBarred(b) ||
      isLast(a) - isLast(b) ||
      comparePositions(b, a) ||
      comparePreference(state, group, phase, a, b) ||
      (a.node < b.node ? -1 : 1),
  );
  // One that was not to be promoted: another standby that is to be, and can still report, is waited for.
  const isToWait = isPatient && best !== undefined && isBarred(best) === 1;
  const isBetter = (node: NodeState): boolean =>
    node.node !== phase.primary && !isLastChoice(state, group, node);
  return isToWait && toCome.some(isBetter) ? undefined : best;
}

/**
 * Who is to be promoted if it can. The old primary of a switchover whose target failed is not, where that target is known to hold more: no
 * rule says what it has taken under its lease, only its report does.
 */
function wishOf(group: GroupState, phase: Fencing, former: CutReport | undefined): NodeId | undefined {
  const { cause, reinstate } = phase;
  if (cause.kind === 'planned' || cause.kind === 'forced') return cause.to;
  const old = phase.reports.find((report) => report.node === reinstate);
  const isPassed = old !== undefined && former !== undefined && comparePositions(former, old) > 0;
  return group.rule.leased === true && isPassed ? undefined : reinstate;
}

/** One that does not run, or was heard until just now, is waited for longer than others: it is being started, or its agent is busy. */
const RESTART_WAIT_MS = 10_000;

/**
 * Of a group that has followed another site: whom a promotion waits for. At first (`targetTimeoutMs`) for every node that has data, whatever it is
 * about: its agent may be stopping and starting PostgreSQL to say where it stands. Then, a little longer, for one that does not run or was heard until
 * just now, unless its last word is that it holds no more. And as long as it takes for those that run and say so: {@link awaitedForMore}.
 */
function awaitedOfSite(
  state: ClusterState,
  group: GroupState,
  phase: Fencing,
  elapsedMs: number,
  view: View,
): readonly NodeId[] {
  if (phase.cause.kind !== 'followed') return [];
  const { targetTimeoutMs } = view.settings;
  const { to } = phase.cause;
  const eligible = eligibleReports(state, group, phase);
  const isToCome = ({ node }: NodeState): boolean => {
    // What the others hold does not matter: a person has named that node.
    if (to !== undefined) return node === to;
    if (elapsedMs < targetTimeoutMs) return true;
    const entry = view.reports.get(node);
    if (entry === undefined || elapsedMs >= RESTART_WAIT_MS) return false;
    const { condition, strange } = entry.report;
    if (canBeCut(view, node) || condition === 'absent' || condition === 'cloning') return false;
    const isRecent = view.nowMs - entry.receivedAtMs < RESTART_WAIT_MS;
    return isRecent && strange === undefined && isPerhapsAhead(entry.report, eligible) !== false;
  };
  const soon = unheardMembers(state, group, phase).filter(isToCome);
  return [...soon.map(({ node }) => node), ...awaitedForMore(state, group, phase, view)];
}

const eligibleReports = (state: ClusterState, group: GroupState, phase: Fencing): readonly CutReport[] =>
  phase.reports.filter((report) => candidateRefusal(state, group, phase, report) === undefined);

/** Whether its last word is that it holds more than all of those; undefined where it has said nothing of that. A standby may say an earlier timeline than it is on: then more bytes are enough. */
function isPerhapsAhead(
  { timeline: on, position }: Pick<AgentReport, 'timeline' | 'position'>,
  eligible: readonly CutReport[],
): boolean | undefined {
  if (on === undefined || position === undefined) return undefined;
  return eligible.every(
    (report) => position > report.position || comparePositions({ timeline: on, position }, report) > 0,
  );
}

/** Those that have data, have not reported of it, and are not kept from it by a person. */
function unheardMembers(state: ClusterState, group: GroupState, phase: Fencing): readonly NodeState[] {
  const silent = silentNodes(state, group, heardReports(phase));
  return nodesOfGroup(state, group.id).filter(
    ({ node, member }) =>
      member !== undefined && silent.includes(node) && asideReason(group, node) === undefined,
  );
}

/**
 * Of a group that has followed another site: those that replay what they have received, which may take long, and hold more than all that have
 * reported. Nothing else holds it. Only their own last word says so, which is no ground for a promise, but enough to wait: until they report, are
 * heard no longer, or a person fences them.
 */
export function awaitedForMore(
  state: ClusterState,
  group: GroupState,
  phase: Fencing,
  view: View,
): readonly NodeId[] {
  if (phase.cause.kind !== 'followed' || phase.cause.to !== undefined) return [];
  const eligible = eligibleReports(state, group, phase);
  const isAhead = (node: NodeState): boolean => {
    const report = freshReport(view, node.node);
    if (report === undefined || report.strange !== undefined) return false;
    // It starts, to tell.
    return isPerhapsAhead(report, eligible) ?? mayBePromoted(state, group, node);
  };
  // Also one that may not be promoted: what it alone holds is fetched from it.
  return unheardMembers(state, group, phase)
    .filter((node) => canBeCut(view, node.node) && isAhead(node))
    .map(({ node }) => node);
}

/** Those that could be promoted and can still report where they stand. */
function silentCandidates(
  state: ClusterState,
  group: GroupState,
  phase: Fencing,
  view: View,
): readonly NodeState[] {
  const silent = silentNodes(state, group, heardReports(phase));
  return nodesOfGroup(state, group.id).filter(
    (node) =>
      silent.includes(node.node) &&
      asideReason(group, node.node) === undefined &&
      mayBePromoted(state, group, node) &&
      canBeCut(view, node.node),
  );
}

/** The promotion would begin with fewer acknowledgements than are wanted, and somebody may yet report. */
export function hasFollowersToCome(
  state: ClusterState,
  group: GroupState,
  phase: Fencing,
  candidate: CutReport,
  view: View,
): boolean {
  const { rule } = promotion(state, group, phase, candidate);
  if (rule.leased === true || Math.min(rule.acks, rule.members.length) >= group.settings.acks) return false;
  return nodesOfGroup(state, group.id).some(
    ({ node, member }) =>
      member !== undefined &&
      node !== phase.primary &&
      asideReason(group, node) === undefined &&
      syncBar(state, group, node) === undefined &&
      !heardReports(phase).some((report) => report.node === node) &&
      canBeCut(view, node),
  );
}

export function promotion(
  state: ClusterState,
  group: GroupState,
  phase: Fencing,
  candidate: CutReport,
): Extract<Command, { readonly kind: 'promote' }> {
  const members = firstMembers(state, group, phase, candidate);
  return {
    kind: 'promote',
    group: group.id,
    epoch: group.epoch,
    candidate: candidate.node,
    timeline: nextTimeline(group),
    rule: wantedRule(group, members, []),
  };
}

/** Numbers that are left out when a group opens that has followed another site: at least so many, and less than twice as many more. */
const SITE_GAP = 16;

/**
 * Above every timeline known. As long as none was opened here, the log does not know how many the other site has opened meanwhile, and what a site leader has received that cannot
 * be heard: the same number would be taken for the same history. So some are left out, and not always as many, for two sites that follow the
 * same one may both be promoted where it ended. Each costs a small file.
 */
function nextTimeline(group: GroupState): Timeline {
  const { highestTimeline, epoch } = group;
  const gap = isUnopened(group) ? SITE_GAP + (epoch % (2 * SITE_GAP)) : 0;
  return timeline(highestTimeline + 1 + gap);
}
