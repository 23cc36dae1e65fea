// Failback: where the group's settings name a preferred node or site, the leader begins a switchover to it once it has streamed well for a
// while. Pure. Never the ground for a promise: apply checks what is proposed, and that failbacks do not follow each other.
import type { Command } from '../cluster/commands.ts';
import { failbackRefusal, isPreferred } from '../cluster/eligibility.ts';
import { CANDIDATES_FEATURE_LEVEL } from '../cluster/features.ts';
import { type ClusterState, type GroupState, isHeld, isPaused, nodesOfGroup } from '../cluster/state.ts';
import type { Stopwatch } from './decide.ts';
import { switchoverObstacle } from './obstacles.ts';
import type { View } from './view.ts';

/** Of several preferred nodes the one of highest priority that has been well for long enough, then by name. */
export function beginFailback(
  state: ClusterState,
  group: GroupState,
  view: View,
  stopwatch: Stopwatch,
): Command | undefined {
  const { failback, failbackAfterMs } = group.settings;
  if (failback === 'off' || state.featureLevel < CANDIDATES_FEATURE_LEVEL) return undefined;
  // The time begins anew after each of these, as it does with a new leader and a new epoch.
  if (isPaused(group) || isHeld(group) || group.scheduled !== undefined) return undefined;
  if (failbackRefusal(state, group, view.wallMs) !== undefined) return undefined;
  const ready = nodesOfGroup(state, group.id).filter(
    ({ node }) =>
      isPreferred(state, failback, node) &&
      switchoverObstacle(state, group, node, view) === undefined &&
      stopwatch.elapsedMs(`failback ${group.id} ${group.epoch} ${node}`) >= failbackAfterMs,
  );
  const [to] = ready.sort((a, b) => b.priority - a.priority || (a.node < b.node ? -1 : 1));
  if (to === undefined) return undefined;
  // mark: failback-begun
  return {
    kind: 'begin-failover',
    group: group.id,
    epoch: group.epoch,
    cause: { kind: 'planned', to: to.node },
    isFailback: true,
  };
}
