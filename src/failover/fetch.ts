// Whether a standby that is not the furthest is to fetch what it lacks before a promotion, so that it can be chosen: because the furthest
// may not be promoted, or because this one is preferred and lacks little. Pure. That it is safe is apply's business (apply-fetch.ts).
import type { NodeId } from '../base/ids.ts';
import { fetchRefusal, runningFetch } from '../cluster/apply-fetch.ts';
import { type Fencing, comparePositions, isPassedOver } from '../cluster/candidate.ts';
import type { Command, CutReport } from '../cluster/commands.ts';
import { isLastChoice, siteOfNode } from '../cluster/eligibility.ts';
import { CASCADE_FEATURE_LEVEL } from '../cluster/features.ts';
import { lagBytes } from '../base/lsn.ts';
import type { ClusterState, GroupState, WalFetch } from '../cluster/state.ts';
import type { Stopwatch } from './decide.ts';
import { type View, freshReport } from './view.ts';

/** A preferred node that lacks more is not waited for: each megabyte makes the outage longer. */
export const PREFERRED_LAG_BYTES_MAX = 16 << 20;

interface Scene {
  readonly state: ClusterState;
  readonly group: GroupState;
  readonly phase: Fencing;
  readonly view: View;
  readonly stopwatch: Stopwatch;
}

/**
 * `wait`: a fetch is under way, and nobody is promoted before it is over. A command: what to propose about one. Undefined: nothing is to be
 * fetched; `candidate` may be promoted, where there is one.
 */
export function decideFetch(scene: Scene, candidate: CutReport | undefined): Command | 'wait' | undefined {
  const { state, group, phase } = scene;
  const running = runningFetch(phase);
  if (running !== undefined) return watch(scene, running);
  // The primary of a switchover whose target failed is to be it again.
  if (state.featureLevel < CASCADE_FEATURE_LEVEL || phase.reinstate !== undefined) return undefined;
  const source = furthest(scene);
  if (source === undefined || !isServing(scene, source.node)) return undefined;
  const isNeeded = candidate === undefined || isLastChoice(state, group, candidate);
  const isWorthIt = (report: CutReport): boolean => isNeeded || isPreferred(scene, report, candidate);
  const [best] = phase.reports
    .filter(
      (report) =>
        isServing(scene, report.node) &&
        isWorthIt(report) &&
        fetchRefusal(state, group, phase, report, source) === undefined,
    )
    .sort((a, b) => preference(scene, a, b) || comparePositions(b, a) || (a.node < b.node ? -1 : 1));
  if (best === undefined) return undefined;
  return { kind: 'fetch-wal', group: group.id, epoch: group.epoch, node: best.node, from: source.node };
}

/** The standby that holds the most of those that count. */
function furthest({ state, group, phase }: Scene): CutReport | undefined {
  const [first] = phase.reports
    .filter(
      (report) =>
        report.node !== phase.primary &&
        report.timeline <= phase.timeline &&
        !isPassedOver(state, group, report),
    )
    .sort((a, b) => comparePositions(b, a) || (a.node < b.node ? -1 : 1));
  return first;
}

/** Negative where `a` is to be promoted rather than `b`, where they stand equally far. */
function preference({ state, group, phase }: Scene, a: CutReport, b: CutReport): number {
  const home = group.settings.sitePolicy === 'ignore' ? undefined : siteOfNode(state, phase.primary);
  const isFar = ({ node }: CutReport): number =>
    Number(home !== undefined && siteOfNode(state, node) !== home);
  const priority = ({ node }: CutReport): number => state.nodes.get(node)?.priority ?? 0;
  const isCascading = ({ node }: CutReport): number =>
    Number(state.nodes.get(node)?.options?.upstream !== undefined);
  return isCascading(a) - isCascading(b) || isFar(a) - isFar(b) || priority(b) - priority(a);
}

function isPreferred(scene: Scene, report: CutReport, candidate: CutReport): boolean {
  if (report.timeline !== candidate.timeline || candidate.node === scene.phase.primary) return false;
  const lack = lagBytes(candidate.position, report.position);
  return lack > 0 && lack <= PREFERRED_LAG_BYTES_MAX && preference(scene, report, candidate) < 0;
}

/** Its agent answers, and its PostgreSQL runs, cut off. */
function isServing({ view }: Scene, node: NodeId): boolean {
  return freshReport(view, node)?.condition === 'standby';
}

function watch({ group, view, stopwatch, ...scene }: Scene, { node, from }: WalFetch): Command | 'wait' {
  const fail = (reason: string): Command => {
    // mark: fetch-given-up
    return { kind: 'fetch-failed', group: group.id, epoch: group.epoch, node, reason };
  };
  const key = `fetching ${group.id} ${group.epoch} ${node}`;
  if (stopwatch.elapsedMs(key) >= view.settings.fetchTimeoutMs)
    return fail(`it did not report within ${view.settings.fetchTimeoutMs} ms`);
  const lost = [node, from].find((each) => !isServing({ group, view, stopwatch, ...scene }, each));
  const isLost = lost !== undefined && stopwatch.elapsedMs(`lost ${key}`) >= view.settings.reportFreshMs;
  return isLost ? fail(`${lost} was lost meanwhile`) : 'wait';
}
