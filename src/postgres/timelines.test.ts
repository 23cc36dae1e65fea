import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { timeline } from '../base/ids.ts';
import { parseLsn } from '../base/lsn.ts';
import {
  formatHistory,
  highestTimelineAt,
  liesOnHistory,
  listHistories,
  parseHistory,
  placeFillers,
  predictTimeline,
  readHistory,
  removeFillers,
  segmentSuffix,
  timelineOf,
} from './timelines.ts';

const TEXT = '# comment\n\n1\t0/3000000\tno recovery target specified\n4\t0/5000148\tpromoted again\n';
const history = parseHistory(TEXT);
const at = (text: string) => parseLsn(text);

describe('a history', () => {
  test('is read and written', () => {
    expect(history.map((entry) => entry.timeline)).toEqual([1, 4]);
    expect(parseHistory(formatHistory(history))).toEqual(history);
    expect(() => parseHistory('what is this')).toThrow(/cannot read timeline history line/);
  });
  test("tells the timeline of a position; the switch point is the older one's", () => {
    expect(timelineOf(history, timeline(7), at('0/3000000'))).toBe(1);
    expect(timelineOf(history, timeline(7), at('0/3000001'))).toBe(4);
    expect(timelineOf(history, timeline(7), at('0/5000149'))).toBe(7);
  });
  test('can be followed by a node that left it no later than it was left', () => {
    const of = timeline(7);
    expect(liesOnHistory({ from: timeline(4), position: at('0/5000148'), of, history })).toBe(true);
    expect(liesOnHistory({ from: timeline(4), position: at('0/5000149'), of, history })).toBe(false);
    expect(liesOnHistory({ from: timeline(2), position: at('0/1'), of, history })).toBe(false);
    expect(liesOnHistory({ from: of, position: at('1/0'), of, history })).toBe(true);
  });
});

test('a segment is named for the byte before the position', () => {
  expect(segmentSuffix(at('0/3000000'), 16 * 1024 * 1024)).toBe('0000000000000002');
  expect(segmentSuffix(at('1/1'), 16 * 1024 * 1024)).toBe('0000000100000000');
});

describe('pg_wal', () => {
  let dataDirectory: string;
  beforeEach(async () => {
    dataDirectory = await mkdtemp(join(tmpdir(), 'pg-sentinel-timelines-'));
    await mkdir(join(dataDirectory, 'pg_wal'));
  });
  afterEach(() => rm(dataDirectory, { recursive: true }));
  const put = (name: string, text = ''): Promise<void> =>
    writeFile(join(dataDirectory, 'pg_wal', name), text);
  const fill = (current: number, assigned: number) =>
    placeFillers({
      dataDirectory,
      current: timeline(current),
      assigned: timeline(assigned),
      owner: undefined,
    });

  test('is filled up to the assigned number, so that PostgreSQL picks that', async () => {
    expect(await predictTimeline(dataDirectory, timeline(1))).toBe(2);
    expect(await fill(1, 4)).toEqual([2, 3]);
    expect(await fill(1, 4)).toEqual([]);
    expect(await predictTimeline(dataDirectory, timeline(1))).toBe(4);
    expect(await fill(1, 2).catch((error: Error) => error.message)).toMatch(/cannot promote to timeline 2/);
  });
  test('refuses a number that is taken or not above the present one', async () => {
    await put('00000003.history', TEXT);
    await expect(fill(1, 3)).rejects.toThrow(/assign a number above 3/);
    await expect(fill(5, 5)).rejects.toThrow(/assign a number above 5/);
    await expect(fill(1, 20_000)).rejects.toThrow(/numbers apart/);
  });
  test('loses only the fillers above every real history', async () => {
    await put('00000002.history');
    await put('00000003.history', TEXT);
    await put('00000004.history');
    await put('00000005.history');
    expect(await removeFillers({ dataDirectory, current: timeline(1) })).toEqual([4, 5]);
    expect(await listHistories(dataDirectory)).toEqual([
      { timeline: 2, empty: true },
      { timeline: 3, empty: false },
    ]);
  });
  test('has the history of timeline 1 without a file, and of no other', async () => {
    expect(await readHistory(dataDirectory, timeline(1))).toEqual([]);
    expect(await readHistory(dataDirectory, timeline(9))).toBeUndefined();
  });
  test('tells the highest timeline with a file for a position', async () => {
    const options = { dataDirectory, position: at('0/3000010'), walSegmentBytes: 16 * 1024 * 1024 };
    expect(await highestTimelineAt(options)).toBeUndefined();
    await put('000000010000000000000003');
    await put('0000000A0000000000000003');
    await put('0000000B0000000000000004');
    expect(await highestTimelineAt(options)).toBe(10);
  });
});
