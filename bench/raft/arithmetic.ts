// The benchmark's own arithmetic: distributions, ratios, elections and gaps. Pure; every figure that is printed comes from here.
import { percentile } from '../failover/statistics.ts';

/** Milliseconds, rounded to a hundredth. */
export interface Spread {
  readonly count: number;
  readonly median: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
}

/** Throws on an empty list. */
export function spreadOf(values: readonly number[]): Spread {
  const at = (percent: number): number => rounded(percentile(values, percent), 2);
  return { count: values.length, median: at(50), p90: at(90), p99: at(99), max: at(100) };
}

/** The middle value; the mean of the two in the middle where their number is even. Throws on an empty list. */
export function medianOf(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)];
  const lower = sorted[Math.ceil(sorted.length / 2) - 1];
  if (upper === undefined || lower === undefined) throw new RangeError('there is no median of nothing');
  return (lower + upper) / 2;
}

function rounded(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}

/** One pair of measurements, taken one right after the other. */
export interface Pair {
  readonly ours: number;
  readonly theirs: number;
}

export interface Ratio {
  /** Above 1 we are better, whichever way the figure is better. */
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/**
 * How we compare, pair by pair, so that what slowed the machine down for a while slowed down both of a pair; then the median of
 * the pairs. Throws on an empty list, and on a figure that is not above 0: it was not measured.
 */
export function ratioOf(pairs: readonly Pair[], better: 'higher' | 'lower'): Ratio {
  const ratios = pairs.map(({ ours, theirs }) => {
    if (!(ours > 0) || !(theirs > 0)) throw new RangeError(`there is no ratio of ${ours} to ${theirs}`);
    return better === 'higher' ? ours / theirs : theirs / ours;
  });
  return {
    median: rounded(medianOf(ratios), 3),
    min: rounded(Math.min(...ratios), 3),
    max: rounded(Math.max(...ratios), 3),
  };
}

/** What the members said of themselves at one moment. */
export interface Terms {
  readonly terms: readonly number[];
}

/**
 * Elections between two moments: every election has a term of its own, so the highest term counts them, those that elected
 * nobody too. Throws when the terms go down: the members are then not those of before.
 */
export function electionsBetween(before: Terms, after: Terms): number {
  const first = Math.max(...before.terms);
  const last = Math.max(...after.terms);
  if (!Number.isFinite(first) || !Number.isFinite(last))
    throw new RangeError('elections cannot be counted: nobody was asked');
  if (last < first) throw new RangeError(`elections cannot be counted: term ${last} after term ${first}`);
  return last - first;
}

/** Notes when something came that should come regularly, and keeps the largest gap. Times are monotonic milliseconds. */
export interface Pulse {
  beat(nowMs: number): void;
  /** The largest gap since the last reset, the one that is still open included; undefined before the first beat. */
  largestGapMs(nowMs: number): number | undefined;
  readonly count: number;
  /** Forgets all gaps; the one that is open begins with the last beat. */
  reset(): void;
}

export function createPulse(): Pulse {
  let lastMs: number | undefined;
  let largestMs = 0;
  let count = 0;
  return {
    beat(nowMs) {
      if (lastMs !== undefined) largestMs = Math.max(largestMs, nowMs - lastMs);
      lastMs = nowMs;
      count += 1;
    },
    largestGapMs: (nowMs) => (lastMs === undefined ? undefined : Math.max(largestMs, nowMs - lastMs)),
    get count() {
      return count;
    },
    reset() {
      largestMs = 0;
      count = 0;
    },
  };
}
