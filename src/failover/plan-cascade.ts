// Which upstream each cascading standby is to stream from (apply-cascade.ts): the one that its owners gave it while that is well, else the
// primary. Pure. It goes back only after its upstream has been well for a while, twice as long after each time that it was lost.
import type { NodeId } from '../base/ids.ts';
import { lagBytes } from '../base/lsn.ts';
import { cascadeOf, upstreamOf } from '../cluster/apply-cascade.ts';
import type { Command } from '../cluster/commands.ts';
import { isCounted } from '../cluster/apply-removal.ts';
import { CASCADE_FEATURE_LEVEL } from '../cluster/features.ts';
import { disowned } from '../cluster/hosts.ts';
import type { AgentReport } from '../cluster/report.ts';
import {
  type ClusterState,
  type GroupState,
  type NodeState,
  asideReason,
  nodesOfGroup,
} from '../cluster/state.ts';
import type { Stopwatch } from './decide.ts';
import { type View, freshReport } from './view.ts';

/** An upstream that is further behind than this is left; one is gone to that is behind by less than a quarter of it. */
const UPSTREAM_LAG_BYTES_MAX = 256 << 20;
/** A standby that does not stream from an upstream that is well is given so many times longer than one whose upstream is lost. */
const PATIENCE = 10;

interface Scene {
  readonly state: ClusterState;
  readonly group: GroupState;
  readonly view: View;
  readonly stopwatch: Stopwatch;
}

export function* planCascades(
  state: ClusterState,
  group: GroupState,
  view: View,
  stopwatch: Stopwatch,
): Iterable<Command> {
  if (state.featureLevel < CASCADE_FEATURE_LEVEL || group.phase.kind !== 'running') return;
  const scene: Scene = { state, group, view, stopwatch };
  for (const node of nodesOfGroup(state, group.id)) {
    const wish = wishOf(scene, node);
    if (wish === undefined) continue;
    yield {
      kind: 'use-upstream',
      group: group.id,
      epoch: group.epoch,
      node: node.node,
      upstream: wish.upstream,
    };
  }
}

/** What is to change for the node; undefined: nothing. */
function wishOf(scene: Scene, node: NodeState): { readonly upstream: NodeId | undefined } | undefined {
  const { group } = scene;
  const present = cascadeOf(group, node.node)?.upstream;
  if (present !== undefined) return isToLeave(scene, node, present) ? { upstream: undefined } : undefined;
  const upstream = node.options?.upstream;
  if (upstream === undefined || node.node === group.phase.primary) return undefined;
  if (asideReason(group, node.node) !== undefined || isCounted(group, node)) return undefined;
  return isToUse(scene, node, upstream) ? { upstream } : undefined;
}

function isToUse(scene: Scene, node: NodeState, upstream: NodeId): boolean {
  const { state, group, view, stopwatch } = scene;
  const source = state.nodes.get(upstream);
  // It may have been registered later, and elsewhere.
  if (source?.group !== group.id) return false;
  // Nobody looks after it, whatever its last report says.
  if (disowned(state, source) !== undefined) return false;
  if (upstream === group.phase.primary || asideReason(group, upstream) !== undefined) return false;
  const report = freshReport(view, node.node);
  if (report === undefined || !isWell({ group, view }, upstream, UPSTREAM_LAG_BYTES_MAX / 4)) return false;
  for (let at: NodeState | undefined = source; at !== undefined; at = upstreamOf(state, group, at.node))
    if (at.node === node.node) return false;
  const { lostCount } = cascadeOf(group, node.node) ?? { lostCount: 0 };
  const isNew = node.member === undefined && lostCount === 0;
  // One without data takes its clone from there, and that begins at once; a clone from the primary that is well under way goes on.
  if (isNew && report.condition === 'cloning')
    return stopwatch.elapsedMs(`new ${node.node}`) < view.settings.upstreamAfterMs;
  // One that must be rewound gets that from the primary alone (rejoin.ts).
  if (report.condition !== 'absent' && !streams(scene, node, group.phase.primary)) return false;
  const waitMs = isNew ? 0 : view.settings.upstreamAfterMs * 2 ** lostCount;
  return stopwatch.elapsedMs(`upstream well ${node.node}`) >= waitMs;
}

function isToLeave(scene: Scene, node: NodeState, upstream: NodeId): boolean {
  const { state, group, view, stopwatch } = scene;
  const { upstreamLostMs } = view.settings;
  // By the log alone nobody could stream from it: the node has turned to the primary already.
  const source = upstreamOf(state, group, node.node);
  if (source === undefined) return true;
  // Without a word from the primary nobody knows who streams; nor does a standby that follows it get any further.
  const primary = freshReport(view, group.phase.primary);
  if (primary?.condition !== 'primary') return false;
  const report = freshReport(view, node.node);
  // A clone that comes to nothing ends by itself, and is said to have failed.
  if (report?.condition === 'cloning') return false;
  if (!isWell({ group, view }, upstream, UPSTREAM_LAG_BYTES_MAX)) {
    // Its agent alone may be gone, such as for a restart: PostgreSQL goes on there, as those see that stream from it. Not for long where its
    // host no longer names it: that agent does not come back.
    const isServed =
      disowned(state, source) === undefined &&
      freshReport(view, upstream) === undefined &&
      report?.streamingFrom?.host === source.host &&
      report.streamingFrom.port === source.port &&
      isNear(primary, report, UPSTREAM_LAG_BYTES_MAX);
    return !isServed && stopwatch.elapsedMs(`upstream lost ${node.node}`) >= upstreamLostMs;
  }
  if (report === undefined || report.condition === 'starting' || streams(scene, node, upstream)) return false;
  // mark: cascade-does-not-stream
  return stopwatch.elapsedMs(`not streaming ${node.node}`) >= PATIENCE * upstreamLostMs;
}

/** It streams, from whomever, as its own agent says, or from that node, as the agent of that one does. */
function streams({ view }: Scene, node: NodeState, from: NodeId): boolean {
  const report = freshReport(view, node.node);
  if (report?.condition !== 'standby') return false;
  return report.streamingFrom !== undefined || streamsFrom(freshReport(view, from), node);
}

/** It streams, as its own agent or the primary says, and is not too far behind. */
function isWell({ group, view }: Pick<Scene, 'group' | 'view'>, upstream: NodeId, lagMax: number): boolean {
  const report = freshReport(view, upstream);
  const primary = freshReport(view, group.phase.primary);
  if (report?.condition !== 'standby' || primary === undefined) return false;
  if (report.streamingFrom === undefined && !streamsFrom(primary, { member: report.member })) return false;
  return isNear(primary, report, lagMax);
}

function isNear(primary: AgentReport, report: AgentReport, lagMax: number): boolean {
  if (report.position === undefined || primary.position === undefined) return false;
  return lagBytes(primary.position, report.position) <= lagMax;
}

function streamsFrom(upstream: AgentReport | undefined, { member }: Pick<NodeState, 'member'>): boolean {
  return upstream?.walSenders.some(({ applicationName }) => applicationName === member) === true;
}
