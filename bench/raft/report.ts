// What the benchmark prints, and the one object it ends with. Pure: figures in, lines out.
import type { Spread } from './arithmetic.ts';
import type { LoadResult, LoadRound, Load } from './compare.ts';
import { ELECTION_BOUND_MS, type ElectionResult } from './elections.ts';
import type { SnapshotResult } from './snapshot.ts';
import type { StallResult } from './stall.ts';
import type { SteadyResult } from './steady.ts';

export interface Summary {
  readonly ok: boolean;
  /** What is not as promised, a sentence each. A ratio that is not reached is said, but is no failure. */
  readonly broken: readonly string[];
  readonly settings: Readonly<Record<string, string>>;
  readonly loads: readonly LoadResult[];
  readonly elections:
    { readonly ours: ElectionResult; readonly theirs: ElectionResult | undefined } | undefined;
  readonly steady: readonly SteadyResult[];
  readonly stalls: readonly StallResult[];
  readonly snapshot: SnapshotResult | undefined;
}

/** In 99 of 100 runs the next leader must be there within {@link ELECTION_BOUND_MS}. */
const WITHIN_BOUND_SHARE = 0.99;

export function brokenPromises(summary: Pick<Summary, 'elections' | 'steady' | 'snapshot'>): string[] {
  const broken: string[] = [];
  const elections = summary.elections?.ours;
  if (elections !== undefined) {
    const { runs, withinBoundCount } = elections;
    // With fewer than a hundred runs one late election is allowed still: 99 of 100 cannot be told from fewer.
    const lateMax = Math.max(1, Math.floor(runs.length * (1 - WITHIN_BOUND_SHARE) + 1e-9));
    if (runs.length - withinBoundCount > lateMax)
      broken.push(
        `${runs.length - withinBoundCount} of ${runs.length} elections took longer than ${ELECTION_BOUND_MS} ms`,
      );
  }
  for (const { name, elections: count, seconds } of summary.steady) {
    if (count > 0) broken.push(`${count} elections in ${seconds} s of full throughput (${name})`);
  }
  if (summary.snapshot !== undefined && summary.snapshot.elections > 0)
    broken.push(`${summary.snapshot.elections} elections with a large snapshot`);
  return broken;
}

export function settingLines(settings: Summary['settings']): string[] {
  const width = Math.max(...Object.keys(settings).map((name) => name.length));
  return Object.entries(settings).map(([name, value]) => `  ${name.padEnd(width)}  ${value}`);
}

export const ROUND_TITLE = `${'load'.padEnd(20)} round  ${'ours'.padStart(22)}  ${'etcd'.padStart(22)}`;

export function roundLine(load: Load, round: number, { ours, theirs }: LoadRound): string {
  const cell = (measured: LoadRound['theirs']): string =>
    (measured === undefined ? '-' : figures(load, measured)).padStart(22);
  return `${load.name.padEnd(20)} ${String(round).padStart(5)}  ${cell(ours)}  ${cell(theirs)}`;
}

function figures(load: Load, measured: LoadRound['ours']): string {
  const { median, p99 } = measured.latencyMs;
  return load.figure === 'latency'
    ? `${median.toFixed(2)} ms (99 %: ${p99.toFixed(1)})`
    : `${measured.perSecond}/s (99 %: ${p99.toFixed(0)} ms)`;
}

export function loadLines(loads: readonly LoadResult[]): string[] {
  if (loads.length === 0) return [];
  const lines = [
    `${'medians of all rounds'.padEnd(22)} ${'ours'.padStart(24)}  ${'etcd'.padStart(24)}  ratio (least to most)  target`,
  ];
  for (const { load, ours, theirs, ratio } of loads) {
    const cell = (measured: typeof theirs): string =>
      (measured === undefined ? '-' : figures(load, measured)).padStart(24);
    const compared =
      ratio === undefined
        ? '-'
        : `${ratio.median.toFixed(2)} (${ratio.min.toFixed(2)} to ${ratio.max.toFixed(2)})`;
    lines.push(
      `${load.name.padEnd(22)} ${cell(ours)}  ${cell(theirs)}  ${compared.padEnd(21)}  ${verdict(load, ratio?.median)}`,
    );
  }
  lines.push(
    'A ratio above 1: ours is better. Streams stand beside the unary call of etcd, which has no other.',
  );
  return lines;
}

function verdict(load: Load, ratio: number | undefined): string {
  if (load.targetRatio === undefined || ratio === undefined) return '';
  return `${load.targetRatio} ${ratio >= load.targetRatio ? 'reached' : 'missed'}`;
}

export function electionLines(elections: Summary['elections']): string[] {
  if (elections === undefined) return [];
  const { ours, theirs } = elections;
  const lines = (
    name: string,
    { leaderMs, acknowledgedMs, withinBoundCount, runs }: ElectionResult,
  ): string[] => [
    `${name}: new leader after SIGKILL of the old: ${spreadText(leaderMs)}; within ${ELECTION_BOUND_MS} ms in ${withinBoundCount} of ${runs.length}`,
    `${' '.repeat(name.length)}  until it acknowledged a value: ${spreadText(acknowledgedMs)}`,
  ];
  return [...lines('ours', ours), ...(theirs === undefined ? [] : lines('etcd', theirs))];
}

export function steadyLines(steady: readonly SteadyResult[]): string[] {
  return steady.map(({ name, seconds, elections, failures, perSecond, latencyMs }) => {
    const broke = failures.length === 0 ? '' : `, broke off ${failures.length} times (${failures[0]})`;
    const latency = latencyMs === undefined ? '' : `, ${spreadText(latencyMs)}`;
    return `${seconds} s of full throughput (${name}): ${elections} elections, ${perSecond}/s${latency}${broke}`;
  });
}

export function stallLines(stalls: readonly StallResult[]): string[] {
  return stalls.map(
    ({ stallMs, runs, largestGapMs, elections }) =>
      `leader's event loop stalled for ${stallMs} ms: largest gap between heartbeats ${spreadText(largestGapMs)}; ${elections} elections in ${runs} runs`,
  );
}

export function snapshotLines(snapshot: SnapshotResult | undefined): string[] {
  if (snapshot === undefined) return [];
  const { megabytes, takingGapMs, tookMs, sendingGapMs, elections } = snapshot;
  return [
    `snapshot of ${megabytes} MB: largest gap between heartbeats ${amount(takingGapMs)} while it is written, ${amount(sendingGapMs)} while it is sent;`,
    `  the follower has caught up ${(tookMs / 1000).toFixed(1)} s after its start; ${elections} elections`,
  ];
}

function spreadText({ median, p99, max }: Spread): string {
  return `median ${amount(median)}, 99 % ${amount(p99)}, at most ${amount(max)}`;
}

const amount = (ms: number): string => `${ms >= 100 ? ms.toFixed(0) : ms.toFixed(1)} ms`;
