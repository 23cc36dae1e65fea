// Whether a standby that is not the furthest is to fetch what it lacks before a promotion, so that it can be chosen: because the furthest
// may not be promoted, or because this one is preferred and lacks little. Pure. That it is safe is apply's business (apply-fetch.ts).
import type { NodeId } from '../base/ids.ts';
import { fetchRefusal, runningFetch } from '../cluster/apply-fetch.ts';
import { type Fencing, comparePositions, isPassedOver } from '../cluster/candidate.ts';
import type { Command, CutReport } from '../cluster/commands.ts';
import { isLastChoice } from '../cluster/eligibility.ts';
import { CASCADE_FEATURE_LEVEL } from '../cluster/features.ts';
import { lagBytes } from '../base/lsn.ts';
import type { ClusterState, GroupState, WalFetch } from '../cluster/state.ts';
import type { Stopwatch } from './decide.ts';
import { PREFERENCE_FETCH_MS } from './duties.ts';
import { comparePreference } from './preference.ts';
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
  if (running !== undefined) return watch(scene, running, candidate);
  // The primary of a switchover whose target failed is to be it again.
  if (state.featureLevel < CASCADE_FEATURE_LEVEL || phase.reinstate !== undefined) return undefined;
  // What others hold does not matter: a person has named the node.
  if (phase.cause.kind === 'followed' && phase.cause.to !== undefined) return undefined;
  const source = furthest(scene);
  if (source === undefined || !isServing(scene, source.node)) return undefined;
  // Of a group that has followed another site nobody else holds what one holds that may not be promoted.
  const isAhead =
    phase.cause.kind === 'followed' && candidate !== undefined && comparePositions(source, candidate) > 0;
  const isNeeded = candidate === undefined || isLastChoice(state, group, candidate) || isAhead;
  // One that failed has cost what a preference may cost.
  const isOptional = !isNeeded && phase.fetches?.every(({ failed }) => failed === undefined) !== false;
  const isWorthIt = (report: CutReport): boolean =>
    isNeeded || (isOptional && isPreferred(scene, report, candidate));
  const isFarOff = ({ position }: CutReport): number =>
    Number(lagBytes(source.position, position) > PREFERRED_LAG_BYTES_MAX);
  const [best] = phase.reports
    .filter(
      (report) =>
        isServing(scene, report.node) &&
        isWorthIt(report) &&
        fetchRefusal(state, group, phase, report, source) === undefined,
    )
    .sort(
      (a, b) =>
        isFarOff(a) - isFarOff(b) ||
        comparePreference(state, group, phase, a, b) ||
        comparePositions(b, a) ||
        (a.node < b.node ? -1 : 1),
    );
  if (best === undefined) return undefined;
  const { id, epoch } = group;
  const how = isNeeded ? {} : ({ preference: true } as const);
  return { kind: 'fetch-wal', group: id, epoch, node: best.node, from: source.node, ...how };
}

/** The standby that holds the most of those that count: of a group that has followed another site, all. */
function furthest({ state, group, phase }: Scene): CutReport | undefined {
  const isFollowed = phase.cause.kind === 'followed';
  const [first] = phase.reports
    .filter(
      (report) =>
        isFollowed ||
        (report.node !== phase.primary &&
          report.timeline <= phase.timeline &&
          !isPassedOver(state, group, report)),
    )
    .sort((a, b) => comparePositions(b, a) || (a.node < b.node ? -1 : 1));
  return first;
}

function isPreferred({ state, group, phase }: Scene, report: CutReport, candidate: CutReport): boolean {
  if (report.timeline !== candidate.timeline || candidate.node === phase.primary) return false;
  const lack = lagBytes(candidate.position, report.position);
  return (
    lack > 0 &&
    lack <= PREFERRED_LAG_BYTES_MAX &&
    comparePreference(state, group, phase, report, candidate) < 0
  );
}

/** Its agent answers, and its PostgreSQL runs, cut off. */
function isServing({ view }: Scene, node: NodeId): boolean {
  return freshReport(view, node)?.condition === 'standby';
}

function watch(scene: Scene, fetch: WalFetch, candidate: CutReport | undefined): Command | 'wait' {
  const { state, group, phase, view, stopwatch } = scene;
  const { node, from, upTo } = fetch;
  const fail = (reason: string): Command => {
    // mark: fetch-given-up
    return { kind: 'fetch-failed', group: group.id, epoch: group.epoch, node, reason };
  };
  const report = phase.reports.find((each) => each.node === node);
  const isLevel = candidate !== undefined && comparePositions(candidate, upTo) >= 0;
  if (isLevel && !isLastResort(scene, candidate)) {
    if (report === undefined || comparePreference(state, group, phase, candidate, report) <= 0)
      return fail(`${candidate.node} holds as much, and is no less preferred`);
  }
  const { fetchTimeoutMs } = view.settings;
  const limitMs = fetch.preference === true ? Math.min(PREFERENCE_FETCH_MS, fetchTimeoutMs) : fetchTimeoutMs;
  const key = `fetching ${group.id} ${group.epoch} ${node}`;
  if (stopwatch.elapsedMs(key) >= limitMs) return fail(`it did not report within ${limitMs} ms`);
  const lost = [node, from].find((each) => !isServing(scene, each));
  const isLost = lost !== undefined && stopwatch.elapsedMs(`lost ${key}`) >= view.settings.reportFreshMs;
  return isLost ? fail(`${lost} was lost meanwhile`) : 'wait';
}

/** It is promoted only where nobody else can be. */
function isLastResort({ state, group, phase }: Scene, candidate: CutReport): boolean {
  const isFormer = candidate.node === phase.primary && phase.cause.kind !== 'followed';
  return isFormer || isLastChoice(state, group, candidate);
}
