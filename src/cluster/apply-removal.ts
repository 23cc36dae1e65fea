// Taking a node out of its group, and letting it in again. What is removed stays known by its name, or its agent, which still has it in
// its configuration, would register it again the next moment. Must never take out who is, was or may have to be the primary, nor a
// member that an acknowledged commit may rest on.
import type { NodeId } from '../base/ids.ts';
import { type Applied, type CommandOf, refuse, withEntry, withGroup } from './applied.ts';
import { withoutCascades } from './apply-cascade.ts';
import { isCounted as isMemberCounted, withoutMembers } from './apply-slots.ts';
import type { Leaving } from './commands.ts';
import { mayBeNeeded } from './eligibility.ts';
import { REMOVAL_FEATURE_LEVEL } from './features.ts';
import {
  type ClusterState,
  type GroupState,
  type NodeState,
  doubtfulSiteText,
  hasUnknownRule,
  isDoubtfulSite,
  primaryWord,
} from './state.ts';

/** In the order of what they do to the node: a later one may be asked for after an earlier one. */
const LEAVINGS: readonly Leaving[] = ['leave', 'stop', 'destroy'];

export function applyRemoveNode(state: ClusterState, command: CommandOf<'remove-node'>): Applied {
  if (state.featureLevel < REMOVAL_FEATURE_LEVEL)
    return refuse('not every peer understands this yet: upgrade all of them first');
  const { node: id, leaving } = command;
  const earlier = state.removed.get(id);
  if (earlier !== undefined) {
    if (earlier.group !== command.group) return refuse(`${id} was a node of group ${earlier.group}`);
    if (earlier.isDoubtful && command.acceptsLoss !== true) return refuse(doubtText(id));
    if (!earlier.isDoubtful && LEAVINGS.indexOf(leaving) <= LEAVINGS.indexOf(earlier.leaving))
      return refuse(`${id} is removed already`);
    return { ...state, removed: withEntry(state.removed, id, { ...earlier, leaving, isDoubtful: false }) };
  }
  const node = state.nodes.get(id);
  if (node === undefined || node.group !== command.group)
    return refuse(`there is no node ${id} in group ${command.group}`);
  const group = state.groups.get(node.group);
  const obstacle = group && removalObstacle(group, node, command.acceptsLoss);
  if (obstacle !== undefined) return refuse(obstacle);
  const { peer, member } = node;
  const removed = { node: id, group: node.group, peer, member, leaving, isDoubtful: false };
  const next: ClusterState = {
    ...state,
    nodes: without(state.nodes, id),
    removed: withEntry(state.removed, id, removed),
  };
  return group === undefined ? next : withGroup(next, forgetting(group, node));
}

export function applyReadmitNode(state: ClusterState, { group, node }: CommandOf<'readmit-node'>): Applied {
  if (state.removed.get(node)?.group !== group)
    return refuse(`no node ${node} was removed from group ${group}`);
  return { ...state, removed: without(state.removed, node) };
}

export const doubtText = (id: NodeId): string =>
  `the log was recovered since ${id} was removed, and it may have been let in again: sentinelctl node register ${id} has it report; --accept-data-loss gives up what it alone may hold`;

/** Why the node cannot leave its group now; undefined where it can. `acceptsLoss`: a person gives up what it alone may hold. */
export function removalObstacle(
  group: GroupState,
  node: NodeState,
  acceptsLoss?: boolean,
): string | undefined {
  const { phase } = group;
  if (phase.kind === 'fencing' && hasUnknownRule(group)) {
    if (phase.reports.some((report) => report.node === node.node))
      return `${node.node} has reported to group ${group.id}, which was recovered; wait until it is running`;
    // Whoever was the primary is not known, and one that never comes back would be waited for for ever.
    if (acceptsLoss === true) return undefined;
    return `group ${group.id} was recovered, and waits for ${node.node} to report; if it never will, --accept-data-loss gives up what it alone may hold`;
  }
  // Any of them may hold what was acknowledged, and a promotion waits for all.
  if (isDoubtfulSite(group))
    return acceptsLoss === true
      ? undefined
      : `${doubtfulSiteText(group.id)}; if ${node.node} is lost for good, --accept-data-loss gives up what it alone may hold`;
  if (phase.primary === node.node)
    return `${node.node} is ${primaryWord(group).name}: ${primaryWord(group).remedy}`;
  // Its report may be needed, or it may be the one to be promoted.
  if (phase.kind !== 'running' && phase.kind !== 'creating' && phase.kind !== 'following')
    return `group ${group.id} is ${phase.kind}; wait until it is running`;
  if (group.scheduled?.to === node.node)
    return `a switchover to ${node.node} is scheduled: sentinelctl failover ${group.id} --at never calls it off`;
  if (isCounted(group, node)) return `${node.node} is in the sync rule of group ${group.id}`;
  if (node.member !== undefined && mayBeNeeded(group, node.member))
    return `what ${node.node} holds may still be needed: the standbys of ${phase.primary}, the new primary of group ${group.id}, do not hold its switch point yet; try again in a moment`;
  return undefined;
}

/** Whether commits may have been acknowledged because this node's present data directory holds them. */
export function isCounted(group: GroupState, { member }: Pick<NodeState, 'member'>): boolean {
  return member !== undefined && isMemberCounted(group, member);
}

const forgetting = (group: GroupState, { node, member }: NodeState): GroupState => ({
  ...group,
  fenced: group.fenced.filter((other) => other !== node),
  pausedNodes: group.pausedNodes.filter((pause) => pause.node !== node),
  toAdopt: group.toAdopt.filter((other) => other !== node),
  cascades: withoutCascades(group.cascades, node),
  restarts: group.restarts.filter((restart) => restart.node !== node),
  absent: member === undefined ? group.absent : withoutMembers(group.absent, [member]),
});

function without<V>(map: ReadonlyMap<NodeId, V>, key: NodeId): ReadonlyMap<NodeId, V> {
  return new Map([...map].filter(([other]) => other !== key));
}
