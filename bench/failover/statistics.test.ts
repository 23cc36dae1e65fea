import fc from 'fast-check';
import { expect, test } from 'vitest';
import { distributionOf, percentile } from './statistics.ts';

test('percentiles are values that were measured, by nearest rank', () => {
  expect(percentile([15, 20, 35, 40, 50], 30)).toBe(20);
  expect(percentile([15, 20, 35, 40, 50], 50)).toBe(35);
  expect(percentile([7], 99)).toBe(7);
  expect(() => percentile([], 50)).toThrow(RangeError);
});

test('a distribution does not depend on the order and is never below what it bounds', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(10_000), { minLength: 1 }), (values) => {
      const { median, p90, p99, max } = distributionOf(values);
      expect(distributionOf(values.toReversed())).toEqual(distributionOf(values));
      expect([median, p90, p99, max]).toEqual([median, p90, p99, max].toSorted((a, b) => a - b));
      expect(max).toBe(Math.max(...values));
      expect(values.filter((value) => value <= p90).length).toBeGreaterThanOrEqual(values.length * 0.9);
    }),
  );
});
