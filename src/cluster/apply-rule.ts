// Changing the sync rule: first `next` is written beside the rule and both bind, then, once the primary has verified that it
// enforces `next` and that enough of its members hold all that was acknowledged before, `next` becomes the rule.
import { type LogIndex, type MemberId } from '../base/ids.ts';
import { type Applied, type CommandOf, groupAt, isRefused, refuse, withGroup } from './applied.ts';
import { withoutMembers } from './apply-slots.ts';
import { syncBar } from './eligibility.ts';
import { fewestAcks, isRule, sameRule } from './quorum.ts';
import type { SyncRule } from './commands.ts';
import { type ClusterState, type GroupState, asideReason, isUnprotected, nodesOfGroup } from './state.ts';

export function applyBeginRuleChange(
  state: ClusterState,
  index: LogIndex,
  command: CommandOf<'begin-rule-change'>,
): Applied {
  const group = runningAt(state, command);
  if (isRefused(group)) return group;
  if (isUnprotected(group)) {
    // mark: rule-of-unprotected-group
    return refuse(`group ${group.id} is being adopted: ${group.phase.primary} would not enforce a rule`);
  }
  const { members, acks } = command.next;
  if (group.next !== undefined) {
    // While the primary may still acknowledge alone nobody else can be promoted, so that change may be given up or replaced:
    // its members may have died since, and writes must not wait for them for ever.
    // Otherwise it may only be widened: what was acknowledged by `next` satisfies a rule of more members just as well. Or it gives way to
    // "alone": nobody but the primary, which holds whatever it acknowledged by either rule, can be promoted from then on.
    if (
      group.rule.acks > 0 &&
      !widens(command.next, group.next.rule) &&
      !isForAlone(command.next, group.next.rule)
    )
      return refuse(`the sync rule of group ${group.id} is being changed already`);
    if (group.rule.acks === 0 && sameRule(group.rule, command.next)) {
      // mark: rule-change-given-up
      return withGroup(state, { ...group, next: undefined });
    }
  }
  if (sameRule(group.next?.rule ?? group.rule, command.next)) return refuse('that is the sync rule already');
  const refusal = ruleRefusal(group, command.next);
  if (refusal !== undefined) return refuse(refusal);
  if (!isRule(command.next))
    return refuse(`${acks} acknowledgements of ${members.length} members is not a rule`);
  const known = new Set([...standbyMembers(state, group), ...(group.next?.rule.members ?? [])]);
  const stranger = members.find((member) => !known.has(member));
  if (stranger !== undefined) return refuse(`${stranger} is not a standby of group ${group.id}`);
  const next = { rule: command.next, change: index };
  return withGroup(state, { ...group, next, absent: withoutMembers(group.absent, members) });
}

/** Why the durability that is wanted of the group forbids the rule. Also of the rule that a promotion begins with. */
export function ruleRefusal(group: GroupState, { acks, leased }: SyncRule): string | undefined {
  if (leased === true && group.settings.durability !== 'async')
    return `group ${group.id} has durability ${group.settings.durability}: its primary must not go by a lease`;
  if (acks < fewestAcks(group))
    return `group ${group.id} is strict: a commit waits for ${fewestAcks(group)} acknowledgements, not ${acks}`;
  return undefined;
}

/** With at least one acknowledgement the new members hold the switch point of the last promotion too: the floor goes. */
export function applyCommitRule(state: ClusterState, command: CommandOf<'commit-rule'>): Applied {
  const group = runningAt(state, command);
  if (isRefused(group)) return group;
  if (group.next?.change !== command.change)
    return refuse(`no change of the sync rule began at ${command.change}`);
  const rule = group.next.rule;
  return withGroup(state, {
    ...group,
    rule,
    next: undefined,
    floor: rule.acks > 0 ? undefined : group.floor,
  });
}

export function applyFloorPassed(state: ClusterState, command: CommandOf<'floor-passed'>): Applied {
  const group = runningAt(state, command);
  if (isRefused(group)) return group;
  if (group.rule.acks === 0)
    return refuse(`group ${group.id} has no member that could hold the switch point`);
  return withGroup(state, { ...group, floor: undefined });
}

function widens(wide: SyncRule, narrow: SyncRule): boolean {
  return (
    wide.acks > 0 &&
    wide.acks <= narrow.acks &&
    narrow.members.every((member) => wide.members.includes(member))
  );
}

/** Not of a lease, which ends by itself and lets others be promoted. */
function isForAlone(wanted: SyncRule, pending: SyncRule): boolean {
  return pending.acks > 0 && wanted.acks === 0 && wanted.leased !== true;
}

function runningAt(
  state: ClusterState,
  command: CommandOf<'begin-rule-change' | 'commit-rule' | 'floor-passed'>,
): GroupState | { readonly refused: string } {
  const group = groupAt(state, command.group, command.epoch);
  if (isRefused(group)) return group;
  if (group.phase.kind !== 'running') return refuse(`group ${group.id} is ${group.phase.kind}, not running`);
  return group;
}

function standbyMembers(state: ClusterState, group: GroupState): ReadonlySet<MemberId> {
  const members = new Set<MemberId>();
  for (const node of nodesOfGroup(state, group.id)) {
    const isAble =
      node.node !== group.phase.primary &&
      asideReason(group, node.node) === undefined &&
      syncBar(state, group, node.node) === undefined;
    if (node.member !== undefined && isAble) members.add(node.member);
  }
  return members;
}
