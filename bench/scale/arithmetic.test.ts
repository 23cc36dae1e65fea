import { describe, expect, test } from 'vitest';
import {
  burstSize,
  corePercent,
  cpuMsOf,
  perMinute,
  ratioOf,
  residentBytesOf,
  takeTurns,
  timesOf,
} from './arithmetic.ts';

const usage = (cpuMs: number) => ({ cpuMs, residentBytes: 0 });

describe('the arithmetic of bench:scale', () => {
  test('a share of one core is processor time by time, and above 100 where several threads work', () => {
    expect(corePercent(usage(1000), usage(1100), 10_000)).toBe(1);
    expect(corePercent(usage(0), usage(1500), 1000)).toBe(150);
    expect(() => corePercent(usage(0), usage(1), 0)).toThrow(/0 ms/);
  });

  test('processor time is read from behind the name, whatever the name holds', () => {
    const rest = 'S 1 1 1 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 11 0 5000 1000 200';
    expect(cpuMsOf(`77 (node) ${rest}`, 100)).toBe(3000);
    expect(cpuMsOf(`77 (a) b (c) ${rest}`, 100)).toBe(3000);
    expect(() => cpuMsOf('nothing', 100)).toThrow(/proc/);
  });

  test('memory is read from its line', () => {
    expect(residentBytesOf('VmPeak:\t  900 kB\nVmRSS:\t  512 kB\nVmData: 1 kB')).toBe(512 * 1024);
    expect(() => residentBytesOf('Name: kthreadd')).toThrow(/VmRSS/);
  });

  test('a count becomes a rate for each minute', () => {
    expect(perMinute(10, 15, 30_000)).toBe(10);
    expect(perMinute(10, 10, 30_000)).toBe(0);
    expect(() => perMinute(0, 1, 0)).toThrow(/0 ms/);
  });

  test('times are those that were measured, none is interpolated', () => {
    const values = Array.from({ length: 200 }, (_, at) => at + 1);
    expect(timesOf(values)).toEqual({ count: 200, median: 100, p99: 198, worst: 200 });
    expect(() => timesOf([])).toThrow(/nothing/);
  });

  test('there is no ratio to what was not measured', () => {
    expect(ratioOf(300, 200)).toBe(1.5);
    expect(() => ratioOf(300, 0)).toThrow(/ratio/);
  });

  test('a burst is a tenth of the groups, and more than one', () => {
    expect([2, 20, 200, 1000].map(burstSize)).toEqual([2, 2, 20, 100]);
  });

  test('each has its turn before one comes again', () => {
    const items = ['a', 'b', 'c'];
    expect([takeTurns(items, 2), takeTurns(items, 2)]).toEqual([
      ['a', 'b'],
      ['c', 'a'],
    ]);
    expect(() => takeTurns(items, 4)).toThrow(/3 to choose from/);
  });
});
