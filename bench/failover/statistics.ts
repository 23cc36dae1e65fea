// Median and percentiles by nearest rank: every figure printed was measured, none is interpolated. Pure.

export interface Distribution {
  readonly count: number;
  readonly median: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
}

/** The smallest value that at least `percent` of all values do not exceed. Throws on an empty list. */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const value = sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)];
  if (value === undefined) throw new RangeError('there is no percentile of nothing');
  return value;
}

export function distributionOf(values: readonly number[]): Distribution {
  const at = (percent: number): number => Math.round(percentile(values, percent));
  return { count: values.length, median: at(50), p90: at(90), p99: at(99), max: at(100) };
}
