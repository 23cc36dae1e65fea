// What a person should know of a group beside its nodes: durability that is less than wanted, a hold after too many failovers, fenced
// nodes, what is scheduled, what a failover waits for. For `status`; nothing is decided by it.
import { formatDuration } from '../base/duration.ts';
import { isKnownOff } from '../cluster/candidate.ts';
import { isLeased } from '../cluster/quorum.ts';
import { type ClusterState, type GroupState, isHeld, nodesOfGroup } from '../cluster/state.ts';
import { SCHEDULE_VALID_MS, leaseWaitMs } from '../failover/decide.ts';

export function* groupNotices(
  options: { readonly state: ClusterState; readonly atMs: number },
  group: GroupState,
): Iterable<string> {
  const text = durabilityNotice(options.state, group);
  if (text !== undefined) yield `group ${group.id}: ${text}`;
  if (isHeld(group))
    yield `group ${group.id} had ${group.recentFailovers.length} failovers within ${formatDuration(group.settings.failoverWindowMs)} and no longer fails over by itself; find out why, then run sentinelctl ack ${group.id}`;
  for (const node of group.fenced) yield `${node} is fenced: sentinelctl unfence ${node} lets it start again`;
  yield* waiting(group);
  if (group.scheduled !== undefined) {
    const { atMs, to } = group.scheduled;
    const target = to === undefined ? '' : ` to ${to}`;
    const at = new Date(atMs).toISOString();
    yield options.atMs < atMs
      ? `group ${group.id}: a switchover${target} is scheduled for ${at} (sentinelctl failover ${group.id} --at never calls it off)`
      : `group ${group.id}: the switchover${target} of ${at} could not begin yet; it is tried until ${new Date(atMs + SCHEDULE_VALID_MS).toISOString()}`;
  }
}

/** Fewer acknowledgements than are wanted, or none. */
function durabilityNotice(state: ClusterState, group: GroupState): string | undefined {
  if (group.phase.kind !== 'running' || nodesOfGroup(state, group.id).length < 2) return undefined;
  const { rule, settings, phase } = group;
  if (rule.leased === true) {
    return settings.durability === 'async'
      ? undefined
      : `durability ${settings.durability} is not in force yet: commits still wait for nobody (async)`;
  }
  if (settings.durability === 'async')
    return group.next === undefined ? 'durability async is not in force yet' : undefined;
  if (rule.acks > rule.members.length)
    return `writes wait: strict durability wants ${rule.acks} standbys, and ${rule.members.length} follow`;
  if (rule.acks === 0)
    return `durability is degraded: commits are on ${phase.primary} alone, and would be lost with it`;
  if (rule.acks < settings.acks)
    return `durability is degraded: commits wait for ${rule.acks} of the ${settings.acks} standbys that are wanted`;
  return undefined;
}

/** Why a failover that has begun does not go on. */
function* waiting(group: GroupState): Iterable<string> {
  const { phase } = group;
  if (phase.kind !== 'fencing' || isKnownOff(phase, phase.primary)) return;
  if (phase.fenceFailed !== undefined)
    yield `group ${group.id}: the fence command could not switch ${phase.primary} off (${phase.fenceFailed}); it is tried again`;
  if (phase.cause.kind === 'forced')
    yield `group ${group.id}: nobody is promoted before ${phase.primary} is known to be stopped, unless its sync rule proves it: by its agent, a fence command, or sentinelctl failover ${group.id} --accept-data-loss --old-primary-is-off`;
  else if (isLeased(group))
    yield `group ${group.id}: the lease of ${phase.primary} is waited for, up to ${formatDuration(leaseWaitMs(group))}`;
}
