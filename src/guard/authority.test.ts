import { describe, expect, test } from 'vitest';
import {
  NOT_MEASURED,
  type Lease,
  afterMeasurement,
  isProven,
  jumpBetween,
  leaseTrouble,
  marginOf,
  parseEnforced,
  rulesToProve,
} from './authority.ts';
import { renderSynchronousStandbys } from '../postgres/settings.ts';
import type { Moment } from './boot-clock.ts';

const at = (bootMs: number, bootId = 'one'): Moment => ({ bootMs, bootId });

describe('the rule that a server enforces', () => {
  test('is read from what we write, and from nothing else', () => {
    expect(parseEnforced('')).toEqual({ kind: 'alone' });
    expect(parseEnforced('ANY 2 ("a", "b", "c")')).toEqual({
      kind: 'any',
      acks: 2,
      members: ['a', 'b', 'c'],
    });
    expect(parseEnforced('ANY 1 (a)')).toEqual({ kind: 'any', acks: 1, members: ['a'] });
    for (const other of ['*', 'FIRST 1 (a, b)', 'a, b', 'ANY 1 (*)', 'ANY 0 (a)', 'ANY 1 ()'])
      expect(parseEnforced(other), other).toEqual({ kind: 'unknown' });
  });

  test('alone needs no proof where the log says so, and the log is believed where the server says otherwise', () => {
    const rule = { members: ['a', 'b'], acks: 1 };
    const alone = { members: [], acks: 0 };
    expect(rulesToProve({ kind: 'alone' }, [alone])).toEqual([]);
    expect(rulesToProve({ kind: 'alone' }, [rule, alone])).toEqual([]);
    expect(rulesToProve({ kind: 'alone' }, [rule])).toEqual([rule]);
    expect(rulesToProve({ kind: 'unknown' }, [rule])).toEqual([rule]);
    expect(rulesToProve({ kind: 'any', members: ['c'], acks: 1 }, [alone])).toMatchObject([
      { members: ['c'] },
    ]);
  });

  test('a primary that is changing from alone to a rule needs no proof while it waits for nobody yet', () => {
    const rule = { members: ['a'], acks: 1 };
    const alone = { members: [], acks: 0 };
    const nobody = parseEnforced(renderSynchronousStandbys({ kind: 'nobody' }));
    expect(rulesToProve(nobody, [alone, rule])).toEqual([]);
    // Started under a rule: it has yet to prove that it still is the primary.
    expect(rulesToProve(nobody, [rule])).toEqual([nobody]);
    // The change may count in the log already.
    expect(rulesToProve({ kind: 'any', ...rule }, [alone, rule])).toEqual([{ kind: 'any', ...rule }]);
  });

  test('two connections of one member count once, and a stranger not at all', () => {
    const rules = [{ members: ['a', 'b', 'c'], acks: 2 }];
    expect(isProven(rules, ['a', 'a'])).toBe(false);
    expect(isProven(rules, ['a', 'x', 'y'])).toBe(false);
    expect(isProven(rules, ['c', 'a'])).toBe(true);
    expect(isProven([...rules, { members: ['d'], acks: 1 }], ['c', 'a'])).toBe(false);
  });
});

describe('missing proof', () => {
  const after = (steps: readonly (readonly ['proven' | 'unproven' | 'failed', number])[]): number =>
    steps.reduce((state, [result, nowMs]) => afterMeasurement(state, result, nowMs), NOT_MEASURED).unprovenMs;

  test('adds up from one measurement without it to the next, and ends with one', () => {
    expect(
      after([
        ['proven', 0],
        ['unproven', 2000],
        ['unproven', 4000],
      ]),
    ).toBe(4000);
    expect(
      after([
        ['unproven', 2000],
        ['unproven', 4000],
        ['proven', 6000],
      ]),
    ).toBe(0);
  });

  test('is not assumed while nothing can be measured', () => {
    const steps: ['unproven' | 'failed', number][] = [
      ['unproven', 0],
      ['unproven', 2000],
    ];
    for (let ms = 4000; ms < 100_000; ms += 2000) steps.push(['failed', ms]);
    expect(after(steps)).toBe(2000);
    steps.push(['unproven', 100_000], ['unproven', 101_000]);
    expect(after(steps)).toBe(3000);
  });

  test('does not count the time in which the guard itself stood still', () => {
    expect(
      after([
        ['unproven', 0],
        ['unproven', 3_600_000],
      ]),
    ).toBe(5000);
  });
});

describe('a lease', () => {
  const lease: Lease = { sent: at(10_000), untilBootMs: 15_000 };

  test('ends a margin early for the one who holds it', () => {
    expect(marginOf(lease)).toBe(1000);
    expect(leaseTrouble(lease, at(13_999), marginOf(lease))).toBeUndefined();
    expect(leaseTrouble(lease, at(14_000), marginOf(lease))).toMatch(/ends in 1000 ms/);
    expect(leaseTrouble(lease, at(15_010), 0)).toMatch(/ended 10 ms ago/);
    expect(leaseTrouble(undefined, at(0), 0)).toMatch(/no lease/);
  });

  test('ends when the wall clock jumps against the boot clock, forth or back, until one is asked for after that', () => {
    expect(jumpBetween(1_000_000, 1_000_500, at(11_000), lease)).toBeUndefined();
    expect(jumpBetween(1_000_000, 1_000_501, at(11_000), lease)).toEqual({ bootMs: 11_000, byMs: 501 });
    const back = jumpBetween(1_000_000, 999_000, at(11_000), lease);
    expect(leaseTrouble(lease, at(11_050), 0, back)).toMatch(/jumped by -1000 ms/);
    expect(leaseTrouble({ sent: at(11_010), untilBootMs: 16_010 }, at(11_050), 0, back)).toBeUndefined();
  });

  test('does not outlive the boot', () => {
    expect(leaseTrouble(lease, at(10_001, 'two'), 0)).toMatch(/earlier boot/);
  });
});
