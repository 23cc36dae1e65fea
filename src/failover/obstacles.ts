// Why a failover or a switchover could not be completed now: what keeps a leader from beginning one, and what people are told.
// Pure; made of the log and of the agents' reports. Must never be the ground for a promise: apply checks what is proposed.
import type { NodeId } from '../base/ids.ts';
import { lagBytes } from '../base/lsn.ts';
import { doubtfulNodes, silentNodes } from '../cluster/candidate.ts';
import { isLastChoice, promotionBar } from '../cluster/eligibility.ts';
import type { CutReport } from '../cluster/commands.ts';
import { disowned, disownedText } from '../cluster/hosts.ts';
import { reportsSuffice } from '../cluster/quorum.ts';
import { heardReports } from '../cluster/site-history.ts';
import {
  type ClusterState,
  type GroupState,
  type NodeState,
  asideReason,
  asideRemedy,
  asideText,
  hasUnknownRule,
  isUnprotected,
  nodesOfGroup,
} from '../cluster/state.ts';
import { type View, freshReport } from './view.ts';

const NO_STANDBY = 'no standby can be reached';

/** Why a failover from the present primary could not be completed now, or undefined. Also for `status` and people. */
export function failoverObstacle(state: ClusterState, group: GroupState, view: View): string | undefined {
  if (group.phase.kind === 'following') return followingText(group);
  if (group.phase.kind === 'fencing' && hasUnknownRule(group)) {
    const doubtful = doubtfulNodes(state, group);
    const silent = [...silentNodes(state, group, heardReports(group.phase)), ...doubtful];
    if (silent.length === 0) return undefined;
    const remedy = silent
      .map((node) => (doubtful.includes(node) ? DOUBT(node) : recoveryRemedy(state, group, node)))
      .join('');
    return `the log was recovered: all nodes have to report first, and ${silent.join(', ')} did not yet${remedy}`;
  }
  if (isUnprotected(group)) {
    return `it is being adopted: ${group.phase.primary} runs with settings that are not ours, and no standby is sure to hold what it acknowledged`;
  }
  const standbys = ableStandbys(state, group, view);
  if (group.rule.leased === true)
    return standbys.length === 0 ? nobody(state, group, view) : asyncObstacle(group, standbys, view);
  const next = group.next?.rule;
  if (group.rule.acks === 0 || (next?.acks === 0 && next.leased !== true)) {
    return `${group.phase.primary} acknowledged writes alone: no standby is sure to hold them`;
  }
  const reachable = new Set(
    nodesOfGroup(state, group.id)
      .filter((node) => node.node !== group.phase.primary && canBeCut(view, node.node))
      .flatMap((node) => (node.member === undefined ? [] : [node.member])),
  );
  if (reportsSuffice(group.rule, next, reachable)) {
    // A strict rule of more acknowledgements than members needs no report to prove that nothing is acknowledged.
    return standbys.length === 0 ? nobody(state, group, view) : undefined;
  }
  return `too few agents of the sync rule's members can be reached (${reachable.size} of ${group.rule.members.length})`;
}

/** Why nothing of a group that follows another site fails over, and what can be done. */
const followingText = ({ id }: Pick<GroupState, 'id'>): string =>
  `group ${id} follows another site, and nothing in it fails over: sentinelctl site promote ${id} makes a primary here, sentinelctl site lead NODE has another node stream from there`;

const DOUBT = (node: NodeId): string =>
  `; ${node} was removed before, and may have been let in again: sentinelctl node register ${node} has it report, node unregister ${node} --accept-data-loss gives up what it alone may hold`;

function recoveryRemedy(state: ClusterState, group: GroupState, node: NodeId): string {
  const known = state.nodes.get(node);
  const gone = known && disowned(state, known);
  if (gone !== undefined)
    return `; ${disownedText(node, gone)}: put it back, or give up what it alone may hold with sentinelctl node unregister ${node} --accept-data-loss`;
  const aside = asideReason(group, node);
  if (aside === undefined) return '';
  return `; ${asideRemedy(aside, node)}: ${aside === 'fenced' ? 'a node that is kept stopped cannot' : 'its agent leaves it alone'}`;
}

/** Those that could be promoted. */
function ableStandbys(state: ClusterState, group: GroupState, view: View): readonly NodeState[] {
  return nodesOfGroup(state, group.id).filter(
    (node) =>
      node.node !== group.phase.primary &&
      node.member !== undefined &&
      asideReason(group, node.node) === undefined &&
      mayBePromoted(state, group, node) &&
      canBeCut(view, node.node),
  );
}

/** In a failover, if need be as the last choice. */
export function mayBePromoted(state: ClusterState, group: GroupState, node: NodeState): boolean {
  return promotionBar(state, group, node.node) === undefined || isLastChoice(state, group, node);
}

/** Why nobody could be promoted, where all that can be reached may not be. */
function nobody(state: ClusterState, group: GroupState, view: View): string {
  const barred = nodesOfGroup(state, group.id).flatMap(({ node }) => {
    const reason = canBeCut(view, node) ? promotionBar(state, group, node) : undefined;
    return reason === undefined ? [] : [`${node} is ${reason}`];
  });
  return barred.length === 0
    ? NO_STANDBY
    : `no standby that can be reached may be promoted: ${barred.join('; ')}`;
}

/** Of a leased group: one standby will do, unless it is known to lack too much. */
function asyncObstacle(group: GroupState, standbys: readonly NodeState[], view: View): string | undefined {
  const isNear = standbys.some(({ node }) => {
    const report = freshReport(view, node);
    const { timeline, position } = report ?? {};
    if (timeline === undefined || position === undefined) return true;
    return !isTooFarBehind(group, { node, timeline, position }, view);
  });
  return isNear
    ? undefined
    : `every standby lacks more than ${group.settings.maxLagBytes} bytes (max_lag) of what ${group.phase.primary} has written`;
}

/** How much a node that stands there lacks of what its primary was last known to hold; undefined where nobody knows. */
export function knownLossBytes(
  group: GroupState,
  at: Pick<CutReport, 'node' | 'timeline' | 'position'>,
  view: View,
): number | undefined {
  const { phase } = group;
  if (at.node === phase.primary) return 0;
  const reported =
    phase.kind === 'fencing' ? phase.reports.find((report) => report.node === phase.primary) : undefined;
  const primary = reported ?? view.reports.get(phase.primary)?.report;
  if (primary?.position === undefined || primary.timeline !== at.timeline) return undefined;
  return Math.max(0, lagBytes(primary.position, at.position));
}

/** Whether a node of a leased group is known to lack more than may be lost without a person's word. */
export function isTooFarBehind(
  group: GroupState,
  at: Pick<CutReport, 'node' | 'timeline' | 'position'>,
  view: View,
): boolean {
  if (group.rule.leased !== true) return false;
  return (knownLossBytes(group, at, view) ?? 0) > group.settings.maxLagBytes;
}

const LAG_BYTES_MAX = 64 << 20;

/** Why a switchover to the target, or without one to any standby, could not be made now; undefined where it could. */
export function switchoverObstacle(
  state: ClusterState,
  group: GroupState,
  to: NodeId | undefined,
  view: View,
): string | undefined {
  if (group.phase.kind === 'following') return followingText(group);
  if (group.phase.kind !== 'running')
    return `group ${group.id} is ${group.phase.kind}; wait until it is running`;
  if (to === group.phase.primary) return `${to} is the primary already`;
  if (group.next !== undefined)
    return `the sync rule of group ${group.id} is being changed; try again in a moment`;
  const isAdopted = isUnprotected(group);
  const obstacle = isAdopted ? adoptionObstacle(state, group, view) : failoverObstacle(state, group, view);
  if (obstacle !== undefined) return obstacle;
  const primary = freshReport(view, group.phase.primary);
  const node = state.nodes.get(group.phase.primary);
  const gone = node && disowned(state, node);
  if (primary === undefined && gone !== undefined)
    return `${disownedText(group.phase.primary, gone)}, so nobody there hands over: put it back, or stop that PostgreSQL, and the peers fail over by themselves`;
  if (primary === undefined)
    return `the agent of ${group.phase.primary} cannot be reached; where the primary is down, the peers fail over by themselves`;
  if (to === undefined) {
    // In a failover that would be the last choice; here nobody has to be promoted.
    const isTarget = ({ node }: NodeState): boolean => promotionBar(state, group, node) === undefined;
    return ableStandbys(state, group, view).some(isTarget) ? undefined : nobody(state, group, view);
  }
  const target = state.nodes.get(to);
  if (target === undefined || target.group !== group.id) return `there is no node ${to} in group ${group.id}`;
  const aside = asideText(group, to);
  if (aside !== undefined) return aside;
  const barred = promotionBar(state, group, to);
  if (barred !== undefined) return `${to} is ${barred}`;
  const report = freshReport(view, to);
  if (report === undefined) return `the agent of ${to} (peer ${target.peer}) cannot be reached`;
  if (report.streamingFrom === undefined) return `${to} is not streaming (${report.condition})`;
  const isMember = target.member !== undefined && group.rule.members.includes(target.member);
  if (!isMember && group.rule.leased !== true && !isAdopted)
    return `${to} is not in the sync rule of group ${group.id} (it streams, but is not counted yet)`;
  if (primary.position === undefined || report.position === undefined)
    return `how far ${to} is behind is not known yet`;
  const behind = lagBytes(primary.position, report.position);
  return behind > LAG_BYTES_MAX
    ? `${to} is ${Math.round(behind / (1 << 20))} MB behind; wait until it has caught up`
    : undefined;
}

/** Of the switchover that ends an adoption; see apply-failover.ts. */
function adoptionObstacle(state: ClusterState, group: GroupState, view: View): string | undefined {
  const foreign = group.toAdopt.find((node) => node !== group.phase.primary);
  const { primary } = group.phase;
  const open = foreign ?? (state.nodes.get(primary)?.member === undefined ? primary : undefined);
  if (open !== undefined) return `${open} is not taken over yet; see sentinelctl status`;
  const unmade = group.logicalSlots.filter(({ standing }) => standing === 'wanted');
  for (const { name } of unmade) {
    const slot = slotObstacle(name, primary, view);
    if (slot !== undefined) return slot;
  }
  return ableStandbys(state, group, view).length === 0 ? nobody(state, group, view) : undefined;
}

/**
 * Of a logical slot that the log does not know to be there: a new primary would make another one of that name, and the consumer of what the present one
 * may have lack changes without knowing.
 */
function slotObstacle(name: string, primary: NodeId, view: View): string | undefined {
  const known = freshReport(view, primary)?.logicalSlots?.find((each) => each.name === name);
  // One that is there counts once the log says so.
  if (known === undefined || known.isReady)
    return `nobody has looked yet whether ${primary} has the logical slot ${name} already; try again in a moment, see sentinelctl settings get`;
  if (known.isAbsent === true) return undefined;
  return `${primary} has a logical slot ${name} that is not taken for the one of the settings (${known.note ?? 'nobody knows why'}): the new primary would make another one of that name, and whoever reads from this one lack changes without knowing; drop it on ${primary} if nobody needs it, or sentinelctl settings unset logical_slots.${name}, and it stays behind`;
}

/** Its agent answers, and its PostgreSQL is a standby that can report how far it is. */
export function canBeCut(view: View, node: NodeId): boolean {
  const report = freshReport(view, node);
  return report !== undefined && (report.condition === 'standby' || report.condition === 'starting');
}
