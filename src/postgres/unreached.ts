// Timelines that a standby has begun to fetch and never reached: their primary was lost right after it had opened them. PostgreSQL takes the newest
// history in pg_wal for its future, and reads each segment from the newest of its files. Where that one holds only the beginning
// of the segment, a promotion ends in a PANIC ("invalid magic number"), and a start never becomes consistent; and nobody can follow who goes on
// from the timeline before. Their files go, then: not one record is in them that is not in those of the timeline before.
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Timeline } from '../base/ids.ts';
import type { Lsn } from '../base/lsn.ts';
import { type ControlData, endedAsStandby, readControlData } from './control-data.ts';
import { fsyncDirectory } from './durable-files.ts';
import { historyFileName, listHistories, readHistory } from './timelines.ts';
import { openPages, scanRecords, type Pages } from './wal-records.ts';

/** Those above `current` whose history is there, lowest first: of a running standby that has replayed all it holds and stands on `current`. */
export async function timelinesAhead(dataDirectory: string, current: Timeline): Promise<readonly Timeline[]> {
  const histories = await listHistories(dataDirectory, current);
  return histories.filter(({ empty }) => !empty).map((history) => history.timeline);
}

/**
 * Removes the histories and segments of timelines that were never reached; returns their numbers, highest first. Only while PostgreSQL does not run,
 * which keeps in mind what it has read. Nothing is removed where it did not end as a standby, or where a record of its own begins the timeline:
 * that one was reached, and may have been acknowledged.
 */
export async function removeUnreached(
  dataDirectory: string,
  signal?: AbortSignal,
): Promise<readonly Timeline[]> {
  const control = await readControlData(dataDirectory);
  if (!endedAsStandby(control)) return [];
  const current = Math.max(control.checkpointTimeline, control.minRecoveryTimeline ?? 0) as Timeline;
  const removed: Timeline[] = [];
  for (const ahead of (await timelinesAhead(dataDirectory, current)).toReversed()) {
    if (await isReached({ dataDirectory, control, ahead, signal })) break;
    await removeTimeline(join(dataDirectory, 'pg_wal'), ahead);
    removed.push(ahead);
  }
  return removed;
}

/**
 * A stream begins with the segment in which the timeline begins, and brings one byte after the other: nothing beyond a beginning that is not there.
 * What lies beyond a damaged one is for a person to look at, as is a history that nobody can read.
 */
async function isReached(options: {
  readonly dataDirectory: string;
  readonly control: ControlData;
  readonly ahead: Timeline;
  readonly signal: AbortSignal | undefined;
}): Promise<boolean> {
  const { dataDirectory, control, ahead, signal } = options;
  const history = await readHistory(dataDirectory, ahead).catch(() => undefined);
  const from = history?.at(-1)?.switchLsn;
  if (from === undefined) return true;
  let isFound = false;
  // Of its own files only.
  const pages = openPages({ ...control, dataDirectory, newest: ahead, history: [] });
  try {
    await scanRecords({
      pages,
      from,
      segmentBytes: BigInt(control.walSegmentBytes),
      onRecord: () => {
        isFound = true;
        return 'stop';
      },
      signal,
    });
    return isFound || (await hasPagesBeyond({ ...options, pages, from }));
  } finally {
    await pages.close();
  }
}

/** Whether a page beyond the one of `from` carries its own address: in what was never written, or used for other WAL before, none does. */
async function hasPagesBeyond(options: {
  readonly dataDirectory: string;
  readonly control: ControlData;
  readonly ahead: Timeline;
  readonly pages: Pages;
  readonly from: Lsn;
  readonly signal: AbortSignal | undefined;
}): Promise<boolean> {
  const { control, pages, from, signal } = options;
  const [block, segment] = [BigInt(control.walBlockBytes), BigInt(control.walSegmentBytes)];
  const nextSegment = (from / segment + 1n) * segment;
  for (let address = (from / block + 1n) * block; address < nextSegment; address += block) {
    signal?.throwIfAborted();
    if ((await pages.read(address)) !== undefined) return true;
  }
  const segmentsPerLog = 0x100000000n / segment;
  const names = await readdir(join(options.dataDirectory, 'pg_wal'));
  for (const name of names.filter((each) => isSegmentOf(each, options.ahead) && each.length === 24)) {
    const number = BigInt(`0x${name.slice(8, 16)}`) * segmentsPerLog + BigInt(`0x${name.slice(16)}`);
    if (number * segment >= nextSegment && (await pages.read(number * segment)) !== undefined) return true;
  }
  return false;
}

const prefixOf = (number: Timeline): string => historyFileName(number).slice(0, 8);
const isSegmentOf = (name: string, number: Timeline): boolean =>
  name.startsWith(prefixOf(number)) && /^[0-9A-F]{24}(\.partial)?(\.ready|\.done)?$/.test(name);

/** The history last, when the rest is gone for good: by it what is left of an interruption is found again. */
async function removeTimeline(wal: string, number: Timeline): Promise<void> {
  const history = historyFileName(number);
  const status = join(wal, 'archive_status');
  for (const directory of [status, wal])
    for (const name of await namesIn(directory))
      if (isSegmentOf(name, number)) await rm(join(directory, name));
  for (const name of [`${history}.ready`, `${history}.done`]) await rm(join(status, name), { force: true });
  await fsyncDirectory(wal);
  await rm(join(wal, history));
  await fsyncDirectory(wal);
}

/** PostgreSQL makes `archive_status` when it starts. */
async function namesIn(directory: string): Promise<readonly string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}
