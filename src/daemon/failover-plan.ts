// `sentinelctl failover --dry-run`: what would happen now, to whom, what would be lost, and why it could not be done. For people only:
// it is made of the latest reports, and what is decided later goes by the log.
import { formatDuration } from '../base/duration.ts';
import type { NodeId } from '../base/ids.ts';
import { lagBytes } from '../base/lsn.ts';
import type { AgentReport } from '../cluster/report.ts';
import { type ClusterState, type GroupState, asideReason, nodesOfGroup } from '../cluster/state.ts';
import { canBeCut, knownLossBytes, mayBePromoted, switchoverObstacle } from '../failover/obstacles.ts';
import { type View, freshReport } from '../failover/view.ts';
import type { FailoverOutcome, FailoverRequest } from '../transport/types.ts';

type Planned = Extract<FailoverOutcome, { readonly kind: 'planned' }>;

export function planFailover(
  state: ClusterState,
  group: GroupState,
  request: FailoverRequest,
  view: View,
): Planned {
  return request.acceptDataLoss === true
    ? planForced(state, group, request, view)
    : planSwitchover(state, group, request.to, view);
}

function planSwitchover(state: ClusterState, group: GroupState, to: NodeId | undefined, view: View): Planned {
  const from = group.phase.primary;
  const target = to ?? furthest(state, group, view)?.node;
  const primary = freshReport(view, from);
  const report = target === undefined ? undefined : freshReport(view, target);
  const behind =
    primary?.position === undefined || report?.position === undefined
      ? 'how far it is behind is not known'
      : `${Math.max(0, lagBytes(primary.position, report.position))} bytes behind now`;
  return {
    kind: 'planned',
    group: group.id,
    from,
    to: target,
    steps: [
      `${from} makes a checkpoint and stops cleanly; its sessions end and writes wait`,
      `${target ?? 'a standby'} is promoted once it has every acknowledged commit (${behind})`,
      `${from} follows it as a standby; should the promotion fail, ${from} is the primary again`,
    ],
    obstacle: switchoverObstacle(state, group, to, view),
    lossBytes: undefined,
  };
}

function planForced(
  state: ClusterState,
  group: GroupState,
  { to, oldPrimaryIsOff }: FailoverRequest,
  view: View,
): Planned {
  const from = group.phase.primary;
  const report = to === undefined ? furthest(state, group, view) : freshReport(view, to);
  const target = to ?? report?.node;
  const { timeline, position } = report ?? {};
  const lossBytes =
    target === undefined || timeline === undefined || position === undefined
      ? undefined
      : knownLossBytes(group, { node: target, timeline, position }, view);
  const proof =
    oldPrimaryIsOff === true
      ? `your word is taken that ${from} is off`
      : freshReport(view, from) === undefined
        ? `its agent does not answer: nobody is promoted before ${from} is known to be off (its agent's word, a fence command, or --old-primary-is-off)`
        : `its agent answers, and stops it`;
  return {
    kind: 'planned',
    group: group.id,
    from,
    to: target,
    steps: [
      `${from} is cut off: every node that can be reached ends its WAL streams and reports how far it is`,
      proof,
      `${target ?? 'the node that holds the most'} is promoted${lossText(group, lossBytes, view)}`,
      `${from} follows it once it is back; what it alone holds is lost`,
    ],
    obstacle: forcedObstacle(state, group, to, view, oldPrimaryIsOff === true),
    lossBytes,
  };
}

/** What the candidate lacks, and how old that knowledge is. */
function lossText(group: GroupState, lossBytes: number | undefined, view: View): string {
  const from = group.phase.primary;
  const heard = view.reports.get(from);
  if (lossBytes === undefined || heard === undefined)
    return `; how much it lacks of what ${from} holds is not known`;
  const ageMs = view.nowMs - heard.receivedAtMs;
  const age = ageMs > view.settings.reportFreshMs ? `, ${formatDuration(ageMs)} ago` : '';
  return `; it lacks ${lossBytes} bytes of the WAL that ${from} was last known to hold${age}, and whatever ${from} has written since`;
}

/** Why a failover that may lose writes is not begun. */
export function forcedObstacle(
  state: ClusterState,
  group: GroupState,
  to: NodeId | undefined,
  view: View,
  isOff: boolean,
): string | undefined {
  const { phase } = group;
  if (phase.kind === 'creating') return `group ${group.id} is being created`;
  if (switchoverObstacle(state, group, to, view) === undefined)
    return 'nothing has to be lost: it can be done without --accept-data-loss';
  if (isOff && freshReport(view, phase.primary) !== undefined)
    return `${phase.primary} is not off: its agent answers, and will stop it; leave --old-primary-is-off out`;
  if (to !== undefined) {
    const node = state.nodes.get(to);
    if (node === undefined || node.group !== group.id) return `there is no node ${to} in group ${group.id}`;
    if (freshReport(view, to) === undefined)
      return `the agent of ${to} (peer ${node.peer}) cannot be reached`;
  } else if (furthest(state, group, view) === undefined) return 'no standby can be reached';
  return undefined;
}

/** The standby that can be reached and stands highest. */
function furthest(state: ClusterState, group: GroupState, view: View): AgentReport | undefined {
  const reports = nodesOfGroup(state, group.id).flatMap((node) => {
    const isAble =
      node.node !== group.phase.primary &&
      asideReason(group, node.node) === undefined &&
      mayBePromoted(state, group, node) &&
      canBeCut(view, node.node);
    return isAble ? (freshReport(view, node.node) ?? []) : [];
  });
  const rank = (report: AgentReport): bigint => report.position ?? 0n;
  const [best] = reports.sort(
    (a, b) =>
      (b.timeline ?? 0) - (a.timeline ?? 0) ||
      (rank(a) === rank(b) ? 0 : rank(a) > rank(b) ? -1 : 1) ||
      (state.nodes.get(b.node)?.priority ?? 0) - (state.nodes.get(a.node)?.priority ?? 0),
  );
  return best;
}
