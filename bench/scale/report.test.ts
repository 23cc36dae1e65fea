import { describe, expect, test } from 'vitest';
import { brokenPromises, lines, type Failovers, type Idle, type Measured, ratiosOf } from './report.ts';

const idle = (groups: number, over: Partial<Idle> = {}): Idle => ({
  groups,
  nodes: 3 * groups,
  seconds: 30,
  peers: [
    { peer: 'a', isLeader: true, cpuPercent: 0.01 * groups + 1, residentMb: 90 },
    { peer: 'b', isLeader: false, cpuPercent: 0.5, residentMb: 91 },
    { peer: 'c', isLeader: false, cpuPercent: 0.8, residentMb: 89 },
  ],
  probesPerSecond: 9 * groups,
  entriesPerMinute: 0,
  bytesPerMinute: 0,
  diskBytes: 0,
  ...over,
});
const failovers = (median: number): Failovers => ({
  openedMs: { count: 20, median, p99: 2 * median, worst: 3 * median },
  entries: 14,
  bytes: 950,
});
const measured = (over: Partial<Idle> = {}): Measured => ({
  alone: { idle: idle(1), failovers: failovers(200) },
  many: {
    addedMs: 4200,
    idle: idle(200, over),
    failovers: failovers(250),
    burstSize: 20,
    bursts: failovers(400),
    snapshotBytes: 102_400,
  },
});

describe('the report of bench:scale', () => {
  test('compares many groups with one', () => {
    expect(ratiosOf(measured())).toEqual({ median: 1.25, p99: 1.25, burstMedian: 2, burstP99: 2 });
  });

  test('names a log that grew while nothing happened: by entries, or by its files', () => {
    expect(brokenPromises(measured())).toEqual([]);
    expect(brokenPromises(measured({ entriesPerMinute: 2 }))).toEqual([
      'with 200 idle groups the log grew within 30 s: 2 entries a minute, 0 bytes of files',
    ]);
    expect(brokenPromises(measured({ diskBytes: 5 }))).toHaveLength(1);
  });

  test('is a table whose lines say what each figure is', () => {
    const table = lines(measured());
    expect(table[0]).toMatch(/1 group +200 groups +ratio$/);
    expect(table[1]).toMatch(/^idle: leader, of one core +1\.01 % +3\.00 % +2\.97$/);
    expect(table[2]).toMatch(/follower +0\.80 % +0\.80 % +1$/);
    expect(table.join('\n')).toMatch(/of 20 at once: median +400 ms +2$/m);
  });
});
