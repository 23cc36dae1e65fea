// Timeline history files (`0000000A.history` in pg_wal): reading them, telling whether a position lies on a timeline's
// history, and preparing a promotion to an assigned number. PostgreSQL probes upward from its timeline while history
// files exist and takes the next number (findNewestTimeLine), so empty files fill the gap below the assigned one.
import { readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { timeline, type Timeline } from '../base/ids.ts';
import { formatLsn, parseLsn, type Lsn } from '../base/lsn.ts';
import { fsyncDirectory, type Owner, writeNewFile } from './durable-files.ts';

/** One ancestor: `timeline` was left at `switchLsn` for the next entry, or for the timeline that the file is about. */
export interface HistoryEntry {
  readonly timeline: Timeline;
  readonly switchLsn: Lsn;
  readonly reason: string;
}

export const historyFileName = (of: Timeline): string => `${hex(of)}.history`;

/** Lines of "timeline TAB LSN TAB reason"; comments and empty lines are left out. Throws for anything else. */
export function parseHistory(text: string): HistoryEntry[] {
  const entries: HistoryEntry[] = [];
  for (const line of text.split('\n')) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const match = /^\s*(\d+)\s+([0-9A-Fa-f]+\/[0-9A-Fa-f]+)\s*(.*)$/.exec(line);
    if (match === null)
      throw new Error(
        `cannot read timeline history line "${line}": expected a timeline, an LSN and a reason`,
      );
    entries.push({
      timeline: timeline(Number(match[1])),
      switchLsn: parseLsn(match[2] ?? ''),
      reason: match[3] ?? '',
    });
  }
  return entries;
}

export function formatHistory(entries: readonly HistoryEntry[]): string {
  return entries
    .map((entry) => `${entry.timeline}\t${formatLsn(entry.switchLsn)}\t${entry.reason}\n`)
    .join('');
}

/** The history of a timeline: empty for timeline 1 and for a file without content; undefined where there is no file. */
export async function readHistory(dataDirectory: string, of: Timeline): Promise<HistoryEntry[] | undefined> {
  if (of === 1) return [];
  const text = await readFile(join(dataDirectory, 'pg_wal', historyFileName(of)), 'utf8').catch(
    (error: unknown) => {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    },
  );
  return text === undefined ? undefined : parseHistory(text);
}

/** The history files in pg_wal, lowest first; only those of timelines above `above`, if that is given. Ours, which only fill a gap, are empty. */
export async function listHistories(
  dataDirectory: string,
  above = 0,
): Promise<{ readonly timeline: Timeline; readonly empty: boolean }[]> {
  const numberOf = (name: string): number => Number.parseInt(name.slice(0, 8), 16);
  const names = (await readdir(join(dataDirectory, 'pg_wal'))).filter(
    (name) => /^[0-9A-F]{8}\.history$/.test(name) && numberOf(name) > above,
  );
  const found = await Promise.all(
    names.map(async (name) => {
      const text = await readFile(join(dataDirectory, 'pg_wal', name), 'utf8');
      return { timeline: timeline(numberOf(name)), empty: text.trim() === '' };
    }),
  );
  return found.toSorted((a, b) => a.timeline - b.timeline);
}

/** Which timeline a position belongs to, on the way to timeline `of` with that history: a switch point itself is still the older one's. */
export function timelineOf(history: readonly HistoryEntry[], of: Timeline, position: Lsn): Timeline {
  return history.find((entry) => position <= entry.switchLsn)?.timeline ?? of;
}

/**
 * Whether a node whose last record ends at `position` on `from` can follow timeline `of` with that history: it left `from` at or after
 * the position. On the same timeline the caller has to compare positions: a node that is ahead cannot follow, though streaming may seem to start.
 */
export function liesOnHistory(options: {
  readonly from: Timeline;
  readonly position: Lsn;
  readonly of: Timeline;
  readonly history: readonly HistoryEntry[];
}): boolean {
  if (options.from === options.of) return true;
  const entry = options.history.find((present) => present.timeline === options.from);
  return entry !== undefined && options.position <= entry.switchLsn;
}

/** The highest timeline that has a WAL segment file for the byte before `position`, or undefined where no file holds it. */
export async function highestTimelineAt(options: {
  readonly dataDirectory: string;
  readonly position: Lsn;
  readonly walSegmentBytes: number;
}): Promise<Timeline | undefined> {
  const suffix = segmentSuffix(options.position, options.walSegmentBytes);
  const names = (await readdir(join(options.dataDirectory, 'pg_wal'))).filter(
    (name) => name.length === 24 && name.endsWith(suffix),
  );
  const highest = Math.max(0, ...names.map((name) => Number.parseInt(name.slice(0, 8), 16)));
  return highest === 0 ? undefined : timeline(highest);
}

/** The 16 digits that name a WAL segment within its timeline (the segment of the byte before `position`). */
export function segmentSuffix(position: Lsn, walSegmentBytes: number): string {
  const number = (position === 0n ? 0n : position - 1n) / BigInt(walSegmentBytes);
  const perLog = 0x100000000n / BigInt(walSegmentBytes);
  return `${hex(Number(number / perLog))}${hex(Number(number % perLog))}`;
}

/** The number PostgreSQL would give a promotion from `current`. */
export async function predictTimeline(dataDirectory: string, current: Timeline): Promise<Timeline> {
  const present = new Set((await listHistories(dataDirectory)).map((history) => history.timeline));
  let next: number = current + 1;
  while (present.has(timeline(next))) next += 1;
  return timeline(next);
}

/** A gap may not be wider: each file costs a probe at every start. */
const FILLERS_MAX = 10_000;

/**
 * Places empty history files so that a promotion from `current` opens exactly `assigned`. Returns the timelines placed.
 * They stay after the promotion: standbys fetch every history file in between, and give up where one is missing.
 * Throws when `assigned` cannot be reached because it or a later number is taken.
 */
export async function placeFillers(options: {
  readonly dataDirectory: string;
  readonly current: Timeline;
  readonly assigned: Timeline;
  readonly owner: Owner | undefined;
}): Promise<Timeline[]> {
  const { dataDirectory, current, assigned, owner } = options;
  const present = new Set((await listHistories(dataDirectory)).map((history) => history.timeline));
  if (assigned <= current || present.has(assigned)) {
    throw new Error(
      `cannot promote to timeline ${assigned}: this node is on ${current} and has the history files of ${[...present].join(', ') || 'none'}; ` +
        `assign a number above ${Math.max(current, ...present)}`,
    );
  }
  if (assigned - current > FILLERS_MAX)
    throw new Error(
      `cannot promote from timeline ${current} to ${assigned}: more than ${FILLERS_MAX} numbers apart`,
    );
  const placed: Timeline[] = [];
  for (let number = current + 1; number < assigned; number += 1) {
    const filler = timeline(number);
    if (present.has(filler)) continue;
    await placeEmptyFile(join(dataDirectory, 'pg_wal', historyFileName(filler)), owner);
    placed.push(filler);
  }
  if (placed.length > 0) await fsyncDirectory(join(dataDirectory, 'pg_wal'));
  return placed;
}

/** By renaming: a standby that found one it may not open would end. */
async function placeEmptyFile(path: string, owner: Owner | undefined): Promise<void> {
  const temporary = `${path}.new`;
  await writeNewFile({ path: temporary, content: '', mode: 0o600, owner, sync: false });
  await rename(temporary, path);
}

/**
 * Removes the empty history files above every real one (and above `current`): those of a promotion that was given up, or of a standby that was
 * stopped between fetching fillers and the history after them. PostgreSQL refuses to start as a standby with them. Only
 * while the node is a standby or stopped, and nothing promotes it. Returns the timelines removed.
 */
export async function removeFillers(options: {
  readonly dataDirectory: string;
  readonly current: Timeline;
}): Promise<Timeline[]> {
  const histories = await listHistories(options.dataDirectory);
  const real = Math.max(
    options.current,
    ...histories.filter((history) => !history.empty).map((history) => history.timeline),
  );
  const stray = histories
    .filter((history) => history.empty && history.timeline > real)
    .map((history) => history.timeline);
  const directory = join(options.dataDirectory, 'pg_wal');
  // From the top, so that an interruption leaves no gap below a file.
  for (const filler of stray.toReversed())
    await rm(join(directory, historyFileName(filler)), { force: true });
  if (stray.length > 0) await fsyncDirectory(directory);
  return stray;
}

const hex = (value: number): string => value.toString(16).toUpperCase().padStart(8, '0');
