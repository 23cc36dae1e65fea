// Cascading standbys: which of them stream from another standby at present, and which from the primary. The leader says so, by what it
// sees; a promotion has everybody follow the new primary. Must never lead to a loop, nor away from the primary a member that commits wait for.
import type { NodeId } from '../base/ids.ts';
import { type Applied, type CommandOf, groupAt, isRefused, refuse, withGroup } from './applied.ts';
import { isCounted } from './apply-slots.ts';
import { CASCADE_FEATURE_LEVEL } from './features.ts';
import {
  type CascadeState,
  type ClusterState,
  type GroupState,
  type NodeState,
  asideReason,
} from './state.ts';

/** Further losses change nothing any more. */
const LOST_COUNT_MAX = 8;

export function applyUseUpstream(state: ClusterState, command: CommandOf<'use-upstream'>): Applied {
  if (state.featureLevel < CASCADE_FEATURE_LEVEL)
    return refuse('not every peer understands this yet: upgrade all of them first');
  const group = groupAt(state, command.group, command.epoch);
  if (isRefused(group)) return group;
  if (group.phase.kind !== 'running') return refuse(`group ${group.id} is ${group.phase.kind}, not running`);
  const { node: id, upstream } = command;
  const node = state.nodes.get(id);
  if (node === undefined || node.group !== group.id)
    return refuse(`there is no node ${id} in group ${group.id}`);
  const present = cascadeOf(group, id);
  if (present?.upstream === upstream)
    return refuse(`${id} streams from ${upstream ?? 'the primary'} already`);
  const refusal = upstream === undefined ? undefined : useRefusal(state, group, node, upstream);
  if (refusal !== undefined) return refuse(refusal);
  const lostCount = Math.min((present?.lostCount ?? 0) + Number(upstream === undefined), LOST_COUNT_MAX);
  return withGroup(state, { ...group, cascades: withCascade(group, { node: id, upstream, lostCount }) });
}

function useRefusal(
  state: ClusterState,
  group: GroupState,
  { node: id, member, options }: NodeState,
  upstream: NodeId,
): string | undefined {
  if (options?.upstream !== upstream) return `${upstream} is not the upstream of ${id} by its configuration`;
  if (id === group.phase.primary) return `${id} is the primary of group ${group.id}`;
  if (member !== undefined && isCounted(group, member)) {
    // mark: cascade-of-counted-member
    return `${id} is in the sync rule of group ${group.id}: it streams from the primary`;
  }
  const obstacle = upstreamObstacle(state, group, upstream);
  if (obstacle !== undefined) return obstacle;
  for (let at: NodeId | undefined = upstream; at !== undefined; at = cascadeOf(group, at)?.upstream)
    if (at === id) return `${upstream} streams from ${id}`;
  // mark: cascade-begun
  return undefined;
}

/** Why nobody can stream from that node as a standby, by what the log says. */
function upstreamObstacle(state: ClusterState, group: GroupState, upstream: NodeId): string | undefined {
  const source = state.nodes.get(upstream);
  if (source === undefined || source.group !== group.id)
    return `there is no node ${upstream} in group ${group.id}`;
  if (upstream === group.phase.primary) return `${upstream} is the primary of group ${group.id}`;
  if (source.member === undefined) return `${upstream} has no data yet`;
  const aside = asideReason(group, upstream);
  return aside === undefined ? undefined : `${upstream} is ${aside}`;
}

export function cascadeOf(
  { cascades }: Pick<GroupState, 'cascades'>,
  node: NodeId,
): CascadeState | undefined {
  return cascades.find((each) => each.node === node);
}

/** The standby that the node streams from at present; undefined where that is the primary. */
export function upstreamOf(state: ClusterState, group: GroupState, node: NodeId): NodeState | undefined {
  const upstream = cascadeOf(group, node)?.upstream;
  if (upstream === undefined || upstreamObstacle(state, group, upstream) !== undefined) return undefined;
  return state.nodes.get(upstream);
}

function withCascade({ cascades }: GroupState, cascade: CascadeState): readonly CascadeState[] {
  const others = cascades.filter(({ node }) => node !== cascade.node);
  return [...others, cascade].sort((a, b) => (a.node < b.node ? -1 : 1));
}

/** The node has left, or its owners have given it another upstream: nobody streams from it, and nothing is known of it. */
export function withoutCascades(cascades: readonly CascadeState[], gone: NodeId): readonly CascadeState[] {
  const isLeft = ({ node, upstream }: CascadeState): boolean => node !== gone && upstream !== gone;
  return cascades.every(isLeft) ? cascades : cascades.filter(isLeft);
}

/** Whether the upstream that a node names leads back to it. */
export function loopRefusal(state: ClusterState, id: NodeId, upstream: NodeId): string | undefined {
  const path: NodeId[] = [id];
  for (let at: NodeId | undefined = upstream; at !== undefined; at = state.nodes.get(at)?.options?.upstream) {
    path.push(at);
    if (at === id) return `the upstream of ${id} leads back to it: ${path.join(' -> ')}`;
    // Of others, from before their names were taken: no business of this node.
    if (path.length > state.nodes.size + 2) return undefined;
  }
  return undefined;
}
