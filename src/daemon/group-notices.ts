// What a person should know of a group beside its nodes: durability that is less than wanted, a hold after too many failovers, fenced
// nodes, what is scheduled, what a failover waits for. For `status`; nothing is decided by it.
import { formatDuration } from '../base/duration.ts';
import type { MemberId } from '../base/ids.ts';
import { absentOf } from '../cluster/apply-slots.ts';
import { isKnownOff } from '../cluster/candidate.ts';
import { countableStandbys, syncBar } from '../cluster/eligibility.ts';
import { isLeased } from '../cluster/quorum.ts';
import {
  type ClusterState,
  type GroupState,
  type Pause,
  isHeld,
  isPaused,
  isReplacingDatabase,
  isUnprotected,
  nodesOfGroup,
} from '../cluster/state.ts';
import { RESTART_VALID_MS } from '../failover/decide-restarts.ts';
import { SCHEDULE_VALID_MS, leaseWaitMs } from '../failover/decide.ts';

export function* groupNotices(
  options: { readonly state: ClusterState; readonly atMs: number },
  group: GroupState,
): Iterable<string> {
  yield* adoption(group);
  yield* uselessFollow(options.state, group);
  if (isReplacingDatabase(group))
    yield `group ${group.id} goes on with another database, which ${group.phase.primary} alone has: writes wait until that runs there, and no other node takes its place`;
  const text = durabilityNotice(options.state, group);
  if (text !== undefined) yield `group ${group.id}: ${text}`;
  const shortage = strictShortage(options.state, group);
  if (shortage !== undefined) yield `group ${group.id}: ${shortage}`;
  if (isHeld(group))
    yield `group ${group.id} had ${group.recentFailovers.length} failovers within ${formatDuration(group.settings.failoverWindowMs)} and no longer fails over by itself; find out why, then run sentinelctl ack ${group.id}`;
  for (const node of group.fenced) yield `${node} is fenced: sentinelctl unfence ${node} lets it start again`;
  yield* pauses(group, options.atMs);
  yield* givenUpSlots(options.state, group);
  yield* waiting(group);
  yield* restarts(group, options.atMs);
  if (group.scheduled !== undefined) {
    const { atMs, to } = group.scheduled;
    const target = to === undefined ? '' : ` to ${to}`;
    const at = new Date(atMs).toISOString();
    if (options.atMs >= atMs && isPaused(group))
      yield `group ${group.id} is paused: the switchover${target} of ${at} waits for sentinelctl resume, until ${new Date(atMs + SCHEDULE_VALID_MS).toISOString()}`;
    else
      yield options.atMs < atMs
        ? `group ${group.id}: a switchover${target} is scheduled for ${at} (sentinelctl failover ${group.id} --at never calls it off)`
        : `group ${group.id}: the switchover${target} of ${at} could not begin yet; it is tried until ${new Date(atMs + SCHEDULE_VALID_MS).toISOString()}`;
  }
}

/** What becomes of writes while there is no Raft leader; undefined where the group does not run. By the rule that this peer knows of. */
export function leaderlessNotice(state: ClusterState, group: GroupState): string | undefined {
  const { rule, phase, settings } = group;
  if (phase.kind !== 'running') return undefined;
  const start = `group ${group.id}, without a Raft leader:`;
  if (isLeased(group))
    return `${start} the guard stops ${phase.primary} before its lease ends (${formatDuration(settings.leaseMs)})`;
  if (rule.acks === 0) return `${start} ${phase.primary} goes on alone`;
  const nodes = new Map(nodesOfGroup(state, group.id).map(({ node, member }) => [member, node]));
  const name = (member: MemberId): string => nodes.get(member) ?? member;
  const members = rule.members.map(name).toSorted().join(', ') || 'nobody';
  return `${start} writes go on while ${rule.acks} of ${members} acknowledge${rule.acks === 1 ? 's' : ''} them; else they wait, and after guard.proof_timeout (30s by default) the guard stops ${phase.primary}, until there is a leader again`;
}

function* restarts(group: GroupState, nowMs: number): Iterable<string> {
  for (const { node, atMs, serverStartedAtS } of group.restarts) {
    const at = new Date(atMs).toISOString();
    if (serverStartedAtS !== undefined) yield `${node}: its restart of ${at} is under way`;
    else if (nowMs < atMs)
      yield `${node}: a restart is scheduled for ${at} (sentinelctl node restart ${node} --cancel calls it off)`;
    else
      yield `${node}: its restart of ${at} could not begin yet; it is tried until ${new Date(atMs + RESTART_VALID_MS).toISOString()}`;
  }
}

/** An ordinary group does not go over to following another site. One that does follow follows the same, whoever streams. */
function* uselessFollow(state: ClusterState, { id, phase, site }: GroupState): Iterable<string> {
  const nodes = nodesOfGroup(state, id).filter(({ options }) => options?.source !== undefined);
  const serversOf = ({ options }: (typeof nodes)[number]): string =>
    (options?.source ?? '').split(',').sort().join(',');
  if (phase.kind === 'following' && new Set(nodes.map(serversOf)).size > 1)
    yield `group ${id}: node.follow.servers differs, ${nodes.map((node) => `${node.node} has ${node.options?.source ?? ''}`).join(', ')}: who takes the site leader's place would follow others`;
  // One that was promoted may keep it in its files: nothing is amiss.
  if (phase.kind !== 'running' || site !== undefined) return;
  if (nodes.length > 0)
    yield `group ${id} does not follow another site: node.follow has no effect in the configuration of ${nodes.map(({ node }) => node).join(', ')}; take it out there (only a group that begins without data follows another site)`;
}

function* givenUpSlots(state: ClusterState, group: GroupState): Iterable<string> {
  for (const { node, member } of nodesOfGroup(state, group.id)) {
    const givenUpAtMs = member === undefined ? undefined : absentOf(group, member)?.givenUpAtMs;
    if (givenUpAtMs !== undefined)
      yield `${node} was absent for slot_retention: its replication slots were given up at ${new Date(givenUpAtMs).toISOString()}; when it is back it is cloned, unless all that it lacks is still there`;
  }
}

/** Why a strict group cannot have what it is set to, whoever is well; undefined where it can. */
export function strictShortage(state: ClusterState, group: GroupState): string | undefined {
  const { durability, acks } = group.settings;
  const count = countableStandbys(state, group).length;
  if (durability !== 'strict' || acks <= count) return undefined;
  const others = nodesOfGroup(state, group.id).length - 1 - count;
  const wanted = `strict durability is to wait for ${acks} standby${acks === 1 ? '' : 's'}, and the group has ${count}${others > 0 ? ' that may be counted' : ''}`;
  return count === 0
    ? `${wanted}: commits are on the primary alone until one has joined; add standbys`
    : `${wanted}: the loss of any of them makes every write wait; add standbys, or set acks=${Math.max(1, count - 1)}`;
}

/** As {@link strictShortage}, of `quorum`: writes go on with fewer, and the group is degraded for as long. */
export function quorumShortage(state: ClusterState, group: GroupState): string | undefined {
  const { durability, acks } = group.settings;
  const count = countableStandbys(state, group).length;
  if (durability !== 'quorum' || acks <= count) return undefined;
  const wanted = `commits are to wait for ${acks} standby${acks === 1 ? '' : 's'}, and the group has ${count} that may be counted`;
  return count === 0
    ? `${wanted}: they are on the primary alone until one has joined; add standbys`
    : `${wanted}: they wait for ${count} at most, and status says degraded until there are as many; add standbys, or set acks=${count} or less`;
}

function* adoption(group: GroupState): Iterable<string> {
  const { id, toAdopt, phase } = group;
  const standbys = toAdopt.filter((node) => node !== phase.primary);
  const left =
    standbys.length === 0
      ? ''
      : `, once ${standbys.join(', ')} ${standbys.length === 1 ? 'is' : 'are'} taken over`;
  if (isUnprotected(group))
    yield `group ${id} is being adopted and not protected: commits are on ${phase.primary} alone, as far as pg-sentinel knows, and nothing fails over by itself; sentinelctl failover ${id} ends that${left}, and so does a restart of ${phase.primary} by pg-sentinel (stop it, and it is started again)`;
  else if (standbys.length > 0) yield `group ${id}: ${standbys.join(', ')} not taken over yet`;
}

function* pauses({ id, paused, pausedNodes, phase }: GroupState, atMs: number): Iterable<string> {
  if (paused !== undefined)
    yield `group ${id} is paused${leftText(paused, atMs)}: it does not fail over by itself; sentinelctl resume ${id} ends that`;
  for (const pause of pausedNodes) {
    const { node, isMaintenance } = pause;
    if (isMaintenance)
      yield `${node} is in maintenance${leftText(pause, atMs)}: its PostgreSQL is left to you, and neither counted nor promoted; sentinelctl maintenance off ${node} ends that`;
    else
      yield node === phase.primary
        ? `${node}, the primary, is paused${leftText(pause, atMs)}: group ${id} does not fail over by itself; sentinelctl resume --node ${node} ends that`
        : `${node} is paused${leftText(pause, atMs)}: its PostgreSQL is left to you, and neither counted nor promoted; sentinelctl resume --node ${node} ends that`;
  }
}

/** What is left of the time: the next round of the leader ends it. */
function leftText({ untilMs }: Pause, atMs: number): string {
  return untilMs === undefined ? '' : ` for another ${formatDuration(Math.max(0, untilMs - atMs))}`;
}

/** Fewer acknowledgements than are wanted, or none. */
function durabilityNotice(state: ClusterState, group: GroupState): string | undefined {
  if (group.phase.kind !== 'running' || nodesOfGroup(state, group.id).length < 2) return undefined;
  if (isUnprotected(group)) return undefined;
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
    return `durability is degraded: commits are on ${phase.primary} alone, and would be lost with it${uncountedText(state, group)}`;
  if (rule.acks < settings.acks)
    return `durability is degraded: commits wait for ${rule.acks} of the ${settings.acks} standbys that are wanted`;
  return undefined;
}

/** Where no standby may be counted, which no repair changes: what its owners have said of each. */
function uncountedText(state: ClusterState, group: GroupState): string {
  if (countableStandbys(state, group).length > 0) return '';
  const reasons = nodesOfGroup(state, group.id).flatMap(({ node }) => {
    const reason = node === group.phase.primary ? undefined : syncBar(state, group, node);
    return reason === undefined ? [] : [`${node} is ${reason}`];
  });
  return `; no standby may be counted: ${reasons.join('; ')}`;
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
