import { expect, test } from 'vitest';
import { FAULTS } from './faults.ts';
import { rounds, type Round } from './schedule.ts';

const NAMES = Object.keys(FAULTS);

function first(count: number, seed: number): Round[] {
  const schedule = rounds(seed, NAMES);
  return Array.from({ length: count }, () => schedule.next().value);
}

test('the same seed gives the same schedule, another one another', () => {
  expect(first(20, 7)).toEqual(first(20, 7));
  expect(first(20, 8)).not.toEqual(first(20, 7));
});

test('every fault comes, on every role', () => {
  const steps = first(500, 1).flat();
  expect(new Set(steps.map(({ fault }) => fault))).toEqual(new Set(NAMES));
  expect(new Set(steps.map(({ role }) => role))).toEqual(new Set([0, 1, 2]));
});
