// Which sync rule a running group should have: standbys that stream and whose agents can be reached come in at once, others
// leave after `syncMemberTimeoutMs`. The change itself is made safe by apply-rule.ts and by the primary's agent.
import type { MemberId } from '../base/ids.ts';
import type { Command, SyncRule } from '../cluster/commands.ts';
import { syncBar } from '../cluster/eligibility.ts';
import { acksSoFar, fewestAcks, isObjectivelyDown, isRule, sameRule } from '../cluster/quorum.ts';
import type { AgentReport } from '../cluster/report.ts';
import {
  type ClusterState,
  type GroupState,
  asideReason,
  isUnprotected,
  nodesOfGroup,
} from '../cluster/state.ts';
import type { Stopwatch } from './decide.ts';
import { type View, freshReport, reportAgeMs } from './view.ts';

export function planRule(
  state: ClusterState,
  group: GroupState,
  view: View,
  stopwatch: Stopwatch,
): Command | undefined {
  if (isUnprotected(group)) {
    // mark: no-rule-of-unprotected-group
    return undefined;
  }
  const isLost = isPerhapsLost(state, group, view, stopwatch);
  const change = wantedChange(state, group, view, stopwatch);
  if (isLost && change !== undefined) {
    // mark: no-rule-of-lost-primary
    return undefined;
  }
  return change;
}

/**
 * Its observers hold it for down, and its agent's last word may be from before that: a change that it does not live to carry out would stand in the
 * way of the failover, for by either rule it may have acknowledged.
 */
function isPerhapsLost(state: ClusterState, group: GroupState, view: View, stopwatch: Stopwatch): boolean {
  const node = state.nodes.get(group.phase.primary);
  if (node === undefined || !isObjectivelyDown(state.membership.voters, node.subjectiveDown, group.epoch))
    return false;
  return stopwatch.elapsedMs(`rule of lost ${group.id} ${group.epoch}`) <= view.settings.reportFreshMs;
}

const silence = (member: MemberId): string => `silent ${member}`;

function wantedChange(
  state: ClusterState,
  group: GroupState,
  view: View,
  stopwatch: Stopwatch,
): Command | undefined {
  const primary = freshReport(view, group.phase.primary);
  // One that is heard of rarely has not forgotten whom it missed.
  if (primary === undefined)
    for (const member of (group.next?.rule ?? group.rule).members)
      if (stopwatch.isRunning(silence(member))) stopwatch.elapsedMs(silence(member));
  if (primary === undefined || primary.condition !== 'primary' || primary.fenceEpoch !== group.epoch)
    return undefined;
  const present: MemberId[] = [];
  const gone: MemberId[] = [];
  for (const node of nodesOfGroup(state, group.id)) {
    const member = node.member;
    if (node.node === group.phase.primary || member === undefined) continue;
    const isCounted = (group.next?.rule ?? group.rule).members.includes(member);
    const isAside =
      asideReason(group, node.node) !== undefined || syncBar(state, group, node.node) !== undefined;
    const isHere =
      !isAside &&
      (isStreaming(primary, freshReport(view, node.node), member) ||
        (isCounted && !isGone(group, view, stopwatch.elapsedMs(silence(member)))));
    if (isHere) present.push(member);
    // One that is fenced, paused, in maintenance or may not be counted is not waited for, and apply would take it into no rule.
    else if (isCounted && !isAside) gone.push(member);
  }
  if (group.next !== undefined && group.rule.acks > 0) return widenStuck(group, group.next.rule, present);
  const next = wantedRule(group, present, gone);
  // One that cannot be met could not be committed either: it waits until enough of them are there.
  if (sameRule(group.next?.rule ?? group.rule, next) || !isRule(next)) return undefined;
  return { kind: 'begin-rule-change', group: group.id, epoch: group.epoch, next };
}

/**
 * The primary must have spoken when the member had been missed for a while: the last word of one that is lost soon after its promotion is that nobody streams
 * from it yet, and what nobody is left to carry out would stand in the way of the failover.
 */
function isGone(group: GroupState, view: View, silentMs: number): boolean {
  const { syncMemberTimeoutMs } = view.settings;
  const ageMs = reportAgeMs(view, group.phase.primary) ?? Number.POSITIVE_INFINITY;
  return silentMs >= syncMemberTimeoutMs && silentMs - ageMs >= syncMemberTimeoutMs / 2;
}

/**
 * By the durability that is wanted. `strict` never asks for fewer acknowledgements than before (but no more than are wanted): where too
 * few members are left, those that are gone stay in the rule, and writes wait for them.
 */
export function wantedRule(
  group: Pick<GroupState, 'settings' | 'rule' | 'phase'>,
  present: readonly MemberId[],
  gone: readonly MemberId[],
): SyncRule {
  const { settings } = group;
  switch (settings.durability) {
    case 'async':
      return { members: [], acks: 0, leased: true };
    case 'quorum':
      return { members: [...present].sort(), acks: Math.min(settings.acks, present.length) };
    case 'strict': {
      const acks = Math.min(settings.acks, Math.max(acksSoFar(group), present.length));
      const members = present.length < acks ? [...present, ...gone] : [...present];
      return { members: members.sort(), acks };
    }
  }
}

/**
 * A change that its own members can no longer complete is widened by those that can, and asks for no more acknowledgements than there
 * are; whoever is gone leaves by the next change. Where nobody is there any more the primary goes on alone, unless the group is strict.
 */
function widenStuck(group: GroupState, next: SyncRule, present: readonly MemberId[]): Command | undefined {
  const able = next.members.filter((member) => present.includes(member));
  if (next.acks === 0 || able.length >= next.acks) return undefined;
  if (present.length === 0 && group.settings.durability !== 'strict') {
    // mark: rule-change-to-alone
    const alone = { members: [], acks: 0 };
    return { kind: 'begin-rule-change', group: group.id, epoch: group.epoch, next: alone };
  }
  const members = [...new Set([...next.members, ...present])].sort();
  const acks = Math.max(1, fewestAcks(group), Math.min(next.acks, present.length));
  const wide = { members, acks };
  if (sameRule(next, wide) || acks > next.acks) return undefined;
  // mark: rule-change-widened
  return { kind: 'begin-rule-change', group: group.id, epoch: group.epoch, next: wide };
}

/** By what the primary serves, not by its address: a standby may reach it at another one (`via`). */
export function isStreaming(
  primary: AgentReport,
  standby: AgentReport | undefined,
  member: MemberId,
): boolean {
  if (standby === undefined || standby.condition !== 'standby' || standby.member !== member) return false;
  return primary.walSenders.some(
    (sender) => sender.applicationName === member && sender.state === 'streaming',
  );
}
