// The failover protocol's commands: begin, cut reports, promote, outcome, resume. Table of phases (command -> next phase):
//   following  promote-site -> fencing (apply-site.ts)
//   running    begin-failover(down: quorum | planned | forced) -> fencing
//   fencing    cut-report, node-off -> fencing · promote -> promoting · resume -> running
//              begin-failover(down, if planned | forced) -> fencing
//   promoting  promoted -> running · promotion-failed -> promoting
//              begin-failover(down: quorum | promotion-failed | forced) -> fencing
// A recovery of the log (apply-membership.ts) leads from every phase to fencing with an unknown rule; only a promotion leads out.
import { type LogIndex, type NodeId, epoch as toEpoch } from '../base/ids.ts';
import { type Applied, type CommandOf, groupAt, isRefused, refuse, withGroup } from './applied.ts';
import { fetchesAfter } from './apply-fetch.ts';
import { highest } from './apply-nodes.ts';
import { candidateRefusal, firstMembers } from './candidate.ts';
import type { CutReport, FailoverCause, SyncRule } from './commands.ts';
import { ruleRefusal } from './apply-rule.ts';
import { openedSite } from './site-history.ts';
import { withoutMembers } from './apply-slots.ts';
import { failbackAt, failbackRefusal, isPreferred, promotionBar } from './eligibility.ts';
import { CANDIDATES_FEATURE_LEVEL, SETTINGS_FEATURE_LEVEL } from './features.ts';
import { isObjectivelyDown, isRule, isWellFormed, majority, standingDownCount } from './quorum.ts';
import {
  type ClusterState,
  type FencingCause,
  type Floor,
  type GroupState,
  type Phase,
  asideText,
  hasFollowed,
  hasUnknownRule,
  isHeld,
  isPaused,
  isTimelineOpen,
  isUnprotected,
} from './state.ts';

/** Raises the epoch to `index` and starts fencing. The sync rule, its pending change and the floor stay in force. */
export function applyBeginFailover(
  state: ClusterState,
  index: LogIndex,
  command: CommandOf<'begin-failover'>,
  proposedAtMs: number,
): Applied {
  const group = groupAt(state, command.group, command.epoch);
  if (isRefused(group)) return group;
  const phase = group.phase;
  if (phase.kind === 'creating') return refuse(`group ${group.id} is being created`);
  if (phase.kind === 'following') {
    return refuse(
      `group ${group.id} follows another site: nothing in it fails over; sentinelctl site promote ${group.id} makes a primary here`,
    );
  }
  const refusal =
    causeRefusal(state, group, phase, command.cause) ??
    scheduleRefusal(group, command) ??
    failbackCauseRefusal(state, group, command, proposedAtMs);
  if (refusal !== undefined) return refuse(refusal);
  return withGroup(state, {
    ...group,
    epoch: toEpoch(index),
    phase: {
      kind: 'fencing',
      primary: phase.primary,
      timeline: phase.timeline,
      cause: command.cause,
      reports: [],
      off: [],
      reinstate: reinstated(phase, command.cause),
    },
    recentFailovers:
      command.cause.kind === 'down' ? withFailover(state, group, proposedAtMs) : group.recentFailovers,
    scheduled: command.scheduledAtMs === undefined ? group.scheduled : undefined,
    ...(isFailback(state, command) ? failbackAt(group, Math.trunc(proposedAtMs)) : {}),
  });
}

/** An older peer takes it for any other switchover. */
function isFailback(state: ClusterState, command: CommandOf<'begin-failover'>): boolean {
  return command.isFailback === true && state.featureLevel >= CANDIDATES_FEATURE_LEVEL;
}

/** It begins by itself: only as its settings have it, not in a pause or a hold, and not soon after another one. */
function failbackCauseRefusal(
  state: ClusterState,
  group: GroupState,
  command: CommandOf<'begin-failover'>,
  atMs: number,
): string | undefined {
  if (!isFailback(state, command)) return undefined;
  const { cause } = command;
  if (cause.kind !== 'planned' || cause.to === undefined) return 'a failback is a switchover to a node';
  if (isPaused(group)) return `group ${group.id} is paused: it does not fail back by itself`;
  if (isHeld(group)) return `group ${group.id} had too many failovers: it does not fail back by itself`;
  const refusal = failbackRefusal(state, group, atMs);
  if (refusal !== undefined) return refusal;
  return isPreferred(state, group.settings.failback, cause.to)
    ? undefined
    : `${cause.to} is not what failback ${group.settings.failback} asks for`;
}

/** A person may have called it off, or scheduled another one, since the leader saw it. */
function scheduleRefusal(
  group: GroupState,
  { cause, scheduledAtMs }: CommandOf<'begin-failover'>,
): string | undefined {
  if (scheduledAtMs === undefined) return undefined;
  if (isPaused(group)) return `group ${group.id} is paused: what is scheduled waits`;
  const { id, scheduled } = group;
  const isScheduled =
    cause.kind === 'planned' && scheduled?.atMs === scheduledAtMs && scheduled.to === cause.to;
  return isScheduled ? undefined : `that switchover of group ${id} is not scheduled any more`;
}

/** The primary that was switched over on purpose to a target that gave up. */
function reinstated(phase: Phase, cause: FailoverCause): NodeId | undefined {
  return phase.kind === 'promoting' && phase.isPlanned && cause.kind === 'promotion-failed'
    ? phase.previous
    : undefined;
}

/** Those within the window, and this one: no more than the group may have, so that too many of them hold it until a person has looked. */
function withFailover(state: ClusterState, group: GroupState, atMs: number): readonly number[] {
  if (state.featureLevel < SETTINGS_FEATURE_LEVEL) return group.recentFailovers;
  const { maxFailovers, failoverWindowMs } = group.settings;
  const recent = group.recentFailovers.filter((earlierMs) => earlierMs > atMs - failoverWindowMs);
  return [...recent, atMs].slice(-maxFailovers);
}

function causeRefusal(
  state: ClusterState,
  group: GroupState,
  phase: Exclude<Phase, { kind: 'creating' | 'following' }>,
  cause: FailoverCause,
): string | undefined {
  switch (cause.kind) {
    case 'down': {
      if (phase.kind === 'fencing' && phase.cause.kind !== 'planned')
        return `group ${group.id} is fencing already`;
      if (phase.kind === 'running' && isPaused(group))
        return `group ${group.id} is paused: it does not fail over by itself`;
      if (phase.kind === 'running' && isUnprotected(group)) {
        // mark: unprotected-group-down
        return `group ${group.id} is being adopted: it does not fail over by itself`;
      }
      const node = state.nodes.get(phase.primary);
      if (node !== undefined && isObjectivelyDown(state.membership.voters, node.subjectiveDown, group.epoch))
        return undefined;
      return `fewer than ${majority(state.membership.voters.length)} of ${state.membership.voters.length} voters hold ${phase.primary} for down at epoch ${group.epoch}`;
    }
    case 'planned': {
      if (phase.kind !== 'running') return `group ${group.id} is ${phase.kind}, not running`;
      if (group.next !== undefined) return `the sync rule of group ${group.id} is being changed`;
      const isAsync = group.rule.leased === true;
      if (isUnprotected(group)) return adoptedRefusal(state, group, cause.to);
      if (group.rule.acks === 0 && !isAsync) return `no standby of group ${group.id} is in its sync rule`;
      if (cause.to === undefined) return undefined;
      const refusal = plannedTargetRefusal(state, group, cause.to);
      const member = state.nodes.get(cause.to)?.member;
      if (refusal !== undefined || isAsync || (member !== undefined && group.rule.members.includes(member)))
        return refusal;
      return `${cause.to} is not in the sync rule of group ${group.id}`;
    }
    case 'forced': {
      if (phase.kind === 'fencing' && phase.cause.kind === 'recovered')
        return `group ${group.id} was recovered: all of its nodes have to report, or to be given up: sentinelctl node unregister NODE --accept-data-loss`;
      if (hasFollowed(group))
        return `group ${group.id} is being promoted already: the node that holds the most will be its primary; what it waits for says sentinelctl status, and sentinelctl site promote ${group.id} --to NODE --accept-data-loss has that node promoted whatever the others hold`;
      if (phase.kind === 'fencing' && phase.cause.kind === 'forced' && phase.cause.to === cause.to)
        return `group ${group.id} is fencing already, on a person's word`;
      return cause.to === undefined ? undefined : targetRefusal(state, group, cause.to);
    }
    case 'promotion-failed':
      if (phase.kind === 'promoting' && phase.failed !== undefined) return undefined;
      return `no promotion of group ${group.id} has failed`;
  }
}

/**
 * The first switchover of an adopted group, which ends its adoption: the primary stops cleanly and says where its WAL ends, and nobody who
 * lacks any of it is promoted, for it acknowledged alone.
 */
function adoptedRefusal(state: ClusterState, group: GroupState, to: NodeId | undefined): string | undefined {
  const foreign = group.toAdopt.find((node) => node !== group.phase.primary);
  if (foreign !== undefined) return `${foreign} is not taken over yet`;
  const { primary } = group.phase;
  // It could not say where its WAL ends, and stays stopped until it does.
  if (state.nodes.get(primary)?.member === undefined) return `${primary} is not taken over yet`;
  return to === undefined ? undefined : plannedTargetRefusal(state, group, to);
}

/** Why no switchover can lead to that node. */
function plannedTargetRefusal(state: ClusterState, group: GroupState, to: NodeId): string | undefined {
  const barred = promotionBar(state, group, to);
  return targetRefusal(state, group, to) ?? (barred === undefined ? undefined : `${to} is ${barred}`);
}

/** Why no failover can lead to that node. */
function targetRefusal(state: ClusterState, group: GroupState, to: NodeId): string | undefined {
  if (to === group.phase.primary) return `${to} is the primary of group ${group.id} already`;
  const target = state.nodes.get(to);
  if (target === undefined || target.group !== group.id) return `there is no node ${to} in group ${group.id}`;
  const aside = asideText(group, to);
  if (aside !== undefined) return aside;
  return target.member === undefined ? `${to} has no data yet` : undefined;
}

/** A member says that its WAL streams are cut, and where it stands. */
export function applyCutReport(state: ClusterState, command: CommandOf<'cut-report'>): Applied {
  const group = groupAt(state, command.group, command.epoch);
  if (isRefused(group)) return group;
  if (group.phase.kind !== 'fencing') return refuse(`group ${group.id} is ${group.phase.kind}, not fencing`);
  const node = state.nodes.get(command.node);
  if (node === undefined || node.group !== group.id)
    return refuse(`there is no node ${command.node} in group ${group.id}`);
  if (node.member !== command.member)
    return refuse(`${command.node} is registered as ${node.member ?? 'no member'}, not ${command.member}`);
  const { kind: _, group: __, epoch: ___, afterFetch = false, isStrange = false, ...report } = command;
  const { strange: strangeBefore = [], ...phase } = group.phase;
  const isOther = (known: CutReport): boolean => known.node !== command.node;
  const reports = [...phase.reports.filter(isOther), ...(isStrange ? [] : [report])];
  const strange = [...strangeBefore.filter(isOther), ...(isStrange ? [report] : [])];
  return withGroup(state, {
    ...group,
    phase: {
      ...{ ...phase, reports, ...fetchesAfter(phase, report, afterFetch) },
      ...(strange.length === 0 ? {} : { strange }),
    },
    highestTimeline: highest(group.highestTimeline, command.timeline),
  });
}

/** Chooses the candidate, its timeline and the rule it begins with; all three are checked against the reports. */
export function applyPromote(state: ClusterState, command: CommandOf<'promote'>): Applied {
  const group = groupAt(state, command.group, command.epoch);
  if (isRefused(group)) return group;
  const phase = group.phase;
  if (phase.kind !== 'fencing') return refuse(`group ${group.id} is ${phase.kind}, not fencing`);
  const candidate = phase.reports.find((report) => report.node === command.candidate);
  if (candidate === undefined) return refuse(`${command.candidate} has not reported at epoch ${group.epoch}`);
  const node = state.nodes.get(command.candidate);
  if (node?.member !== candidate.member) {
    return refuse(`${command.candidate} has another data directory than the one it reported`);
  }
  const refusal =
    candidateRefusal(state, group, phase, candidate) ??
    timelineRefusal(group, command) ??
    ruleRefusal(group, command.rule) ??
    firstMembersRefusal(group, command.rule, firstMembers(state, group, phase, candidate));
  if (refusal !== undefined) return refuse(refusal);
  const from = { timeline: candidate.timeline, position: candidate.position };
  const before = { rule: ruleBefore(group, phase.reports), next: group.next?.rule };
  const floor: Floor = {
    timeline: command.timeline,
    from,
    ...before,
    before: floorBefore(group, phase.cause),
  };
  return withGroup(state, {
    ...group,
    ...openedSite(group, candidate, command.timeline),
    phase: {
      kind: 'promoting',
      primary: command.candidate,
      timeline: command.timeline,
      previous: phase.primary,
      from,
      failed: undefined,
      isPlanned: phase.cause.kind === 'planned',
    },
    rule: command.rule,
    next: undefined,
    absent: withoutMembers(group.absent, [...command.rule.members, candidate.member]),
    // Everybody follows the new primary at first.
    cascades: [],
    floor,
    highestTimeline: command.timeline,
    // Both were stopped, or are: neither runs with foreign settings any more.
    toAdopt: group.toAdopt.filter((each) => each !== command.candidate && each !== phase.primary),
    systemIdentifier: group.systemIdentifier ?? node.systemIdentifier,
  });
}

/** What is known of the commits acknowledged before: without a rule, that each of them is on at least one of all nodes. */
function ruleBefore(group: GroupState, reports: readonly CutReport[]): SyncRule {
  if (group.next !== undefined) {
    // mark: promotion-during-rule-change
    return group.rule;
  }
  if (!hasUnknownRule(group)) return group.rule;
  // mark: promotion-after-recovery
  return { members: reports.map((report) => report.member).sort(), acks: 1 };
}

/**
 * Under a lease no candidate has to respect a floor, and nothing but a rule takes them away: they would pile up. Only those of promotions
 * that failed in a row are kept, by which these are counted.
 */
function floorBefore({ rule, floor }: GroupState, cause: FencingCause): Floor | undefined {
  return rule.leased === true && cause.kind !== 'promotion-failed' ? undefined : floor;
}

function timelineRefusal(group: GroupState, command: CommandOf<'promote'>): string | undefined {
  if (command.timeline > group.highestTimeline) return undefined;
  return `timeline ${command.timeline} is not higher than ${group.highestTimeline}, the highest ever assigned or reported`;
}

/** A strict group may begin with fewer members than it wants acknowledgements: then writes wait for the others. */
function firstMembersRefusal(
  { settings }: GroupState,
  rule: SyncRule,
  followers: readonly string[],
): string | undefined {
  const stranger = rule.members.find((member) => !followers.includes(member));
  if (stranger !== undefined) return `${stranger} cannot follow the candidate directly`;
  const isFit = settings.durability === 'strict' ? isWellFormed(rule) : isRule(rule);
  return isFit ? undefined : `${rule.acks} acknowledgements of ${rule.members.length} members is not a rule`;
}

export function applyPromoted(state: ClusterState, command: CommandOf<'promoted'>): Applied {
  const group = groupAt(state, command.group, command.epoch);
  if (isRefused(group)) return group;
  const phase = group.phase;
  if (phase.kind !== 'promoting' || phase.primary !== command.node)
    return refuse(`${command.node} is not being promoted`);
  if (command.timeline !== phase.timeline)
    return refuse(`${command.node} opened timeline ${command.timeline}, not ${phase.timeline}`);
  const branch = { timeline: phase.timeline, parent: phase.from.timeline, switchLsn: command.switchLsn };
  return withGroup(state, {
    ...group,
    phase: { kind: 'running', primary: command.node, timeline: phase.timeline },
    branches: [...group.branches, branch],
    failovers: group.failovers + 1,
  });
}

/** Recorded only: a new epoch is begun by the leader, so that the candidate may not come back later. */
export function applyPromotionFailed(state: ClusterState, command: CommandOf<'promotion-failed'>): Applied {
  const group = groupAt(state, command.group, command.epoch);
  if (isRefused(group)) return group;
  const phase = group.phase;
  if (phase.kind !== 'promoting' || phase.primary !== command.node)
    return refuse(`${command.node} is not being promoted`);
  // mark: promotion-failed
  return withGroup(state, { ...group, phase: { ...phase, failed: command.reason } });
}

/** A false alarm: the primary that nobody has replaced goes on, at the new epoch, with the same rule. */
export function applyResume(state: ClusterState, command: CommandOf<'resume'>): Applied {
  const group = groupAt(state, command.group, command.epoch);
  if (isRefused(group)) return group;
  const phase = group.phase;
  if (phase.kind !== 'fencing') return refuse(`group ${group.id} is ${phase.kind}, not fencing`);
  if (hasUnknownRule(group) || hasFollowed(group))
    return refuse(
      `group ${group.id} ${hasFollowed(group) ? 'has followed another site' : 'was recovered'}: a node of it can only be promoted`,
    );
  if (phase.reports.some((report) => report.node === phase.primary)) {
    // mark: resume-after-report
    return refuse(`${phase.primary} has stopped and reported: it can only be promoted`);
  }
  if (!isTimelineOpen(group, phase.timeline)) {
    return refuse(
      `${phase.primary} is not known to have opened timeline ${phase.timeline}: it can only be promoted`,
    );
  }
  const node = state.nodes.get(phase.primary);
  const downCount = standingDownCount(state.membership.voters, node?.subjectiveDown ?? []);
  if (downCount >= majority(state.membership.voters.length))
    return refuse(`${downCount} voters still hold ${phase.primary} for down`);
  // mark: resumed
  return withGroup(state, {
    ...group,
    phase: { kind: 'running', primary: phase.primary, timeline: phase.timeline },
  });
}
