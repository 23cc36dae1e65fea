// What the other nodes of a group run with, of the parameters that must not be lower on a standby: a primary is raised after them only.
// Pure.
import type { GroupId, NodeId } from '../base/ids.ts';
import type { AgentReport } from '../cluster/report.ts';
import { type ClusterState, nodesOfGroup } from '../cluster/state.ts';
import type { Limits } from '../postgres/effective-parameters.ts';

const UNKNOWN: Limits = new Map();

/**
 * One entry for each node that may have to go on from this one's WAL: empty where nobody knows what it runs with. One that is stopped is
 * started with what is wanted; one whose agent is silent counts where commits wait for it.
 */
export function standbyLimits(
  state: ClusterState,
  self: NodeId,
  freshReport: (node: NodeId) => AgentReport | undefined,
): readonly Limits[] {
  const own = state.nodes.get(self);
  const group = own === undefined ? undefined : state.groups.get(own.group);
  if (group === undefined) return [UNKNOWN];
  const counted = [...group.rule.members, ...(group.next?.rule.members ?? [])];
  const limits: Limits[] = [];
  for (const { node, member } of nodesOfGroup(state, group.id)) {
    if (node === self) continue;
    const report = freshReport(node);
    if (report === undefined) {
      if (member !== undefined && counted.includes(member)) limits.push(UNKNOWN);
      continue;
    }
    if (report.condition === 'absent' || report.condition === 'stopped' || report.condition === 'cloning')
      continue;
    limits.push(report.parameters?.limits ?? UNKNOWN);
  }
  return limits;
}

/** Parameters for which the group's primary waits to be restarted; none where that is not known. */
export function primaryPending(
  state: ClusterState,
  group: GroupId,
  freshReport: (node: NodeId) => AgentReport | undefined,
): readonly string[] {
  const primary = state.groups.get(group)?.phase.primary;
  const report = primary === undefined ? undefined : freshReport(primary);
  return report?.parameters?.pendingRestart ?? [];
}
