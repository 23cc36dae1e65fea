// WAL files that a former primary had completed and not archived yet when it ended: which they are, and how the server archives. A standby's
// archiver leaves them alone, a restartpoint, a rewind or a clone removes them, and the new primary, which received them, takes them for
// archived: without this the archive would have a hole that no restore gets across. keep-unarchived.ts puts them aside. Must never give the
// archive anything that the group's history has left behind.
import { readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { timeline } from '../base/ids.ts';
import type { Binaries } from './binaries.ts';
import { type GroupHistory, groupEnds } from './divergence.ts';
import { removeFileDurably } from './durable-files.ts';
import { type OsUser, runProgram } from './os-user.ts';

/** Whose PostgreSQL it is. */
export interface ArchiveOptions {
  readonly binaries: Binaries;
  readonly user: OsUser;
  readonly dataDirectory: string;
  readonly signal?: AbortSignal;
}

/** How the server archives. With a `library` it uses no command, and nobody else can do what it does. */
export interface Archiving {
  readonly mode: string;
  readonly command: string;
  readonly library: string;
}

const SEGMENT = /^[0-9A-F]{8}([0-9A-F]{8})([0-9A-F]{8})$/;
export const HISTORY = /^([0-9A-F]{8})\.history$/;
const SETTING_TIMEOUT_MS = 10_000;
const COMMAND_TIMEOUT_MS = 300_000;
const COMMAND_GRACE_MS = 2000;

/**
 * Whether all of a segment, or a timeline, lies on the group's history. The segment in which it left a timeline does not: the new primary
 * archives it as the first of the next timeline. Nor does one of the present timeline, which is the primary's to archive.
 */
export function isOnHistory(file: string, segmentBytes: number, history: GroupHistory): boolean {
  const ends = groupEnds(history);
  const [, ofHistory] = HISTORY.exec(file) ?? [];
  if (ofHistory !== undefined) return ends.has(timeline(Number.parseInt(ofHistory, 16)));
  const end = segmentEnd(file, segmentBytes);
  if (end === undefined) return false;
  const left = ends.get(timeline(Number.parseInt(file.slice(0, 8), 16)));
  return left !== undefined && end <= left;
}

/** The position after a segment; undefined of anything else. */
export function segmentEnd(file: string, segmentBytes: number): bigint | undefined {
  const [, high, low] = SEGMENT.exec(file) ?? [];
  if (high === undefined || low === undefined) return undefined;
  const next = BigInt(Number.parseInt(low, 16) + 1) * BigInt(segmentBytes);
  return (BigInt(Number.parseInt(high, 16)) << 32n) + next;
}

/** So that nobody archives it again. */
export async function markArchived(dataDirectory: string, file: string): Promise<void> {
  const status = join(dataDirectory, 'pg_wal', 'archive_status', file);
  await rename(`${status}.ready`, `${status}.done`).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  });
}

/** Archives one of the kept files with the server's own `archive_command` and removes the copy. Undefined where that went well, else why not. */
export async function archiveKept(
  options: Omit<ArchiveOptions, 'binaries'> & {
    readonly directory: string;
    readonly file: string;
    readonly command: string;
  },
): Promise<string | undefined> {
  const { directory, file, user, dataDirectory, signal } = options;
  const path = join(directory, file);
  const { exitCode, output } = await runProgram({
    ...{ user, cwd: dataDirectory, signal, timeoutMs: COMMAND_TIMEOUT_MS, graceMs: COMMAND_GRACE_MS },
    program: '/bin/sh',
    arguments: ['-c', commandFor(options.command, path, file)],
  });
  if (exitCode !== 0) {
    const last = output.trim().split('\n').at(-1) ?? '';
    return last === '' ? `exit code ${exitCode ?? 'none'}` : last;
  }
  await removeFileDurably(path);
  return undefined;
}

/** What waits in the directory of kept files, in the order in which it is to be archived. */
export async function keptFiles(directory: string): Promise<string[]> {
  return inOrder(await namesIn(directory));
}

/** As PostgreSQL does: `%p` is the path, `%f` the name, `%%` a percent sign. */
export function commandFor(command: string, path: string, file: string): string {
  return command.replace(/%([pf%])/g, (_, letter: string) =>
    letter === 'p' ? path : letter === 'f' ? file : '%',
  );
}

/** The segments and histories that are marked as ready. */
export async function readyFiles(dataDirectory: string): Promise<string[]> {
  const names = await namesIn(join(dataDirectory, 'pg_wal', 'archive_status'));
  return inOrder(
    names.filter((name) => name.endsWith('.ready')).map((name) => name.slice(0, -'.ready'.length)),
  );
}

/** None where there is no such directory. */
async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** Histories first, then by name, which is oldest first. */
function inOrder(names: readonly string[]): string[] {
  return names
    .filter((name) => SEGMENT.test(name) || HISTORY.test(name))
    .sort((a, b) => Number(HISTORY.test(b)) - Number(HISTORY.test(a)) || (a < b ? -1 : 1));
}

/** What the configuration files say, also of a PostgreSQL that is stopped. */
export async function readArchiving(options: ArchiveOptions): Promise<Archiving> {
  const [mode, command, library] = await Promise.all([
    settingOf(options, 'archive_mode'),
    settingOf(options, 'archive_command'),
    options.binaries.version >= 15 ? settingOf(options, 'archive_library') : '',
  ]);
  return { mode, command, library };
}

async function settingOf(
  { binaries, user, dataDirectory, signal }: ArchiveOptions,
  name: string,
): Promise<string> {
  const { exitCode, output, stdout } = await runProgram({
    ...{ user, cwd: dataDirectory, timeoutMs: SETTING_TIMEOUT_MS, signal },
    program: join(binaries.directory, 'postgres'),
    arguments: ['-D', dataDirectory, '-C', name],
  });
  if (exitCode !== 0) throw new Error(`cannot read ${name} of ${dataDirectory}: ${output.trim()}`);
  return stdout.trim();
}
