// What the benchmark prints: settings first, a line for each run, the figures at the end. Pure.
import type { BenchOptions, Event } from './options.ts';
import type { RunResult } from './run.ts';
import { TAKES_OVER } from './strike.ts';
import { distributionOf, type Distribution } from './statistics.ts';

export interface Summary {
  readonly ok: boolean;
  readonly event: Event;
  readonly control: string | null;
  readonly runs: number;
  readonly outageMs: Distribution;
  /** The largest gap of the quiet stretch before each event. */
  readonly controlGapMs: Distribution;
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
  /** Runs in which another node took over although the primary was well. */
  readonly needless: number;
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
  const needless = TAKES_OVER[options.event] ? 0 : results.filter(({ failedOver }) => failedOver).length;
  return {
    ok: options.control === undefined ? !broken && duplicates === 0 && needless === 0 : broken,
    event: options.event,
    control: options.control ?? null,
    runs: results.length,
    outageMs: distributionOf(results.map(({ outageMs }) => outageMs)),
    controlGapMs: distributionOf(results.map(({ controlGapMs }) => controlGapMs)),
    wholeAgainMs: distributionOf(results.map(({ wholeAgainMs }) => wholeAgainMs)),
    acked: sum(results, 'acked'),
    lost,
    lostInTheEnd,
    doubles,
    duplicates,
    lateReplies: sum(results, 'lateReplies'),
    unknown: sum(results, 'unknown'),
    calledOff: results.filter(({ calledOff }) => calledOff !== null).length,
    needless,
    settings,
    perRun: results,
  };
}

export function settingLines(settings: Summary['settings']): string[] {
  const width = Math.max(...Object.keys(settings).map((name) => name.length));
  return Object.entries(settings).map(([name, value]) => `  ${name.padEnd(width)}  ${value}`);
}

export const RUN_TITLE =
  ' run    outage    control  whole again  from > to    epoch    acked  unknown  lost  double  hit';

export function runLine(result: RunResult): string {
  return [
    String(result.run).padStart(4),
    `${result.outageMs} ms`.padStart(9),
    `${result.controlGapMs} ms`.padStart(10),
    `${(result.wholeAgainMs / 1000).toFixed(1)} s`.padStart(12),
    ` ${result.primaryBefore} > ${result.primaryAfter}`.padEnd(12),
    String(result.epoch).padStart(6),
    String(result.acked).padStart(8),
    String(result.unknown).padStart(8),
    String(result.lost).padStart(5),
    String(result.doubles).padStart(7),
    ` ${result.hit}${remark(result)}`,
  ].join(' ');
}

function remark({ calledOff, leaderHit }: RunResult): string {
  if (calledOff !== null) return ` (${calledOff})`;
  return leaderHit ? ' (with the Raft leader)' : '';
}

/** Below this many runs the 99th percentile is the worst of them, and says no more. */
const P99_RUN_COUNT_MIN = 100;

export function summaryLines(summary: Summary): string[] {
  const { event, control, runs } = summary;
  const off = summary.calledOff === 0 ? [] : [`${summary.calledOff} called off`];
  const needless =
    summary.needless === 0
      ? []
      : [`${summary.needless} times another node took over from a primary that was well`];
  return [
    `${runs} runs of ${event}${control === null ? '' : ` with ${control}`}`,
    ...table(summary),
    ...off,
    ...needless,
    `${summary.acked} acknowledged: ${summary.lost} lost (${summary.lostInTheEnd} of all runs missing in the end), ${summary.doubles} acknowledged by two nodes, ${summary.duplicates} there twice`,
    verdictOf(summary),
  ];
}

function table(summary: Summary): string[] {
  const { event, runs } = summary;
  const quietMs = summary.perRun.map(({ controlMs }) => controlMs);
  const rows: readonly (readonly [string, Distribution])[] = [
    [TAKES_OVER[event] ? 'outage' : 'longest pause', summary.outageMs],
    ['quiet stretch before', summary.controlGapMs],
    ['whole again after', summary.wholeAgainMs],
  ];
  const line = (name: string, cells: readonly string[]): string =>
    `  ${name.padEnd(22)}${cells.map((cell) => cell.padStart(11)).join('')}`;
  return [
    line('', ['median', '90 %', '99 %', 'worst']),
    ...rows.map(([name, { median, p90, p99, max }]) =>
      line(
        name,
        [median, p90, p99, max].map((ms) => `${ms} ms`),
      ),
    ),
    `  quiet stretch: the same client undisturbed, ${(Math.min(...quietMs) / 1000).toFixed(1)} to ${(Math.max(...quietMs) / 1000).toFixed(1)} s`,
    ...(runs < P99_RUN_COUNT_MIN ? [`  of ${runs} runs: 99 % says no more than the worst`] : []),
  ];
}

function verdictOf({ control, ok }: Summary): string {
  if (control === null) return ok ? 'as promised' : 'THE PROMISE IS BROKEN';
  return ok
    ? `the control ${control} shows what its protection prevents`
    : `the control ${control} showed nothing: the benchmark would not have noticed; more runs, or another --thaw-after`;
}
