// Groups whose first data directory is restored from a backup: their creation, and the timeline that is assigned where recovery has stopped.
// Why it is assigned at all: docs/decisions/0017-restored-groups.md.
import { type LogIndex, timeline } from '../base/ids.ts';
import { type Applied, type CommandOf, groupAt, isRefused, refuse, withGroup } from './applied.ts';
import { applyCreateGroup, highest } from './apply-nodes.ts';
import { RESTORE_FEATURE_LEVEL } from './features.ts';
import type { ClusterState, GroupRestore } from './state.ts';

/** PostgreSQL's timelines have 32 bits. */
const TIMELINE_MAX = 0xfffffffe;

export function applyRestoreGroup(
  state: ClusterState,
  index: LogIndex,
  command: CommandOf<'restore-group'>,
): Applied {
  if (state.featureLevel < RESTORE_FEATURE_LEVEL)
    return refuse('not every peer understands this yet: upgrade all of them first');
  const { group: id, primary, reached } = command;
  if (reached === undefined) {
    const created = applyCreateGroup(state, index, { group: id, primary });
    if (isRefused(created)) return created;
    const group = created.groups.get(id);
    if (group === undefined) return created;
    // Another first primary may have opened what was assigned, and have the same backup: that number is not given again.
    const highestTimeline = highest(
      group.highestTimeline,
      state.groups.get(id)?.highestTimeline ?? timeline(1),
    );
    return withGroup(created, { ...group, highestTimeline, restore: { reached: undefined } });
  }
  const { epoch, ...standing } = reached;
  const group = groupAt(state, id, epoch);
  if (isRefused(group)) return group;
  if (group.phase.kind !== 'creating') return refuse(`group ${id} is ${group.phase.kind}, not creating`);
  if (group.phase.primary !== primary)
    return refuse(`${group.phase.primary} is to be the first primary of group ${id}, not ${primary}`);
  if (group.systemIdentifier !== undefined)
    return refuse(`group ${id} is to go on with the database of ${primary}, which is not restored`);
  // Said again, after an answer that was lost.
  if (isSame(group.restore?.reached, standing)) return state;
  const above = highest(highest(standing.highestTimeline, standing.timeline), group.highestTimeline);
  if (above >= TIMELINE_MAX) return refuse(`there is no timeline above ${above}`);
  const assigned = timeline(above + 1);
  return withGroup(state, {
    ...group,
    restore: { reached: { ...standing, assigned } },
    highestTimeline: assigned,
  });
}

function isSame(
  known: GroupRestore['reached'],
  standing: Omit<NonNullable<CommandOf<'restore-group'>['reached']>, 'epoch'>,
): boolean {
  return (
    known !== undefined &&
    known.systemIdentifier === standing.systemIdentifier &&
    known.timeline === standing.timeline &&
    known.position === standing.position &&
    known.target === standing.target &&
    standing.highestTimeline < known.assigned
  );
}
