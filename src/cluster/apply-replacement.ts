// A group goes on with another database, under its name and with its settings: after pg_upgrade the system identifier is another one. Must never
// leave two nodes that could take writes, nor anybody who counts for commits by what it holds of the database before. Why it is done in this
// way: docs/decisions/0020-major-upgrades.md.
import { type LogIndex, epoch as toEpoch } from '../base/ids.ts';
import { type Applied, type CommandOf, groupAt, isRefused, refuse, withGroup, withNode } from './applied.ts';
import { ALONE } from './apply-nodes.ts';
import { REPLACEMENT_FEATURE_LEVEL } from './features.ts';
import { type ClusterState, type GroupState, nodesOfGroup } from './state.ts';

/**
 * The group begins anew, at a new epoch, with its present primary as the first one. No other node is a member any more, and none can be
 * registered with the data directory of the database before, so that nobody but this node can be promoted before it has been cloned from it.
 */
export function applyReplaceDatabase(
  state: ClusterState,
  index: LogIndex,
  command: CommandOf<'replace-database'>,
): Applied {
  const group = groupAt(state, command.group, command.epoch);
  if (isRefused(group)) return group;
  const obstacle = replacementObstacle(state, group, command);
  if (obstacle !== undefined) return refuse(obstacle);
  const { primary, to } = command;
  let next = state;
  for (const node of nodesOfGroup(state, group.id)) {
    const systemIdentifier = node.node === primary ? to : undefined;
    next = withNode(next, node.node, { ...node, member: undefined, systemIdentifier, subjectiveDown: [] });
  }
  return withGroup(next, {
    ...group,
    epoch: toEpoch(index),
    phase: { kind: 'creating', primary },
    systemIdentifier: to,
    rule: ALONE,
    next: undefined,
    floor: undefined,
    // Kept is the highest timeline: of the database before, which may be the group's again, a number is never given twice.
    branches: [],
    absent: [],
    cascades: [],
    restarts: [],
    scheduled: undefined,
    paused: undefined,
    restore: undefined,
  });
}

/** Why the database of the group cannot be replaced now; undefined where it can. */
export function replacementObstacle(
  state: ClusterState,
  group: GroupState,
  { primary, from, to }: Pick<CommandOf<'replace-database'>, 'primary' | 'from' | 'to'>,
): string | undefined {
  if (state.featureLevel < REPLACEMENT_FEATURE_LEVEL)
    return 'not every peer understands this yet: upgrade all of them first';
  const { phase, systemIdentifier, settings } = group;
  if (systemIdentifier === undefined) return `group ${group.id} has no database yet`;
  if (systemIdentifier !== from)
    return `the database of group ${group.id} has system identifier ${systemIdentifier}, not ${from}`;
  if (from === to) return `group ${group.id} has that database already (system identifier ${to})`;
  if (phase.primary !== primary)
    return `${phase.primary} is the primary of group ${group.id}: its data directory is the one that counts, not that of ${primary}`;
  if (phase.kind !== 'running' && phase.kind !== 'creating')
    return `group ${group.id} is ${phase.kind}; wait until it is running`;
  if (group.toAdopt.length > 0)
    return `group ${group.id} is being adopted: sentinelctl failover ${group.id} ends that, first`;
  // While it begins nobody takes over by himself.
  if (phase.kind === 'running' && group.paused === undefined)
    return `group ${group.id} is not paused, so that a standby with the present database could take over meanwhile: sentinelctl pause ${group.id}, first`;
  if (settings.durability !== 'quorum')
    return `the durability of group ${group.id} is ${settings.durability}, and its primary is alone at first: sentinelctl settings set ${group.id} durability=quorum, first`;
  return undefined;
}
