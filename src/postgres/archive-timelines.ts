// What an archive knows beyond the place where recovery stands: timelines, no number of which may be opened a second time, and WAL that recovery has
// not come to. PostgreSQL's own search for the latest timeline ends at the first number that has no history file.
import { type Timeline, timeline } from '../base/ids.ts';
import { formatLsn } from '../base/lsn.ts';
import {
  type ArchiveQuestion,
  backupStart,
  isSegmentGiven,
  readGiven,
  segmentName,
  whileInReach,
} from './archive-questions.ts';
import type { ControlData } from './control-data.ts';
import { RestoreError } from './restore-command.ts';
import { type HistoryEntry, historyFileName, listHistories, parseHistory, readHistory } from './timelines.ts';

/** Numbers may be missing: of promotions that were given up, one after the other for a night. */
const MISSING_TIMELINES_MAX = 64;

export interface ArchivedTimelines {
  /** The highest number that has a history file, an empty one too. */
  readonly highest: Timeline;
  /** The highest that a server has written on: that of the question where there is no other. */
  readonly newest: { readonly timeline: Timeline; readonly history: readonly HistoryEntry[] };
}

/**
 * The timelines above that of the question, of the data directory and of the archive, although recovery does not follow them. Throws
 * {@link RestoreError} where the archive does not answer: then nobody knows.
 */
export const archivedTimelines = (question: ArchiveQuestion): Promise<ArchivedTimelines> =>
  whileInReach(question, () => search(question));

async function search(question: ArchiveQuestion): Promise<ArchivedTimelines> {
  const { dataDirectory, restoreCommand, timeline: from } = question;
  const present = new Set((await listHistories(dataDirectory)).map((history) => history.timeline));
  let highest = timeline(Math.max(from, ...present));
  let newest: ArchivedTimelines['newest'] = { timeline: from, history: [] };
  for (let number = from + 1; number <= highest + MISSING_TIMELINES_MAX; number += 1) {
    const next = timeline(number);
    let history = present.has(next) ? await readHistory(dataDirectory, next) : undefined;
    // An empty one here only fills a gap.
    if ((history ?? []).length === 0 && restoreCommand !== undefined)
      history = (await archivedHistory(question, next)) ?? history;
    if (history === undefined) continue;
    if (number > highest) highest = next;
    if (history.length > 0) newest = { timeline: next, history };
  }
  return { highest, newest };
}

async function archivedHistory(question: ArchiveQuestion, of: Timeline): Promise<HistoryEntry[] | undefined> {
  const name = historyFileName(of);
  const text = await readGiven(question, name);
  try {
    return text === undefined ? undefined : parseHistory(text);
  } catch (error) {
    throw new RestoreError(`${name} of the archive is damaged: ${(error as Error).message}`);
  }
}

/** Where the search begins before PostgreSQL was ever started: where the backup does. */
export async function startOfRecovery(
  at: Pick<ArchiveQuestion, 'dataDirectory' | 'user'>,
  control: ControlData,
): Promise<Pick<ArchiveQuestion, 'timeline' | 'position' | 'walSegmentBytes'>> {
  const start = await backupStart(at);
  const number = start === undefined ? control.checkpointTimeline : Number.parseInt(start.slice(0, 8), 16);
  return {
    timeline: timeline(Math.min(number, control.checkpointTimeline)),
    position: control.checkpoint,
    walSegmentBytes: control.walSegmentBytes,
  };
}

/** So many segments from where there may be one are asked for one by one; some further on, too. */
const DISTANCES = [1n, 2n, 3n, 4n, 5n, 6n, 7n, 8n, 16n, 32n, 64n, 128n];

/**
 * Why the end of recovery is not the end of the archive, for people: there is WAL after the place where PostgreSQL finds none, on the timeline where it stands
 * or on a later one of the `line` that it follows. Undefined where nothing says so. Throws as {@link archivedTimelines}.
 */
export async function walBeyond(
  question: ArchiveQuestion,
  line: ArchivedTimelines['newest'],
): Promise<string | undefined> {
  if (question.restoreCommand === undefined) return undefined;
  return whileInReach(
    question,
    async () => (await beyondOnTimeline(question)) ?? (await beyondOnLine(question, line)),
  );
}

async function beyondOnTimeline(question: ArchiveQuestion): Promise<string | undefined> {
  const { position, walSegmentBytes } = question;
  const wanted = position / BigInt(walSegmentBytes);
  const isAtStart = position % BigInt(walSegmentBytes) === 0n;
  const given = await firstGiven(question, wanted, DISTANCES);
  if (given !== undefined) {
    // In the middle of a segment it may be the next one that is not there.
    const missing = isAtStart || given === wanted + 1n ? wanted : wanted + 1n;
    return `${segmentName(question, missing)} is missing or damaged, though there is WAL after it (${segmentName(question, given)})`;
  }
  // All of a segment is still to come, and there it is: the archive was out of reach for a moment, or it is damaged from its beginning.
  if (isAtStart && (await isSegmentGiven(question, wanted)))
    return `${segmentName(question, wanted)} is there, and PostgreSQL has not read it yet or cannot read it`;
  return undefined;
}

async function beyondOnLine(
  question: ArchiveQuestion,
  { timeline: last, history }: ArchivedTimelines['newest'],
): Promise<string | undefined> {
  const at = history.findIndex((entry) => entry.timeline === question.timeline);
  if (at < 0) return undefined;
  for (const [index, { switchLsn }] of history.slice(at).entries()) {
    const on = { ...question, timeline: history[at + index + 1]?.timeline ?? last };
    const first = switchLsn / BigInt(question.walSegmentBytes);
    const given = await firstGiven(on, first, [0n, ...DISTANCES]);
    if (given !== undefined)
      return `the WAL up to ${formatLsn(switchLsn)}, where timeline ${on.timeline} begins, is missing or damaged, though there is WAL of that timeline (${segmentName(on, given)})`;
  }
  return undefined;
}

async function firstGiven(
  question: ArchiveQuestion,
  from: bigint,
  distances: readonly bigint[],
): Promise<bigint | undefined> {
  for (const distance of distances)
    if (await isSegmentGiven(question, from + distance)) return from + distance;
  return undefined;
}
