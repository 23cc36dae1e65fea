// What people ask of nodes and groups beside settings: to keep a node stopped, to count the failovers anew, to switch over at a given
// time; and their word, or a fence command's, that a node is off.
import type { NodeId } from '../base/ids.ts';
import { type Applied, type CommandOf, groupAt, isRefused, refuse, withGroup } from './applied.ts';
import { SETTINGS_FEATURE_LEVEL } from './features.ts';
import { type ClusterState, type GroupState, hasFollowed, primaryWord } from './state.ts';

/** Its agent stops its PostgreSQL. A primary is switched over first: who is to be primary must not be asked to stop. */
export function applyFenceNode(state: ClusterState, { node }: CommandOf<'fence-node'>): Applied {
  const group = groupOf(state, node);
  if (isRefused(group)) return group;
  if (group.fenced.includes(node)) return refuse(`${node} is fenced already`);
  if (group.phase.kind === 'creating') return refuse(`group ${group.id} is being created`);
  // Of a group that has followed another site it only streamed from there: a person may give up what it holds.
  if (group.phase.primary === node && !hasFollowed(group))
    return refuse(`${node} is ${primaryWord(group).name}: ${primaryWord(group).remedy}`);
  return withGroup(state, { ...group, fenced: [...group.fenced, node].sort() });
}

export function applyUnfenceNode(state: ClusterState, { node }: CommandOf<'unfence-node'>): Applied {
  const group = groupOf(state, node);
  if (isRefused(group)) return group;
  if (!group.fenced.includes(node)) return refuse(`${node} is not fenced`);
  return withGroup(state, { ...group, fenced: group.fenced.filter((other) => other !== node) });
}

export function applyAcknowledgeFailovers(
  state: ClusterState,
  command: CommandOf<'acknowledge-failovers'>,
): Applied {
  const group = understood(state, state.groups.get(command.group), command.group);
  if (isRefused(group)) return group;
  if (group.recentFailovers.length === 0) return refuse(`group ${group.id} has no failover to acknowledge`);
  return withGroup(state, { ...group, recentFailovers: [] });
}

/** Counts for the failover under way only: at the next epoch the node may be on again. */
export function applyNodeOff(state: ClusterState, command: CommandOf<'node-off'>): Applied {
  const group = groupAt(state, command.group, command.epoch);
  if (isRefused(group)) return group;
  const phase = group.phase;
  if (phase.kind !== 'fencing') return refuse(`group ${group.id} is ${phase.kind}, not fencing`);
  const node = state.nodes.get(command.node);
  if (node === undefined || node.group !== group.id)
    return refuse(`there is no node ${command.node} in group ${group.id}`);
  if (phase.off.includes(command.node)) return refuse(`${command.node} is known to be off already`);
  return withGroup(state, { ...group, phase: { ...phase, off: [...phase.off, command.node].sort() } });
}

/** Recorded for people; the same reason once, however often it is tried. */
export function applyFenceFailed(state: ClusterState, command: CommandOf<'fence-failed'>): Applied {
  const group = groupAt(state, command.group, command.epoch);
  if (isRefused(group)) return group;
  const phase = group.phase;
  if (phase.kind !== 'fencing' || phase.primary !== command.node)
    return refuse(`${command.node} is not being fenced off`);
  if (phase.fenceFailed === command.reason) return refuse('that is known already');
  return withGroup(state, { ...group, phase: { ...phase, fenceFailed: command.reason } });
}

export function applyScheduleSwitchover(
  state: ClusterState,
  command: CommandOf<'schedule-switchover'>,
): Applied {
  const group = understood(state, state.groups.get(command.group), command.group);
  if (isRefused(group)) return group;
  const { at, onlyAtMs } = command;
  if (onlyAtMs !== undefined && group.scheduled?.atMs !== onlyAtMs)
    return refuse(`that switchover of group ${group.id} is not scheduled any more`);
  if (at === undefined) {
    if (group.scheduled === undefined) return refuse(`no switchover of group ${group.id} is scheduled`);
    return withGroup(state, { ...group, scheduled: undefined });
  }
  if (at.to !== undefined && state.nodes.get(at.to)?.group !== group.id)
    return refuse(`there is no node ${at.to} in group ${group.id}`);
  return withGroup(state, { ...group, scheduled: at });
}

function groupOf(state: ClusterState, node: NodeId): GroupState | { readonly refused: string } {
  const known = state.nodes.get(node);
  if (known === undefined) return refuse(`there is no node ${node}`);
  return understood(state, state.groups.get(known.group), known.group);
}

function understood(
  state: ClusterState,
  group: GroupState | undefined,
  name: string,
): GroupState | { readonly refused: string } {
  if (group === undefined) return refuse(`there is no group ${name}`);
  if (state.featureLevel < SETTINGS_FEATURE_LEVEL)
    return refuse('not every peer understands this yet: upgrade all of them first');
  return group;
}
