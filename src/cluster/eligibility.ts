// Which nodes may be promoted and which may be counted for commits, by what their owners have said of them: options of nodes, sites of
// peers, settings of the group. Pure. What lasts for a while only (fenced, paused) is asideReason's.
//
// Invariant: a node that may not be promoted comes into no sync rule. So whatever a rule acknowledges is on nodes of which each may take over,
// and a node that may not be promoted is passed over, however far it is, unless a rule of before still counts it (see candidate.ts).
import type { NodeId, PeerId } from '../base/ids.ts';
import type { Failback, GroupSettings, NodeOptions } from './commands.ts';
import { type ClusterState, type GroupState, type NodeState, isUnprotected, nodesOfGroup } from './state.ts';

export const NO_OPTIONS: NodeOptions = { noFailover: false, noSync: false, applyDelayMs: 0 };

export const hasOptions = ({ noFailover, noSync, applyDelayMs }: NodeOptions): boolean =>
  noFailover || noSync || applyDelayMs > 0;

/**
 * Why the node is not promoted unless a person forces it by its name; undefined where it may be. Whoever is or was to be the primary may be
 * so again: that is no failover to it.
 */
export function promotionBar(state: ClusterState, group: GroupState, node: NodeId): string | undefined {
  const { phase } = group;
  if (phase.primary === node) return undefined;
  if (phase.kind === 'fencing' && phase.reinstate === node) return undefined;
  return bar(state, group, node);
}

/** Why no sync rule counts the node, although it may stream; undefined where one may. */
export function syncBar(state: ClusterState, group: GroupState, node: NodeId): string | undefined {
  if (state.nodes.get(node)?.options?.noSync === true) return 'never counted for commits (no_sync)';
  return bar(state, group, node);
}

/** The standbys that a sync rule may count, whether they are well or not. */
export function countableStandbys(state: ClusterState, group: GroupState): readonly NodeState[] {
  return nodesOfGroup(state, group.id).filter(
    ({ node }) => node !== group.phase.primary && syncBar(state, group, node) === undefined,
  );
}

function bar(state: ClusterState, group: GroupState, id: NodeId): string | undefined {
  const node = state.nodes.get(id);
  if (node === undefined) return undefined;
  const { noFailover, applyDelayMs } = node.options ?? NO_OPTIONS;
  if (noFailover) return 'never promoted (no_failover, or priority 0)';
  if (applyDelayMs > 0) return `a delayed replica (apply_delay ${applyDelayMs} ms), which is never promoted`;
  return siteBar(state, group.settings, node);
}

function siteBar(state: ClusterState, { sitePolicy }: GroupSettings, node: NodeState): string | undefined {
  if (sitePolicy !== 'majority') return undefined;
  const [site, main] = [siteOf(state, node.peer), majoritySite(state)];
  if (site === undefined || main === undefined || site === main) return undefined;
  return `in site ${site}, and most voters are in ${main} (site_policy majority)`;
}

function siteOf(state: ClusterState, peer: PeerId): string | undefined {
  return state.peers.get(peer)?.site;
}

export function siteOfNode(state: ClusterState, node: NodeId): string | undefined {
  const peer = state.nodes.get(node)?.peer;
  return peer === undefined ? undefined : siteOf(state, peer);
}

/** The one site that holds more than half of the voters, where there is one. */
export function majoritySite(state: ClusterState): string | undefined {
  const { voters } = state.membership;
  const counts = new Map<string, number>();
  for (const voter of voters) {
    const site = siteOf(state, voter);
    if (site !== undefined) counts.set(site, (counts.get(site) ?? 0) + 1);
  }
  for (const [site, count] of counts) if (2 * count > voters.length) return site;
  return undefined;
}

/** After a failback, whatever became of it, no other one begins for so long. */
export const FAILBACK_PAUSE_MS = 3_600_000;

/** Whether the node is one that the group should be led by. */
export function isPreferred(state: ClusterState, failback: Failback, node: NodeId): boolean {
  const { kind, name } = parsedFailback(failback);
  if (kind === 'node') return node === name;
  return kind === 'site' && siteOfNode(state, node) === name;
}

export function parsedFailback(failback: Failback): { readonly kind: string; readonly name: string } {
  const [kind = 'off', name = ''] = failback.split(':');
  return { kind, name };
}

/** Why no failback from the present primary may begin at `atMs` (wall time), whatever its target. */
export function failbackRefusal(state: ClusterState, group: GroupState, atMs: number): string | undefined {
  const { failback } = group.settings;
  if (failback === 'off') return `group ${group.id} has failback off`;
  if (isUnprotected(group)) return `group ${group.id} is being adopted: it is a person who ends that`;
  if (isPreferred(state, failback, group.phase.primary))
    return `${group.phase.primary}, the primary, is preferred already`;
  if (group.failbackAtMs !== undefined && atMs - group.failbackAtMs < FAILBACK_PAUSE_MS)
    return `the last failback of group ${group.id} is less than ${FAILBACK_PAUSE_MS / 60_000} min ago`;
  return undefined;
}
