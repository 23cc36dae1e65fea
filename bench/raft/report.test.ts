import { describe, expect, test } from 'vitest';
import { spreadOf } from './arithmetic.ts';
import { LATENCY_LOADS, summarize } from './compare.ts';
import { summarizeElections } from './elections.ts';
import { brokenPromises, loadLines } from './report.ts';

const nothing = { elections: undefined, steady: [], snapshot: undefined };
const electionsOf = (lateCount: number, runCount: number) => {
  const runs = Array.from({ length: runCount }, (_, at) => {
    const leaderMs = at < lateCount ? 1001 : 600;
    return { leaderMs, acknowledgedMs: leaderMs + 5 };
  });
  return { ...nothing, elections: { ours: summarizeElections(runs), theirs: undefined } };
};
const steadyWith = (elections: number) => ({
  ...nothing,
  steady: [{ name: 'x', seconds: 60, elections, failures: [], perSecond: 1, latencyMs: spreadOf([1]) }],
});

describe('the promise', () => {
  test('is kept where nothing was measured', () => {
    expect(brokenPromises(nothing)).toEqual([]);
  });

  test('allows one late election in a hundred, not two', () => {
    expect(brokenPromises(electionsOf(1, 100))).toEqual([]);
    expect(brokenPromises(electionsOf(2, 100))).toEqual(['2 of 100 elections took longer than 1000 ms']);
    expect(brokenPromises(electionsOf(10, 1000))).toEqual([]);
    expect(brokenPromises(electionsOf(11, 1000))).toHaveLength(1);
    expect(brokenPromises(electionsOf(1, 8))).toEqual([]);
    expect(brokenPromises(electionsOf(2, 8))).toHaveLength(1);
  });

  test('allows no election under load, and none with a large snapshot', () => {
    expect(brokenPromises(steadyWith(0))).toEqual([]);
    expect(brokenPromises(steadyWith(1))).toEqual(['1 elections in 60 s of full throughput (x)']);
    const snapshot = { megabytes: 100, takingGapMs: 1, tookMs: 1, sendingGapMs: 1, elections: 1 };
    expect(brokenPromises({ ...nothing, snapshot })).toHaveLength(1);
  });
});

test('a missed ratio is said as plainly as one that is reached', () => {
  const round = (ours: number, theirs: number) => {
    const measured = (ms: number) => ({ perSecond: 1000 / ms, latencyMs: spreadOf([ms]) });
    return { ours: measured(ours), theirs: measured(theirs) };
  };
  const [line] = loadLines([summarize(LATENCY_LOADS[0]!, [round(2, 1)])]).slice(1);
  expect(line).toContain('0.50 (0.50 to 0.50)');
  expect(line).toContain('1 missed');
  const [reached] = loadLines([summarize(LATENCY_LOADS[0]!, [round(1, 1)])]).slice(1);
  expect(reached).toContain('1 reached');
});
