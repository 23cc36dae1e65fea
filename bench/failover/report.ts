// What the benchmark prints: settings first, a line for each run, the figures at the end. Pure.
import type { BenchOptions } from './options.ts';
import type { RunResult } from './run.ts';
import { distributionOf, type Distribution } from './statistics.ts';

export interface Summary {
  readonly ok: boolean;
  readonly event: string;
  readonly control: string | null;
  readonly runs: number;
  readonly outageMs: Distribution;
  readonly wholeAgainMs: Distribution;
  readonly acked: number;
  readonly lost: number;
  /** Acknowledged in some run and not on the last primary after all of them. */
  readonly lostInTheEnd: number;
  readonly doubles: number;
  readonly duplicates: number;
  readonly lateReplies: number;
  readonly unknown: number;
  /** Switchovers that did not come about; none of their time is left out of the figures. */
  readonly calledOff: number;
  readonly settings: Readonly<Record<string, string | number>>;
  readonly perRun: readonly RunResult[];
}

const sum = (
  results: readonly RunResult[],
  key: 'acked' | 'lost' | 'doubles' | 'duplicates' | 'lateReplies' | 'unknown',
): number => results.reduce((total, result) => total + result[key], 0);

/** A control is ok when it shows what its protection prevents; everything else when nothing of that kind is seen. */
export function summarize(
  options: BenchOptions,
  settings: Summary['settings'],
  results: readonly RunResult[],
  lostInTheEnd: number,
): Summary {
  const [lost, doubles, duplicates] = [
    sum(results, 'lost'),
    sum(results, 'doubles'),
    sum(results, 'duplicates'),
  ];
  const broken = lost + lostInTheEnd + doubles > 0;
  return {
    ok: options.control === undefined ? !broken && duplicates === 0 : broken,
    event: options.event,
    control: options.control ?? null,
    runs: results.length,
    outageMs: distributionOf(results.map(({ outageMs }) => outageMs)),
    wholeAgainMs: distributionOf(results.map(({ wholeAgainMs }) => wholeAgainMs)),
    acked: sum(results, 'acked'),
    lost,
    lostInTheEnd,
    doubles,
    duplicates,
    lateReplies: sum(results, 'lateReplies'),
    unknown: sum(results, 'unknown'),
    calledOff: results.filter(({ calledOff }) => calledOff !== null).length,
    settings,
    perRun: results,
  };
}

export function settingLines(settings: Summary['settings']): string[] {
  const width = Math.max(...Object.keys(settings).map((name) => name.length));
  return Object.entries(settings).map(([name, value]) => `  ${name.padEnd(width)}  ${value}`);
}

export const RUN_TITLE = ' run   outage  whole again  from > to   epoch   acked  unknown  lost  double';

export function runLine(result: RunResult): string {
  return [
    String(result.run).padStart(4),
    `${result.outageMs} ms`.padStart(9),
    `${(result.wholeAgainMs / 1000).toFixed(1)} s`.padStart(11),
    `  ${result.primaryBefore} > ${result.primaryAfter}`.padEnd(12),
    String(result.epoch).padStart(6),
    String(result.acked).padStart(8),
    String(result.unknown).padStart(7),
    String(result.lost).padStart(6),
    String(result.doubles).padStart(6),
    result.calledOff !== null ? ` (${result.calledOff})` : result.leaderHit ? ' (Raft leader hit too)' : '',
  ].join(' ');
}

export function summaryLines(summary: Summary): string[] {
  const { outageMs, control } = summary;
  const figures = `outage: median ${outageMs.median} ms, p90 ${outageMs.p90} ms, p99 ${outageMs.p99} ms, max ${outageMs.max} ms`;
  const safety = `${summary.acked} acknowledged: ${summary.lost} lost (${summary.lostInTheEnd} of all runs missing in the end), ${summary.doubles} acknowledged by two nodes, ${summary.duplicates} there twice`;
  const off = summary.calledOff === 0 ? [] : [`${summary.calledOff} called off`];
  const verdict =
    control === null
      ? summary.ok
        ? 'as promised'
        : 'THE PROMISE IS BROKEN'
      : summary.ok
        ? `the control ${control} shows what its protection prevents`
        : `the control ${control} showed nothing: the benchmark would not have noticed; more runs, or another --thaw-after`;
  return [
    `${summary.runs} runs of ${summary.event}${control === null ? '' : ` with ${control}`}`,
    figures,
    ...off,
    safety,
    verdict,
  ];
}
