// Which sync rule a running group should have: standbys that stream and whose agents can be reached come in at once, others
// leave after `syncMemberTimeoutMs`. The change itself is made safe by apply-rule.ts and by the primary's agent.
import type { MemberId } from '../base/ids.ts';
import type { Command, SyncRule } from '../cluster/commands.ts';
import { sameRule } from '../cluster/quorum.ts';
import type { AgentReport } from '../cluster/report.ts';
import { type ClusterState, type GroupState, nodesOfGroup } from '../cluster/state.ts';
import type { Stopwatch } from './decide.ts';
import { type View, freshReport } from './view.ts';

export function planRule(
  state: ClusterState,
  group: GroupState,
  view: View,
  stopwatch: Stopwatch,
): Command | undefined {
  const primary = freshReport(view, group.phase.primary);
  if (primary === undefined || primary.condition !== 'primary' || primary.fenceEpoch !== group.epoch)
    return undefined;
  const members: MemberId[] = [];
  for (const node of nodesOfGroup(state, group.id)) {
    const member = node.member;
    if (node.node === group.phase.primary || member === undefined) continue;
    const isCounted = (group.next?.rule ?? group.rule).members.includes(member);
    if (isStreaming(primary, freshReport(view, node.node), member)) members.push(member);
    else if (isCounted && stopwatch.elapsedMs(`silent ${member}`) < view.settings.syncMemberTimeoutMs)
      members.push(member);
  }
  const next: SyncRule = { members: members.sort(), acks: Math.min(1, members.length) };
  if (group.next !== undefined && group.rule.acks > 0) return widenStuck(group, group.next.rule, members);
  if (sameRule(group.next?.rule ?? group.rule, next)) return undefined;
  return { kind: 'begin-rule-change', group: group.id, epoch: group.epoch, next };
}

/** A change that its own members can no longer complete is widened by those that can; whoever is gone leaves by the next change. */
function widenStuck(group: GroupState, next: SyncRule, present: readonly MemberId[]): Command | undefined {
  const able = next.members.filter((member) => present.includes(member));
  const members = [...new Set([...next.members, ...present])].sort();
  if (next.acks === 0 || able.length >= next.acks || members.length === next.members.length) return undefined;
  // mark: rule-change-widened
  return {
    kind: 'begin-rule-change',
    group: group.id,
    epoch: group.epoch,
    next: { members, acks: next.acks },
  };
}

function isStreaming(primary: AgentReport, standby: AgentReport | undefined, member: MemberId): boolean {
  if (standby === undefined || standby.condition !== 'standby' || standby.member !== member) return false;
  return primary.walSenders.some(
    (sender) => sender.applicationName === member && sender.state === 'streaming',
  );
}
