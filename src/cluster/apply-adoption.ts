// Groups made of servers that run already: their creation, and the end of each node's adoption. Why the primary stays unprotected until it
// was restarted or switched over: docs/decisions/0013-adopting.md.
import type { LogIndex } from '../base/ids.ts';
import { type Applied, type CommandOf, groupAt, isRefused, refuse, withGroup } from './applied.ts';
import { newGroup } from './apply-nodes.ts';
import { ADOPTION_FEATURE_LEVEL } from './features.ts';
import { type ClusterState, nodesOfGroup } from './state.ts';

/** The group runs at once. Every node that has data is either the primary or one of its standbys, with the same database. */
export function applyAdoptGroup(
  state: ClusterState,
  index: LogIndex,
  command: CommandOf<'adopt-group'>,
): Applied {
  const { group: id, primary, systemIdentifier, standbys } = command;
  if (state.featureLevel < ADOPTION_FEATURE_LEVEL)
    return refuse('not every peer understands this yet: upgrade all of them first');
  if (state.groups.has(id)) return refuse(`group ${id} exists`);
  const nodes = nodesOfGroup(state, id);
  const named = new Set([primary, ...standbys]);
  if (named.size !== standbys.length + 1) return refuse(`a node of group ${id} is named twice`);
  for (const name of named) {
    const node = nodes.find((each) => each.node === name);
    if (node === undefined) return refuse(`node ${name} is not registered in group ${id}`);
    if (node.systemIdentifier === undefined) return refuse(`${name} has no data directory`);
  }
  for (const node of nodes) {
    if (node.options?.source !== undefined)
      return refuse(`${node.node} is to follow another site (node.follow), which an adopted group does not`);
    if (node.systemIdentifier === undefined) continue;
    if (node.systemIdentifier !== systemIdentifier)
      return refuse(
        `the data directory of ${node.node} has system identifier ${node.systemIdentifier}, that of ${primary} ${systemIdentifier}: it holds another database`,
      );
    if (!named.has(node.node)) return refuse(`${node.node} has data, and is no standby of ${primary}`);
  }
  return withGroup(state, {
    ...newGroup(id, index, { kind: 'running', primary, timeline: command.timeline }),
    highestTimeline: command.timeline,
    systemIdentifier,
    toAdopt: [...standbys, primary],
  });
}

export function applyNodeAdopted(state: ClusterState, command: CommandOf<'node-adopted'>): Applied {
  const group = groupAt(state, command.group, command.epoch);
  if (isRefused(group)) return group;
  if (!group.toAdopt.includes(command.node)) return refuse(`${command.node} is not being adopted`);
  if (state.nodes.get(command.node)?.member === undefined)
    return refuse(`the data directory of ${command.node} has no member id yet`);
  return withGroup(state, { ...group, toAdopt: group.toAdopt.filter((node) => node !== command.node) });
}
