// Asks an archive for single files by a restore_command, as PostgreSQL would. Such a command ends alike where a file is not there and where the
// archive cannot be reached, so that "not there" counts only while the archive gives what it must have. Leaves nothing behind, and does all of it as
// PostgreSQL's user.
import { constants, access, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { Timeline } from '../base/ids.ts';
import { type Lsn, lsn } from '../base/lsn.ts';
import { commandFor } from './archive.ts';
import { type OsUser, runProgram } from './os-user.ts';
import { RestoreError } from './restore-command.ts';
import { historyFileName, segmentSuffix } from './timelines.ts';
import { readAsUser } from './user-files.ts';

const PROBE_TIMEOUT_MS = 60_000;
const PROBE_FILE = 'pg_wal/pg_sentinel_probe';

/** Of a data directory that recovers from the archive, or is about to. */
export interface ArchiveQuestion {
  readonly dataDirectory: string;
  readonly user: OsUser;
  /** PostgreSQL's; undefined: there is no archive to ask. */
  readonly restoreCommand: string | undefined;
  /** Where recovery stands, or begins. */
  readonly timeline: Timeline;
  readonly position: Lsn;
  readonly walSegmentBytes: number;
  readonly signal: AbortSignal;
}

/** Throws {@link RestoreError} where the archive does not answer, before the work or after it: then its answers are worth nothing. */
export async function whileInReach<T>(question: ArchiveQuestion, work: () => Promise<T>): Promise<T> {
  if (question.restoreCommand === undefined) return work();
  const known = await knownFiles(question);
  let witness: string | undefined;
  for (const file of known) if (witness === undefined && (await isGiven(question, file))) witness = file;
  if (witness !== undefined) {
    const answer = await work();
    if (await isGiven(question, witness)) return answer;
  }
  throw new RestoreError(
    `cannot tell which timelines the archive knows: by restore_command it gives none of ${known.join(', ')}, which it should have; it cannot be reached, or is of another cluster`,
  );
}

const isGiven = async (question: ArchiveQuestion, file: string): Promise<boolean> =>
  (await ask(question, file, () => Promise.resolve(true))) ?? false;

/** The text of a small file; undefined where the archive has none, and also where it cannot be reached. */
export const readGiven = (question: ArchiveQuestion, file: string): Promise<string | undefined> =>
  ask(question, file, async (path) => {
    try {
      return (await readAsUser(question.user, path)) ?? '';
    } catch (error) {
      throw new RestoreError(`cannot read ${file} as the archive gives it: ${(error as Error).message}`);
    }
  });

const PAGE_ADDRESS_OFFSET = 8;

/** Whether the archive gives that segment of WAL, and not one that a server has kept for later use under its name. */
export async function isSegmentGiven(question: ArchiveQuestion, number: bigint): Promise<boolean> {
  const file = segmentName(question, number);
  const start = number * BigInt(question.walSegmentBytes);
  return (await ask(question, file, async (path) => (await pageAddress(path)) === start)) ?? false;
}

/** By its number among all segments of the cluster. */
export const segmentName = (
  { timeline, walSegmentBytes }: Pick<ArchiveQuestion, 'timeline' | 'walSegmentBytes'>,
  number: bigint,
): string => `${hex(timeline)}${segmentSuffix(lsn(number * BigInt(walSegmentBytes) + 1n), walSegmentBytes)}`;

/** As its first page says where in the WAL it is: XLogPageHeaderData, 8 bytes after its magic number, its flags and its timeline. */
async function pageAddress(path: string): Promise<bigint | undefined> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    if (!(await file.stat()).isFile()) return undefined;
    const { bytesRead, buffer } = await file.read(Buffer.alloc(PAGE_ADDRESS_OFFSET + 8), 0, undefined, 0);
    return bytesRead < buffer.length ? undefined : buffer.readBigUInt64LE(PAGE_ADDRESS_OFFSET);
  } finally {
    await file.close();
  }
}

/** Small ones first: files that recovery has needed from the archive, or that were archived while the backup was made. */
async function knownFiles(question: ArchiveQuestion): Promise<string[]> {
  const { timeline: on, position, walSegmentBytes } = question;
  const before = lsn(position > BigInt(walSegmentBytes) ? position - BigInt(walSegmentBytes) : 0n);
  const names = new Set<string>();
  if (on > 1) names.add(historyFileName(on));
  const start = await backupStart(question);
  if (start !== undefined) names.add(start);
  for (const at of [position, before])
    if (at > 0n) names.add(`${hex(on)}${segmentSuffix(at, walSegmentBytes)}`);
  return [...names];
}

const hex = (value: number): string => value.toString(16).toUpperCase().padStart(8, '0');

/** The first segment of the backup; PostgreSQL renames the file once it recovers. */
export async function backupStart({
  dataDirectory,
  user,
}: Pick<ArchiveQuestion, 'dataDirectory' | 'user'>): Promise<string | undefined> {
  for (const name of ['backup_label', 'backup_label.old']) {
    const text = (await readAsUser(user, join(dataDirectory, name)).catch(() => '')) ?? '';
    const [, file] = /^START WAL LOCATION: .* \(file ([0-9A-F]{24})\)/m.exec(text) ?? [];
    if (file !== undefined) return file;
  }
  return undefined;
}

/** What `look` finds at the path to which the file was fetched; undefined where it was not. */
async function ask<T>(
  question: ArchiveQuestion,
  file: string,
  look: (path: string) => Promise<T>,
): Promise<T | undefined> {
  const { dataDirectory, user, restoreCommand = '', signal } = question;
  const path = join(dataDirectory, PROBE_FILE);
  await removeProbe(question);
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
    const isThere = await access(path).then(
      () => exitCode === 0,
      () => false,
    );
    return isThere ? await look(path) : undefined;
  } finally {
    await removeProbe(question);
  }
}

/** It lies in a directory of the user's: nothing that he could put there is removed with more rights than his. */
async function removeProbe({ dataDirectory, user }: ArchiveQuestion): Promise<void> {
  const { exitCode, output } = await runProgram({
    ...{ user, program: '/bin/rm', arguments: ['-rf', '--', PROBE_FILE], cwd: dataDirectory },
    timeoutMs: PROBE_TIMEOUT_MS,
  });
  if (exitCode !== 0)
    throw new RestoreError(`cannot remove ${join(dataDirectory, PROBE_FILE)}: ${output.trim().slice(-300)}`);
}
