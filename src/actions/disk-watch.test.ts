// Disks that run full: when it is said, how loud, and when not again.
import { describe, expect, test } from 'vitest';
import { type Disk, type DiskLevel, diskLevel, diskText, disksOf } from '../cluster/disk-room.ts';
import type { DiskRoom, Upkeep } from '../cluster/report.ts';
import { createDiskWatch } from './disk-watch.ts';

const GB = 2 ** 30;
const room = (percent: number, totalBytes = 100 * GB): DiskRoom => ({
  freeBytes: Math.round((percent / 100) * totalBytes),
  totalBytes,
});
const upkeep = (dataDisk: DiskRoom | undefined, walDisk = dataDisk): Upkeep => ({
  ...{ dataDisk, walDisk },
  ...{ slots: undefined, archiver: undefined, readyCount: undefined, pendingRestart: undefined },
});
const disk = (freePercent: number): Disk => ({ which: 'data', freeBytes: freePercent * GB, freePercent });

describe('a level', () => {
  test.each<[number, DiskLevel, DiskLevel]>([
    [15, 'ok', 'ok'],
    [14.9, 'ok', 'low'],
    [16.9, 'low', 'low'],
    [17, 'low', 'ok'],
    [5, 'low', 'low'],
    [4.9, 'low', 'critical'],
    [4.9, 'ok', 'critical'],
    [6.9, 'critical', 'critical'],
    [7, 'critical', 'low'],
    [16.9, 'critical', 'low'],
    [17, 'critical', 'ok'],
    [0, 'ok', 'critical'],
  ])('%f %% free after %s: %s', (percent, before, level) =>
    expect(diskLevel(disk(percent), before)).toBe(level),
  );
});

test('one disk is said once, two by what is on them; of an unknown one nothing is', () => {
  const names = (...rooms: Parameters<typeof upkeep>) => disksOf(upkeep(...rooms)).map(diskText);
  expect(names(room(4.99))).toEqual(['its disk has 4.9 % free (5109 MB)']);
  expect(names(room(50), room(50, 10 * GB))).toEqual([
    'its disk has 50 % free (51200 MB)',
    'its disk of pg_wal has 50 % free (5120 MB)',
  ]);
  expect(names(undefined)).toEqual([]);
  expect(names({ freeBytes: 0, totalBytes: 0 })).toEqual([]);
  expect(disksOf(undefined)).toEqual([]);
});

describe('the log', () => {
  const HOUR_MS = 3_600_000;
  function example() {
    const scene = { nowMs: 0 };
    let said: unknown[][] = [];
    const watch = createDiskWatch({
      log: (level, message, fields) => said.push([level, message, fields['directory']]),
      directories: { data: '/data', wal: '/data/pg_wal' },
      nowMs: () => scene.nowMs,
    });
    /** What it says of that, so much later. */
    const after = (ms: number, ...rooms: Parameters<typeof upkeep>): unknown[][] => {
      scene.nowMs += ms;
      said = [];
      watch.look(upkeep(...rooms));
      return said;
    };
    return after;
  }

  test('says it once when it begins, louder when it gets worse, and when it is over', () => {
    const after = example();
    expect(after(0, room(40))).toEqual([]);
    expect(after(1, room(14))).toEqual([['warn', 'its disk has 14 % free (14336 MB)', '/data']]);
    expect(after(1, room(13))).toEqual([]);
    // WAL comes and goes.
    for (const percent of [15.5, 14.5, 16, 14]) expect(after(10, room(percent))).toEqual([]);
    expect(after(1, room(4))).toEqual([
      ['error', 'its disk has 4 % free (4096 MB): PostgreSQL stops when it is full; make room', '/data'],
    ]);
    for (const percent of [5.5, 4.5, 6]) expect(after(10, room(percent))).toEqual([]);
    expect(after(1, room(8))).toEqual([['warn', 'its disk has 8 % free (8192 MB)', '/data']]);
    expect(after(1, room(20))).toEqual([
      ['info', 'there is room again: its disk has 20 % free (20480 MB)', '/data'],
    ]);
    expect(after(100 * HOUR_MS, room(20))).toEqual([]);
  });

  test('says it again while it lasts: each day, and each half hour where it is worst', () => {
    const after = example();
    expect(after(0, room(10))).toHaveLength(1);
    expect(after(23 * HOUR_MS, room(10))).toEqual([]);
    expect(after(HOUR_MS, room(10))).toHaveLength(1);
    expect(after(0, room(1))).toHaveLength(1);
    expect(after(HOUR_MS / 2 - 1, room(1))).toEqual([]);
    expect(after(1, room(1))).toHaveLength(1);
  });

  test('a disk that cannot be read has not got better; that of pg_wal is told apart', () => {
    const after = example();
    expect(after(0, room(50), room(3, GB))).toEqual([
      ['error', expect.stringMatching(/^its disk of pg_wal has 3 % free \(30 MB\)/), '/data/pg_wal'],
    ]);
    expect(after(1, undefined)).toEqual([]);
    expect(after(1, room(50), room(3, GB))).toEqual([]);
    expect(after(1, room(14), room(50, GB))).toEqual([
      ['warn', expect.stringMatching(/^its disk has 14 % free/), '/data'],
      ['info', expect.stringMatching(/^there is room again: its disk of pg_wal/), '/data/pg_wal'],
    ]);
  });
});
