import { describe, expect, test } from 'vitest';
import { createPulse, electionsBetween, medianOf, ratioOf, spreadOf } from './arithmetic.ts';

describe('spreads', () => {
  test('are values that were measured, to a hundredth of a millisecond', () => {
    const values = Array.from({ length: 200 }, (_, at) => 200.004 - at);
    expect(spreadOf(values)).toEqual({ count: 200, median: 100, p90: 180, p99: 198, max: 200 });
    expect(spreadOf([1.239])).toEqual({ count: 1, median: 1.24, p90: 1.24, p99: 1.24, max: 1.24 });
    expect(() => spreadOf([])).toThrow(RangeError);
  });
});

describe('medians', () => {
  test('are the middle, or half-way between the two in the middle', () => {
    expect(medianOf([9, 1, 5])).toBe(5);
    expect(medianOf([9, 1, 5, 7])).toBe(6);
    expect(medianOf([4])).toBe(4);
    expect(() => medianOf([])).toThrow(RangeError);
  });
});

describe('ratios', () => {
  test('are above 1 where we are better: more a second', () => {
    expect(ratioOf([{ ours: 3000, theirs: 4000 }], 'higher').median).toBe(0.75);
  });

  test('are above 1 where we are better: fewer milliseconds', () => {
    expect(ratioOf([{ ours: 1, theirs: 1.5 }], 'lower').median).toBe(1.5);
  });

  test('are taken pair by pair, so that noise that hits both of a pair is not seen', () => {
    const quiet = { ours: 4000, theirs: 4000 };
    const busy = { ours: 1000, theirs: 1000 };
    expect(ratioOf([quiet, busy, quiet], 'higher')).toEqual({ median: 1, min: 1, max: 1 });
  });

  test('show how far the pairs lie apart', () => {
    const pairs = [
      { ours: 1, theirs: 2 },
      { ours: 2, theirs: 2 },
      { ours: 3, theirs: 2 },
    ];
    expect(ratioOf(pairs, 'higher')).toEqual({ median: 1, min: 0.5, max: 1.5 });
  });

  test('are refused where one side was not measured', () => {
    expect(() => ratioOf([{ ours: 0, theirs: 1 }], 'higher')).toThrow(/0 to 1/);
    expect(() => ratioOf([{ ours: 1, theirs: Number.NaN }], 'lower')).toThrow(RangeError);
    expect(() => ratioOf([], 'lower')).toThrow(RangeError);
  });
});

describe('the election counter', () => {
  test('counts no election while the highest term stays, although a member was behind', () => {
    expect(electionsBetween({ terms: [4, 3, 4] }, { terms: [4, 4, 4] })).toBe(0);
  });

  test('counts every term, also those that elected nobody, and one that only one member has seen', () => {
    expect(electionsBetween({ terms: [4, 4, 4] }, { terms: [4, 7, 4] })).toBe(3);
  });

  test('does not count what it cannot', () => {
    expect(() => electionsBetween({ terms: [] }, { terms: [1] })).toThrow(/nobody was asked/);
    expect(() => electionsBetween({ terms: [5] }, { terms: [4] })).toThrow(/term 4 after term 5/);
  });
});

describe('the pulse', () => {
  test('keeps the largest gap, and sees the one that is still open', () => {
    const pulse = createPulse();
    expect(pulse.largestGapMs(50)).toBeUndefined();
    for (const atMs of [100, 200, 450, 550]) pulse.beat(atMs);
    expect(pulse.largestGapMs(560)).toBe(250);
    expect(pulse.largestGapMs(1000)).toBe(450);
    expect(pulse.count).toBe(4);
  });

  test('after a reset knows of the gap that was open, and of nothing before', () => {
    const pulse = createPulse();
    for (const atMs of [0, 900, 1000]) pulse.beat(atMs);
    pulse.reset();
    pulse.beat(1100);
    expect(pulse.largestGapMs(1100)).toBe(100);
    expect(pulse.count).toBe(1);
  });
});
