// What keeps a group from failing over by itself, or an agent from touching its PostgreSQL, until a person or the time ends it. Takes
// away decisions only: nothing is acknowledged or promoted by it that could not be without.
import type { GroupId, NodeId } from '../base/ids.ts';
import { type Applied, type CommandOf, refuse, withGroup } from './applied.ts';
import { PAUSE_FEATURE_LEVEL } from './features.ts';
import {
  type ClusterState,
  type GroupState,
  type NodePause,
  asideText,
  doubtfulSiteText,
  isDoubtfulSite,
  pauseOf,
  primaryWord,
} from './state.ts';

/** Takes the place of an earlier one of the same group or node. */
export function applyPause(state: ClusterState, command: CommandOf<'pause'>): Applied {
  const group = state.groups.get(command.group);
  if (group === undefined) return refuse(`there is no group ${command.group}`);
  if (state.featureLevel < PAUSE_FEATURE_LEVEL)
    return refuse('not every peer understands this yet: upgrade all of them first');
  const { node, untilMs, isMaintenance } = command;
  if (untilMs !== undefined && !(Number.isSafeInteger(untilMs) && untilMs > 0))
    return refuse(`${untilMs} is no time at which a pause could end`);
  if (node === undefined) {
    if (group.paused !== undefined && group.paused.untilMs === untilMs)
      return refuse(`group ${group.id} is paused already`);
    return withGroup(state, { ...group, paused: { untilMs } });
  }
  const refusal = nodeRefusal(state, group, node, command);
  if (refusal !== undefined) return refuse(refusal);
  const pause: NodePause = { node, isMaintenance, untilMs };
  return withGroup(state, { ...group, pausedNodes: sorted([...without(group, node), pause]) });
}

export function applyEndPause(state: ClusterState, command: CommandOf<'end-pause'>): Applied {
  const group = state.groups.get(command.group);
  if (group === undefined) return refuse(`there is no group ${command.group}`);
  const { node, onlyUntilMs } = command;
  const present = node === undefined ? group.paused : pauseOf(group, node);
  const name = node ?? `group ${group.id}`;
  if (present === undefined) return refuse(`${name} is not paused`);
  if (onlyUntilMs !== undefined && present.untilMs !== onlyUntilMs)
    return refuse(`that pause of ${name} was replaced by another one`);
  if (node === undefined) return withGroup(state, { ...group, paused: undefined });
  return withGroup(state, { ...group, pausedNodes: without(group, node) });
}

function nodeRefusal(
  state: ClusterState,
  group: GroupState,
  node: NodeId,
  { isMaintenance, untilMs }: CommandOf<'pause'>,
): string | undefined {
  if (!isNodeOf(state, group.id, node)) return `there is no node ${node} in group ${group.id}`;
  if (isDoubtfulSite(group)) return doubtfulSiteText(group.id);
  if (isMaintenance && group.phase.primary === node)
    return `${node} is ${primaryWord(group).name}: ${primaryWord(group).remedy}`;
  if (group.fenced.includes(node)) return asideText(group, node);
  const present = pauseOf(group, node);
  if (present !== undefined)
    return present.untilMs === untilMs && present.isMaintenance === isMaintenance
      ? `${node} is ${isMaintenance ? 'in maintenance' : 'paused'} already`
      : undefined;
  // It may be the one that has to be promoted.
  return group.phase.kind === 'running' || group.phase.kind === 'following'
    ? undefined
    : `group ${group.id} is ${group.phase.kind}; wait until it is running`;
}

function isNodeOf(state: ClusterState, group: GroupId, node: NodeId): boolean {
  return state.nodes.get(node)?.group === group;
}

const without = ({ pausedNodes }: GroupState, node: NodeId): NodePause[] =>
  pausedNodes.filter((pause) => pause.node !== node);

const sorted = (pauses: readonly NodePause[]): NodePause[] =>
  [...pauses].sort((a, b) => (a.node < b.node ? -1 : 1));
