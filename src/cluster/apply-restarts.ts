// Restarts of one node's PostgreSQL at a given time. One that has begun names the server that it replaces: whoever carries it out, and
// however often that is broken off, a server that started later is left alone. Of a group one is under way at a time.
import { type Applied, type CommandOf, refuse, withGroup } from './applied.ts';
import { SCHEDULED_RESTART_FEATURE_LEVEL } from './features.ts';
import { type ClusterState, type GroupState, type NodeRestart, asideText } from './state.ts';

export function applyScheduleRestart(state: ClusterState, command: CommandOf<'schedule-restart'>): Applied {
  const { group: id, node, at, onlyAtMs } = command;
  const group = state.groups.get(id);
  if (group === undefined) return refuse(`there is no group ${id}`);
  if (state.featureLevel < SCHEDULED_RESTART_FEATURE_LEVEL)
    return refuse('not every peer understands this yet: upgrade all of them first');
  const known = group.restarts.find((restart) => restart.node === node);
  const others = group.restarts.filter((restart) => restart !== known);
  if (onlyAtMs !== undefined && known?.atMs !== onlyAtMs)
    return refuse(`that restart of ${node} is not scheduled any more`);
  if (at === undefined) {
    if (known === undefined) return refuse(`no restart of ${node} is scheduled`);
    if (onlyAtMs === undefined && known.serverStartedAtS !== undefined)
      return refuse(`the restart of ${node} has begun`);
    return withGroup(state, { ...group, restarts: others });
  }
  if (state.nodes.get(node)?.group !== id) return refuse(`there is no node ${node} in group ${id}`);
  if (known?.serverStartedAtS !== undefined) return refuse(`a restart of ${node} has begun already`);
  if (at.serverStartedAtS !== undefined) {
    const refusal = beginRefusal(group, command, known);
    if (refusal !== undefined) return refuse(refusal);
  }
  const restarts = [...others, { node, ...at }].sort((a, b) => (a.node < b.node ? -1 : 1));
  return withGroup(state, { ...group, restarts });
}

/** The leader has looked at this already; it may have been another group by the time that is committed. */
function beginRefusal(
  group: GroupState,
  { node, at, onlyAtMs }: CommandOf<'schedule-restart'>,
  known: NodeRestart | undefined,
): string | undefined {
  if (onlyAtMs !== at?.atMs || known?.inPlace !== at?.inPlace)
    return `a restart of ${node} can begin only in the place of one that is scheduled`;
  const begun = group.restarts.find((other) => other !== known && other.serverStartedAtS !== undefined);
  if (begun !== undefined) return `the restart of ${begun.node} has begun and not ended`;
  if (group.phase.kind !== 'running') return `group ${group.id} is ${group.phase.kind}`;
  if (group.phase.primary === node && at?.inPlace !== true)
    return `${node} is the primary of group ${group.id}, and its restart is not to be in place`;
  return asideText(group, node);
}
