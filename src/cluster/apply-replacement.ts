// A group goes on with another database, under its name and with its settings: after pg_upgrade the system identifier is another one. Must never
// leave two nodes that could take writes, nor anybody who counts for commits by what it holds of the database before. Why it is done in this
// way: docs/decisions/0020-major-upgrades.md.
import { type LogIndex, type NodeId, epoch as toEpoch } from '../base/ids.ts';
import { type Applied, type CommandOf, groupAt, isRefused, refuse, withGroup, withNode } from './applied.ts';
import { ALONE } from './apply-nodes.ts';
import { doubtfulNodes, silentNodes } from './candidate.ts';
import { REPLACEMENT_FEATURE_LEVEL } from './features.ts';
import { ALL_HERE, heardReports } from './site-history.ts';
import {
  type ClusterState,
  type GroupState,
  type LogicalSlot,
  hasUnknownRule,
  nodesOfGroup,
} from './state.ts';

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
    // A log that was recovered may have lost the end of it.
    toAdopt: [],
    cascades: [],
    restarts: [],
    scheduled: undefined,
    paused: undefined,
    // The primary would be left alone where it has to begin. What others are spared for goes on to hold.
    pausedNodes: group.pausedNodes.filter(({ node }) => node !== primary),
    // Of the database before, which may be the group's again: what was restored to it is told from strangers by that.
    restore: group.restore?.reached === undefined ? undefined : group.restore,
    logicalSlots: group.logicalSlots.map((slot) => leftBehind(slot, index)),
    // No timeline is the other site's any more: the new database has its own ones, of the same numbers.
    ...(group.site === undefined ? {} : { site: ALL_HERE }),
  });
}

/**
 * The new database does not have it, or as pg_upgrade has made it. Under a new index what its agent knows of it counts no more, also where the
 * command leads back to the database before: its consumer has gone on meanwhile.
 */
function leftBehind(slot: LogicalSlot, index: LogIndex): LogicalSlot {
  if (slot.standing !== 'made' && slot.standing !== 'lost') return slot;
  const reason = slot.standing === 'lost' ? slot.reason : LEFT_BEHIND;
  return { ...slot, setAt: index, standing: 'lost', isOurs: false, reason };
}

const LEFT_BEHIND = 'the group goes on with another database since';

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
  const refusal = hasUnknownRule(group)
    ? recoveredRefusal(state, group, primary)
    : phaseRefusal(group, primary);
  if (refusal !== undefined) return refusal;
  if (settings.durability !== 'quorum')
    return `the durability of group ${group.id} is ${settings.durability}, and its primary is alone at first: sentinelctl settings set ${group.id} durability=quorum, first`;
  if (group.rule.leased === true || group.next?.rule.leased === true)
    return `the change of group ${group.id} to durability quorum is not over: it has to end first, with ${phase.primary} up and the present database`;
  return undefined;
}

function phaseRefusal(group: GroupState, primary: NodeId): string | undefined {
  const { phase } = group;
  if (phase.kind === 'following')
    return `group ${group.id} follows another site, and has the database that is there: replace that one there and set this site up anew, or make a primary here first, sentinelctl site promote ${group.id}`;
  if (phase.primary !== primary)
    return `${phase.primary} is the primary of group ${group.id}: its data directory is the one that counts, not that of ${primary}`;
  if (phase.kind !== 'running' && phase.kind !== 'creating')
    return `group ${group.id} is ${phase.kind}; wait until it is running`;
  if (group.toAdopt.length > 0)
    return `group ${group.id} is being adopted: sentinelctl failover ${group.id} ends that, first`;
  // While it begins nobody takes over by himself.
  if (phase.kind === 'running' && group.paused === undefined)
    return `group ${group.id} is not paused, so that a standby with the present database could take over meanwhile: sentinelctl pause ${group.id}, first`;
  return undefined;
}

/**
 * The log may have lost that the group goes on with another database, and which node was its primary: a person says so. Nobody else may still take
 * writes: whoever has reported is cut off, and the others are given up.
 */
function recoveredRefusal(state: ClusterState, group: GroupState, primary: NodeId): string | undefined {
  const { phase } = group;
  const reports = phase.kind === 'fencing' ? heardReports(phase) : [];
  const silent = [...silentNodes(state, group, reports), ...doubtfulNodes(state, group)].filter(
    (node) => node !== primary,
  );
  return silent.length === 0
    ? undefined
    : `group ${group.id} was recovered, and ${silent.join(', ')} did not report: sentinelctl node unregister NODE --accept-data-loss, first, for each, and sentinelctl node register NODE afterwards`;
}
