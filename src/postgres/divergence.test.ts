// Where a node's history and its group's part, for the shapes that failovers leave behind.
import { describe, expect, test } from 'vitest';
import { timeline } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import type { TimelineBranch } from '../cluster/state.ts';
import { divergencePoint, historyMismatch } from './divergence.ts';

const at = (position: number) => lsn(BigInt(position));
const branch = (on: number, parent: number, from: number): TimelineBranch => ({
  timeline: timeline(on),
  parent: timeline(parent),
  switchLsn: at(from),
});
const entry = (on: number, left: number) => ({ timeline: timeline(on), switchLsn: at(left), reason: '' });
/** 1 ─100→ 2 ─150→ 4; timeline 3 was opened at 120 and given up. */
const BRANCHES = [branch(2, 1, 100), branch(4, 2, 150)];
const point = (own: number, history: ReturnType<typeof entry>[], branches = BRANCHES) =>
  divergencePoint({
    own: { timeline: timeline(own), history },
    group: { timeline: timeline(4), from: undefined },
    branches,
  });

describe('the point of divergence', () => {
  test('of the primary before is where the group left its timeline', () => {
    expect(point(2, [entry(1, 100)])).toBe(at(150));
  });

  test('of an earlier primary is where the group left that timeline', () => {
    expect(point(1, [])).toBe(at(100));
  });

  test('of a node that opened a timeline of its own is where that began, if that is earlier', () => {
    expect(point(3, [entry(1, 100), entry(2, 120)])).toBe(at(120));
    expect(point(3, [entry(1, 100), entry(2, 170)])).toBe(at(150));
  });

  test('is where the candidate stood while it is only being promoted', () => {
    const found = divergencePoint({
      own: { timeline: timeline(4), history: [entry(1, 100), entry(2, 150)] },
      group: { timeline: timeline(6), from: { timeline: timeline(4), position: at(300) } },
      branches: BRANCHES,
    });
    expect(found).toBe(at(300));
  });

  test('is nowhere for a node on the present timeline, or of another origin', () => {
    expect(point(4, [entry(1, 100), entry(2, 150)])).toBeUndefined();
    expect(point(7, [entry(6, 10)])).toBeUndefined();
  });
});

test('history files that say something else than the log are told', () => {
  const check = (...history: ReturnType<typeof entry>[]) =>
    historyMismatch({ timeline: timeline(4), history, branches: BRANCHES });
  expect(check(entry(1, 100), entry(2, 150))).toBeUndefined();
  expect(check(entry(1, 100), entry(2, 151))).toMatch(/timeline 4 began elsewhere/);
  expect(check(entry(1, 100), entry(3, 150))).toMatch(/timeline 4 began elsewhere/);
});

describe('a timeline that was left where it began', () => {
  // The primary of timeline 3 died before it wrote anything; a standby of timeline 2 was promoted in its place.
  const branches = [branch(2, 1, 100), branch(3, 2, 150), branch(4, 2, 150)];
  const check = (on: number, history: readonly ReturnType<typeof entry>[], of = branches) =>
    historyMismatch({ timeline: timeline(on), history, branches: of });

  test('may stand in a history although the log went past it, and the reverse', () => {
    expect(check(4, [entry(1, 100), entry(2, 150), entry(3, 150)])).toBeUndefined();
    expect(check(4, [entry(1, 100), entry(2, 150)])).toBeUndefined();
    const through = [branch(2, 1, 100), branch(3, 2, 150), branch(4, 3, 150)];
    expect(check(4, [entry(1, 100), entry(2, 150)], through)).toBeUndefined();
    expect(check(4, [entry(1, 100), entry(2, 150), entry(3, 150)], through)).toBeUndefined();
  });

  test('does not excuse one that holds something', () => {
    expect(check(4, [entry(1, 100), entry(2, 150), entry(3, 151)])).toMatch(/timeline 4 began elsewhere/);
    expect(check(4, [entry(1, 100), entry(2, 140), entry(3, 150)])).toMatch(/began elsewhere/);
    expect(check(4, [entry(1, 100), entry(3, 150)])).toMatch(/began elsewhere/);
  });
});
