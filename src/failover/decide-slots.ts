// Which members the leader says are absent, and when their replication slots are given up (apply-slots.ts). Pure. A member that is seen to
// stream is never given up; what is proposed of one in the sync rule is refused by apply as well.
import type { MemberId } from '../base/ids.ts';
import { absentOf, isCounted } from '../cluster/apply-slots.ts';
import type { Command } from '../cluster/commands.ts';
import { SLOTS_FEATURE_LEVEL } from '../cluster/features.ts';
import {
  type ClusterState,
  type GroupState,
  type NodeState,
  nodesOfGroup,
  pauseOf,
} from '../cluster/state.ts';
import type { Stopwatch } from './decide.ts';
import { type View, freshReport } from './view.ts';

/**
 * A standby that runs but does not stream cannot come back without a slot: it gets a new one so long after its old one was given up, and
 * the WAL before that is gone.
 */
const NEW_SLOT_AFTER_MS = 60_000;

export function* decideSlots(
  state: ClusterState,
  group: GroupState,
  view: View,
  stopwatch: Stopwatch,
): Iterable<Command> {
  if (state.featureLevel < SLOTS_FEATURE_LEVEL || group.phase.kind !== 'running') return;
  for (const node of nodesOfGroup(state, group.id)) {
    const { member } = node;
    if (member === undefined) continue;
    const kind = decideMember({ group, node, member, view, stopwatch });
    if (kind !== undefined) yield { kind, group: group.id, member };
  }
}

function decideMember(options: {
  readonly group: GroupState;
  readonly node: NodeState;
  readonly member: MemberId;
  readonly view: View;
  readonly stopwatch: Stopwatch;
}): 'mark-absent' | 'give-up-slot' | 'mark-present' | undefined {
  const { group, node, member, view, stopwatch } = options;
  const present = absentOf(group, member);
  const presence = presenceOf(group, node, view);
  if (presence === 'here') return present === undefined ? undefined : 'mark-present';
  if (present === undefined) {
    const awayMs = stopwatch.elapsedMs(`absent ${member}`);
    return awayMs >= view.settings.absentAfterMs ? 'mark-absent' : undefined;
  }
  const { sinceMs, givenUpAtMs } = present;
  if (givenUpAtMs !== undefined) {
    const isToTry = presence === 'idle' && view.wallMs - givenUpAtMs >= NEW_SLOT_AFTER_MS;
    return isToTry ? 'mark-present' : undefined;
  }
  // A PostgreSQL that crashes again and again is busy in between only.
  const isOver = presence !== 'busy' && view.wallMs - sinceMs >= group.settings.slotRetentionMs;
  return isOver && !isCounted(group, member) ? 'give-up-slot' : undefined;
}

/** `here`: it uses its slot. `busy`: it may soon. `idle`: it runs and does not stream. */
function presenceOf(group: GroupState, node: NodeState, view: View): 'here' | 'busy' | 'idle' | 'away' {
  if (node.node === group.phase.primary || pauseOf(group, node.node) !== undefined) return 'here';
  const report = freshReport(view, node.node);
  if (report?.streamingFrom !== undefined) return 'here';
  // Whose agent is gone may stream all the same.
  const senders = freshReport(view, group.phase.primary)?.walSenders ?? [];
  if (senders.some(({ applicationName }) => applicationName === node.member)) return 'here';
  if (report === undefined) return 'away';
  switch (report.condition) {
    case 'starting':
    case 'cloning':
    case 'rewinding':
      return 'busy';
    case 'standby':
    case 'primary':
      return 'idle';
    case 'absent':
    case 'stopped':
    case 'stopping':
    case 'failed':
      return 'away';
  }
}
