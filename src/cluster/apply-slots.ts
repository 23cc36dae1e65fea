// Members that are absent, and how long every other node keeps a replication slot for them. The leader says who is, by what it sees; how
// long that lasts goes by the wall clock of whoever proposes. Must never take the slot of a member of the sync rule, whatever is proposed.
import type { MemberId } from '../base/ids.ts';
import { type Applied, type CommandOf, isRefused, refuse, withGroup } from './applied.ts';
import { SLOTS_FEATURE_LEVEL } from './features.ts';
import { type AbsentMember, type ClusterState, type GroupState, nodesOfGroup, pauseOf } from './state.ts';

type SlotCommand = CommandOf<'mark-absent' | 'give-up-slot' | 'mark-present'>;

/** From here on its slots are kept for `slot_retention`. */
export function applyMarkAbsent(
  state: ClusterState,
  command: CommandOf<'mark-absent'>,
  atMs: number,
): Applied {
  const group = groupOf(state, command);
  if (isRefused(group)) return group;
  const { member } = command;
  const refusal = memberRefusal(state, group, member);
  if (refusal !== undefined) return refuse(refusal);
  if (absentOf(group, member) !== undefined) return refuse(`${member} is absent already`);
  const absent = { member, sinceMs: Math.trunc(atMs), givenUpAtMs: undefined };
  return withGroup(state, { ...group, absent: withMember(state, group, absent) });
}

/** Every node drops the member's slot. */
export function applyGiveUpSlot(
  state: ClusterState,
  command: CommandOf<'give-up-slot'>,
  atMs: number,
): Applied {
  const group = groupOf(state, command);
  if (isRefused(group)) return group;
  const { member } = command;
  // A failover may need every member that can report, and its rule is not settled before it is over.
  if (group.phase.kind !== 'running')
    return refuse(`group ${group.id} is ${group.phase.kind}; wait until it is running`);
  const refusal = memberRefusal(state, group, member);
  if (refusal !== undefined) return refuse(refusal);
  if (isCounted(group, member)) return refuse(`${member} is in the sync rule: its slot is kept`);
  const present = absentOf(group, member);
  if (present === undefined) return refuse(`${member} is not absent`);
  if (present.givenUpAtMs !== undefined) return refuse(`the slots of ${member} are given up already`);
  const { slotRetentionMs } = group.settings;
  if (atMs - present.sinceMs < slotRetentionMs)
    return refuse(`${member} is not absent for ${slotRetentionMs} ms yet`);
  const absent = { ...present, givenUpAtMs: Math.trunc(atMs) };
  return withGroup(state, { ...group, absent: withMember(state, group, absent) });
}

/** Every node keeps a slot for the member again. */
export function applyMarkPresent(state: ClusterState, command: CommandOf<'mark-present'>): Applied {
  const group = groupOf(state, command);
  if (isRefused(group)) return group;
  const { member } = command;
  if (absentOf(group, member) === undefined) return refuse(`${member} is not absent`);
  return withGroup(state, { ...group, absent: withoutMembers(group.absent, [member]) });
}

export function absentOf(group: Pick<GroupState, 'absent'>, member: MemberId): AbsentMember | undefined {
  return group.absent.find((each) => each.member === member);
}

/** Whether no node keeps a slot for the member. Never true of one that the rule counts, or is about to. */
export function isGivenUp(group: GroupState, member: MemberId): boolean {
  return absentOf(group, member)?.givenUpAtMs !== undefined && !isCounted(group, member);
}

export function isCounted({ rule, next }: Pick<GroupState, 'rule' | 'next'>, member: MemberId): boolean {
  return rule.members.includes(member) || (next?.rule.members.includes(member) ?? false);
}

/** A member that comes into the rule is there, and once it is lost again its time begins anew. */
export function withoutMembers(
  absent: readonly AbsentMember[],
  members: readonly MemberId[],
): readonly AbsentMember[] {
  return absent.some(({ member }) => members.includes(member))
    ? absent.filter(({ member }) => !members.includes(member))
    : absent;
}

function groupOf(state: ClusterState, command: SlotCommand): GroupState | { readonly refused: string } {
  const group = state.groups.get(command.group);
  if (group === undefined) return refuse(`there is no group ${command.group}`);
  if (state.featureLevel < SLOTS_FEATURE_LEVEL)
    return refuse('not every peer understands this yet: upgrade all of them first');
  return group;
}

function memberRefusal(state: ClusterState, group: GroupState, member: MemberId): string | undefined {
  const node = nodesOfGroup(state, group.id).find((each) => each.member === member);
  if (node === undefined) return `${member} is not a member of group ${group.id}`;
  if (node.node === group.phase.primary) return `${node.node} is the primary of group ${group.id}`;
  if (pauseOf(group, node.node) !== undefined) return `${node.node} is paused: its slots are kept`;
  return undefined;
}

/** With those alone that are registered still. */
function withMember(state: ClusterState, group: GroupState, absent: AbsentMember): AbsentMember[] {
  const known = new Set(nodesOfGroup(state, group.id).map(({ member }) => member));
  return [...group.absent.filter(({ member }) => known.has(member) && member !== absent.member), absent].sort(
    (a, b) => (a.member < b.member ? -1 : 1),
  );
}
