// The leader's part in restarts that are scheduled: which is due and may begin, and which is given up. Pure. Whoever looks after the node
// carries it out (daemon/restart-runner.ts); the log keeps it from being done twice.
import type { NodeId } from '../base/ids.ts';
import type { Command } from '../cluster/commands.ts';
import {
  type ClusterState,
  type GroupState,
  type NodeRestart,
  asideReason,
  asideText,
  nodesOfGroup,
} from '../cluster/state.ts';
import { type View, freshReport } from './view.ts';

/** A restart that is due and could not begin is tried again for so long; then it is given up. */
export const RESTART_VALID_MS = 600_000;
/** One that has begun is over by then, or whoever was to carry it out is gone. */
const RESTART_TIMEOUT_MS = 900_000;

/** One after the other: two standbys of a group at once would leave its primary alone. */
export function* decideRestarts(state: ClusterState, group: GroupState, view: View): Iterable<Command> {
  let begun = group.restarts.find((restart) => restart.serverStartedAtS !== undefined)?.node;
  for (const restart of group.restarts) {
    const lateMs = view.wallMs - restart.atMs;
    if (lateMs < 0) continue;
    const { node, atMs, inPlace, serverStartedAtS } = restart;
    const base = { kind: 'schedule-restart', group: group.id, node, onlyAtMs: atMs } as const;
    const end = (outcome: string): Command => ({ ...base, at: undefined, outcome });
    if (serverStartedAtS !== undefined) {
      // mark: scheduled-restart-abandoned
      if (lateMs > RESTART_TIMEOUT_MS) yield end('given up, its peer has not said that it is done');
      continue;
    }
    const refusal = restartRefusal(group, restart);
    if (refusal !== undefined) {
      // mark: scheduled-restart-skipped
      yield end(`skipped, ${refusal}`);
      continue;
    }
    const obstacle =
      begun === undefined
        ? restartObstacle(state, group, restart, view)
        : `the restart of ${begun} has begun and not ended`;
    if (lateMs > RESTART_VALID_MS) {
      yield end(`skipped, it could not begin within ten minutes: ${obstacle ?? 'there was no leader'}`);
      continue;
    }
    const startedAtS = freshReport(view, node)?.serverStartedAtS;
    // mark: scheduled-restart-begun
    if (obstacle === undefined && startedAtS !== undefined) {
      begun = node;
      yield { ...base, at: { atMs, inPlace, serverStartedAtS: startedAtS } };
    }
  }
}

/** What waiting does not change. */
function restartRefusal(group: GroupState, { node, inPlace }: NodeRestart): string | undefined {
  const isPrimary = group.phase.kind === 'running' && group.phase.primary === node;
  return isPrimary && !inPlace
    ? `${node} is the primary by now, and it was not scheduled with --in-place`
    : undefined;
}

/** What stands in its way now. */
function restartObstacle(
  state: ClusterState,
  group: GroupState,
  { node }: Pick<NodeRestart, 'node'>,
  view: View,
): string | undefined {
  if (group.phase.kind !== 'running') return `group ${group.id} is ${group.phase.kind}`;
  const aside = asideText(group, node);
  if (aside !== undefined) return aside;
  const report = freshReport(view, node);
  if (report === undefined) return `the agent of ${node} does not answer`;
  if (report.serverStartedAtS === undefined) return `the PostgreSQL of ${node} does not run`;
  if (report.condition !== 'primary' && report.condition !== 'standby')
    return `${node} is ${report.condition}`;
  const missing = nodesOfGroup(state, group.id).find((other) => isMissed(group, other.node, node, view));
  return missing && `${missing.node} does not stream, so that the group would have one less`;
}

/**
 * Whether `other` is to be waited for: it was restarted before, or something has happened to it. One that nobody hears of does not keep a primary from
 * its restart, with which no standby is set aside.
 */
function isMissed(group: GroupState, other: NodeId, node: NodeId, view: View): boolean {
  if (other === node || other === group.phase.primary) return false;
  const aside = asideReason(group, other);
  if (aside !== undefined && aside !== 'paused') return false;
  const report = freshReport(view, other);
  return report === undefined ? node !== group.phase.primary : report.streamingFrom === undefined;
}
