import { describe, expect, test } from 'vitest';
import { LATENCY_LOADS, type LoadRound, type Measured, summarize, THROUGHPUT_LOADS } from './compare.ts';

const measured = (perSecond: number, median: number): Measured => ({
  perSecond,
  latencyMs: { count: 10, median, p90: median * 2, p99: median * 3, max: median * 4 },
});
const latency = LATENCY_LOADS[0]!;
const throughput = THROUGHPUT_LOADS[0]!;

describe('the summary of a load', () => {
  const rounds: readonly LoadRound[] = [
    { ours: measured(1000, 2), theirs: measured(2000, 1) },
    { ours: measured(3000, 1), theirs: measured(3000, 1) },
    { ours: measured(100, 20), theirs: measured(1000, 1) },
  ];

  test('compares what the load is for, and takes the median of the rounds', () => {
    expect(summarize(throughput, rounds).ratio).toEqual({ median: 0.5, min: 0.1, max: 1 });
    expect(summarize(latency, rounds).ratio).toEqual({ median: 0.5, min: 0.05, max: 1 });
  });

  test('gives medians, and the largest of all', () => {
    expect(summarize(throughput, rounds).ours).toEqual({
      perSecond: 1000,
      latencyMs: { count: 30, median: 2, p90: 4, p99: 6, max: 80 },
    });
  });

  test('has no ratio without etcd', () => {
    const alone = summarize(
      throughput,
      rounds.map(({ ours }) => ({ ours, theirs: undefined })),
    );
    expect(alone.ratio).toBeUndefined();
    expect(alone.theirs).toBeUndefined();
    expect(alone.ours.perSecond).toBe(1000);
  });
});
