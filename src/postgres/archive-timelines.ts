// Which timelines an archive knows, asked through a restore_command: no number may be opened a second time. Such a command ends alike where a
// file is not there and where the archive cannot be reached, so that "not there" counts only while the archive gives what it must have.
import { access, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Timeline, timeline } from '../base/ids.ts';
import { type Lsn, lsn } from '../base/lsn.ts';
import { commandFor } from './archive.ts';
import { type OsUser, runProgram } from './os-user.ts';
import { RestoreError } from './restore-command.ts';
import { listHistories, segmentSuffix } from './timelines.ts';

/** Numbers may be missing: of promotions that were given up. */
const MISSING_TIMELINES_MAX = 16;
const PROBE_TIMEOUT_MS = 60_000;
const PROBE_FILE = 'pg_wal/pg_sentinel_probe';

interface ArchiveQuestion {
  readonly dataDirectory: string;
  readonly user: OsUser;
  /** PostgreSQL's; undefined: there is no archive to ask. */
  readonly restoreCommand: string | undefined;
  /** Where recovery stands. */
  readonly timeline: Timeline;
  readonly position: Lsn;
  readonly walSegmentBytes: number;
  readonly signal: AbortSignal;
}

/**
 * The highest timeline that has a history file in the data directory or in the archive, although recovery did not follow it. Throws
 * {@link RestoreError} where the archive does not answer, before or after: then nobody knows.
 */
export async function highestArchivedTimeline(question: ArchiveQuestion): Promise<Timeline> {
  const present = (await listHistories(question.dataDirectory)).map((history) => history.timeline);
  let highest = Math.max(question.timeline, ...present);
  if (question.restoreCommand === undefined) return timeline(highest);
  const known = await knownFiles(question);
  const witness = await firstGiven(question, known);
  for (let next = highest + 1; next <= highest + MISSING_TIMELINES_MAX; next += 1)
    if (await isGiven(question, historyName(next))) highest = next;
  // It may have been lost meanwhile: none of the answers counts then.
  if (witness === undefined || !(await isGiven(question, witness)))
    throw new RestoreError(
      `cannot tell which timelines the archive knows: by restore_command it gives none of ${known.join(', ')}, which it should have; it cannot be reached, or is of another cluster`,
    );
  return timeline(highest);
}

const hex = (value: number): string => value.toString(16).toUpperCase().padStart(8, '0');
const historyName = (of: number): string => `${hex(of)}.history`;

/** Small ones first: files that recovery has needed from the archive, or that were archived while the backup was made. */
async function knownFiles(question: ArchiveQuestion): Promise<string[]> {
  const { dataDirectory, timeline: on, position, walSegmentBytes } = question;
  const before = lsn(position > BigInt(walSegmentBytes) ? position - BigInt(walSegmentBytes) : 0n);
  const names = new Set<string>();
  if (on > 1) names.add(historyName(on));
  const start = await backupStart(dataDirectory);
  if (start !== undefined) names.add(start);
  for (const at of [position, before])
    if (at > 0n) names.add(`${hex(on)}${segmentSuffix(at, walSegmentBytes)}`);
  return [...names];
}

/** The first segment of the backup; PostgreSQL renames the file once it recovers. */
async function backupStart(dataDirectory: string): Promise<string | undefined> {
  for (const name of ['backup_label', 'backup_label.old']) {
    const text = await readFile(join(dataDirectory, name), 'utf8').catch(() => '');
    const [, file] = /^START WAL LOCATION: .* \(file ([0-9A-F]{24})\)/m.exec(text) ?? [];
    if (file !== undefined) return file;
  }
  return undefined;
}

async function firstGiven(question: ArchiveQuestion, files: readonly string[]): Promise<string | undefined> {
  for (const file of files) if (await isGiven(question, file)) return file;
  return undefined;
}

/** Whether the archive gives the file; false where it has none, and also where it cannot be reached. */
async function isGiven(
  { dataDirectory, user, restoreCommand = '', signal }: ArchiveQuestion,
  file: string,
): Promise<boolean> {
  const probe = join(dataDirectory, PROBE_FILE);
  await rm(probe, { force: true, recursive: true });
  try {
    const { exitCode, output } = await runProgram({
      user,
      program: '/bin/sh',
      arguments: ['-c', commandFor(restoreCommand.replaceAll('%r', file), PROBE_FILE, file)],
      cwd: dataDirectory,
      timeoutMs: PROBE_TIMEOUT_MS,
      signal,
    });
    signal.throwIfAborted();
    // As PostgreSQL takes it: up to 125 the file is not there, above that the command itself failed.
    if (exitCode === undefined || exitCode > 125)
      throw new RestoreError(
        `cannot ask the archive for ${file}: restore_command ended with ${exitCode ?? 'a signal'}: ${output.trim().slice(-300)}`,
      );
    // Some say that all went well and bring nothing.
    return (
      exitCode === 0 &&
      (await access(probe).then(
        () => true,
        () => false,
      ))
    );
  } finally {
    await rm(probe, { force: true, recursive: true });
  }
}
