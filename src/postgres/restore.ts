// Has the administrator's command restore a data directory: into a fresh sibling, which is put into place only when it is complete and
// flushed. Never touches a directory that holds anything. What a killed run leaves is ours by its marker, and removed with the rights of
// PostgreSQL's user.
import { randomBytes } from 'node:crypto';
import { lstatSync, readFileSync, readdirSync } from 'node:fs';
import { readFile, readdir, realpath, rename, rmdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { delay } from '../base/clock.ts';
import type { Timeline } from '../base/ids.ts';
import { type Binaries, dataVersion } from './binaries.ts';
import { readControlData } from './control-data.ts';
import { fsyncDirectory, fsyncTree, removeFileDurably, writeFileDurably } from './durable-files.ts';
import type { OsUser } from './os-user.ts';
import { makeDirectory } from './own-directories.ts';
import { removeWithTablespaces } from './outside-directories.ts';
import { allGone, signalProcess } from './processes.ts';
import { exists } from './replaced.ts';
import { type RestoreCommand, RestoreError, runRestoreCommand } from './restore-command.ts';
import { cleanRestored } from './restored-files.ts';
import { type OwnPlaces, isOwnPlace, placeObstacle } from './restored-places.ts';
import { removeAsUser, removeEmptyAsUser } from './user-files.ts';

/** In a restored data directory whose recovery has not come to its end: it is fit for nothing else. */
export const RESTORE_MARKER = 'pg_sentinel_restoring';
/** Beside a data directory that is being restored. */
const WORK_MARKER = 'pg_sentinel_restore';
/** Tells the processes of a command whose sentineld was killed. */
const PLACE_VARIABLE = 'PG_SENTINEL_DATA_DIRECTORY';
const ENDED_WITHIN_MS = 10_000;

/** Whose data directory it is. */
export interface RestorePlace {
  readonly dataDirectory: string;
  readonly user: OsUser;
  readonly places: OwnPlaces;
  /** Something that is worth a line in the log. */
  readonly onNote: (message: string) => void;
}

export interface RestoreOptions extends RestorePlace, Omit<RestoreCommand, 'cwd'> {
  readonly binaries: Binaries;
  /** See {@link readRestoreMarker}. */
  readonly recovery: string;
}

/** The data directory must be missing or empty. Throws {@link RestoreError}; nothing of what failed is left then, but for its log. */
export async function restoreDataDirectory(options: RestoreOptions): Promise<void> {
  const { user, dataDirectory, signal } = options;
  await checkPlace(dataDirectory);
  await removeHalfRestored(options);
  const work = await makeWork(options);
  const fresh = join(work, 'data');
  try {
    await makeDirectory(user, fresh);
    const environment = { ...options.environment, [PLACE_VARIABLE]: fresh };
    await runRestoreCommand({ ...options, environment, cwd: work });
    await verify(options, fresh);
    await cleanRestored({ ...options, directory: fresh });
    await writeRestoreMarker(fresh, { recovery: options.recovery, isStarted: false }, user);
    await fsyncTree(fresh, signal);
    for (const name of await readdir(join(fresh, 'pg_tblspc')).catch(() => []))
      await fsyncTree(await realpath(join(fresh, 'pg_tblspc', name)), signal);
    signal.throwIfAborted();
    await takePlace(dataDirectory, fresh);
  } finally {
    await removeWork(options, work).catch((error: unknown) =>
      options.onNote(`what a restore has left, ${work}, could not be removed: ${(error as Error).message}`),
    );
  }
}

/** Whether what is restored can take that place later: before anything is read for hours. */
async function checkPlace(dataDirectory: string): Promise<void> {
  const cannot = `cannot restore into ${dataDirectory}: `;
  if (lstatSync(dataDirectory, { throwIfNoEntry: false })?.isSymbolicLink() === true)
    throw new RestoreError(`${cannot}it is a symbolic link; make data_directory what it leads to`);
  const present = await readdir(dataDirectory).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new RestoreError(`${cannot}${(error as Error).message}`);
  });
  if (present === undefined) return;
  if (present.length > 0)
    throw new RestoreError(`${cannot}it holds files (${present.slice(0, 3).join(', ')})`);
  const [own, parent] = await Promise.all([stat(dataDirectory), stat(dirname(dataDirectory))]);
  const mounts = await readFile('/proc/self/mountinfo', 'utf8').catch(() => '');
  if (own.dev !== parent.dev || mounts.split('\n').some((line) => line.split(' ')[4] === dataDirectory))
    throw new RestoreError(
      `${cannot}it is a mount point and cannot be renamed; make data_directory a directory below it`,
    );
}

async function takePlace(dataDirectory: string, fresh: string): Promise<void> {
  try {
    await rmdir(dataDirectory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
      throw new RestoreError(
        `what was restored cannot take the place of ${dataDirectory}: ${(error as Error).message}`,
      );
  }
  await rename(fresh, dataDirectory);
  await fsyncDirectory(dirname(dataDirectory));
}

async function makeWork({ dataDirectory, user }: RestorePlace): Promise<string> {
  const work = `${dataDirectory}.restore-${randomBytes(4).toString('hex')}`;
  await makeDirectory(user, work);
  await writeFileDurably({ path: join(work, WORK_MARKER), content: '', mode: 0o600, owner: undefined });
  return work;
}

/** The marker goes last: what is left of a removal that was broken off is known for what it is. */
async function removeWork({ user, places }: RestorePlace, work: string): Promise<void> {
  const data = join(work, 'data');
  await endProcessesOf(data, user);
  await removeWithTablespaces(user, data, [], isOwnPlace(places));
  await removeAsUser(user, work);
}

/** Gives up a data directory whose recovery has not come to its end; PostgreSQL must not run in it. */
export async function discardRestored(place: RestorePlace): Promise<void> {
  const { dataDirectory } = place;
  if (!(await exists(join(dataDirectory, RESTORE_MARKER))))
    throw new Error(`${dataDirectory} is not being restored; it is left as it is`);
  const left = allGone({ dataDirectory, sharedMemoryId: undefined });
  if (!left.gone)
    throw new Error(`cannot give up ${dataDirectory}: PostgreSQL runs in it (${left.pids.join(', ')})`);
  const work = await makeWork(place);
  await rename(dataDirectory, join(work, 'data'));
  await fsyncDirectory(dirname(dataDirectory));
  await removeWork(place, work);
}

/** What an earlier run left that was killed, with what of its command still runs. Throws {@link RestoreError} where that does not end. */
export async function removeHalfRestored(place: RestorePlace): Promise<void> {
  const { dataDirectory, user } = place;
  const parent = dirname(dataDirectory);
  const start = basename(dataDirectory);
  const isWork = (name: string): boolean =>
    name.startsWith(start) && /^\.restore-[0-9a-f]{8}$/.test(name.slice(start.length));
  for (const name of (await readdir(parent).catch(() => [])).filter(isWork)) {
    const work = join(parent, name);
    if (await exists(join(work, WORK_MARKER))) await removeWork(place, work);
    // Killed before it had its marker: nothing is in it yet.
    else await removeEmptyAsUser(user, work);
  }
}

/** SIGKILL to what the command has started, as long as any of it runs: what it writes would be taken for part of the next attempt. */
async function endProcessesOf(directory: string, user: OsUser): Promise<void> {
  const deadlineMs = performance.now() + ENDED_WITHIN_MS;
  for (let pids = processesOf(directory, user); pids.length > 0; pids = processesOf(directory, user)) {
    for (const pid of pids) signalProcess(pid, 'SIGKILL');
    if (performance.now() > deadlineMs)
      throw new RestoreError(
        `processes ${pids.join(', ')} of a bootstrap command that was broken off do not end`,
      );
    await delay(10);
  }
}

function processesOf(directory: string, user: OsUser): number[] {
  const mark = `${PLACE_VARIABLE}=${directory}`;
  return readdirSync('/proc').flatMap((name) => {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) return [];
    try {
      if (lstatSync(`/proc/${pid}`).uid !== user.uid) return [];
      return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(mark) ? [pid] : [];
    } catch {
      // It has ended.
      return [];
    }
  });
}

async function verify({ binaries, onNote, places }: RestoreOptions, fresh: string): Promise<void> {
  const version = await dataVersion(fresh);
  if (version === undefined)
    throw new RestoreError(
      `the bootstrap command left no data directory in ${fresh} ($${PLACE_VARIABLE}): there is no PG_VERSION`,
    );
  if (version !== binaries.version)
    throw new RestoreError(
      `the bootstrap command restored a data directory of PostgreSQL ${version}, here is ${binaries.version}`,
    );
  const control = await readControlData(fresh).catch((error: unknown) => {
    throw new RestoreError(`what the bootstrap command restored is damaged: ${(error as Error).message}`);
  });
  const running = allGone({ dataDirectory: fresh, sharedMemoryId: undefined });
  if (!running.gone)
    throw new RestoreError(
      `the bootstrap command left a PostgreSQL that runs in what it restored (processes ${running.pids.join(', ')}); it has to end before the command does`,
    );
  const obstacle = await placeObstacle(fresh, places);
  if (obstacle !== undefined)
    throw new RestoreError(`what the bootstrap command restored is not started: ${obstacle}`);
  if (control.state === 'in production' && !(await exists(join(fresh, 'backup_label'))))
    onNote(
      'what the bootstrap command restored has no backup_label: only a snapshot that was taken at one instant is consistent without',
    );
}

export interface RestoreMarker {
  /** With what it is recovered: another target needs the backup anew. */
  readonly recovery: string;
  /** PostgreSQL was started on it, as a standby. */
  readonly isStarted: boolean;
  /** It was opened on this timeline, which was the assigned one. */
  readonly opened?: Timeline;
}

export function writeRestoreMarker(directory: string, marker: RestoreMarker, user: OsUser): Promise<void> {
  const content = `${JSON.stringify(marker)}\n`;
  return writeFileDurably({ path: join(directory, RESTORE_MARKER), content, mode: 0o600, owner: user.owner });
}

/** One that cannot be read is of no recovery. */
export async function readRestoreMarker(directory: string): Promise<RestoreMarker> {
  try {
    const raw = JSON.parse(await readFile(join(directory, RESTORE_MARKER), 'utf8')) as Partial<RestoreMarker>;
    return {
      recovery: String(raw.recovery),
      isStarted: raw.isStarted === true,
      ...(typeof raw.opened === 'number' ? { opened: raw.opened } : {}),
    };
  } catch {
    return { recovery: '', isStarted: false };
  }
}

/** The data directory is one like any other from here on. */
export const endRestore = (directory: string): Promise<void> =>
  removeFileDurably(join(directory, RESTORE_MARKER));
