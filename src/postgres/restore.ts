// Has the administrator's command restore a data directory: into a fresh sibling, which is put into place only when it is complete and
// flushed. Never touches a directory that holds anything. What a killed run leaves is ours by its marker, and removed with the rights of
// PostgreSQL's user.
import { randomBytes } from 'node:crypto';
import { lstatSync, readFileSync, readdirSync } from 'node:fs';
import { lstat, readFile, readdir, rename, rmdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { delay } from '../base/clock.ts';
import { type Binaries, dataVersion } from './binaries.ts';
import { beginParts, endParts, makeParts, partsFile, readParts, removeParts } from './clone-parts.ts';
import { readControlData } from './control-data.ts';
import { fsyncDirectory, fsyncTree, temporaryOf, writeFileDurably } from './durable-files.ts';
import type { OsUser } from './os-user.ts';
import { makeNewDirectory } from './outside-directories.ts';
import { allGone, signalProcess } from './processes.ts';
import { exists } from './replaced.ts';
import { type RestoreCommand, RestoreError, runRestoreCommand } from './restore-command.ts';
import { findRestoreMarker, removeRestored, writeRestoreMarker } from './restore-marker.ts';
import { cleanRestored } from './restored-files.ts';
import { type OwnPlaces, newParts, partsInUse, placeObstacle } from './restored-places.ts';
import { removeAsUser, removeEmptyAsUser } from './user-files.ts';

/** Beside a data directory that is being restored. */
const WORK_MARKER = 'pg_sentinel_restore';
/** Tells the processes of a command whose sentineld was killed. */
const PLACE_VARIABLE = 'PG_SENTINEL_DATA_DIRECTORY';
const ENDED_WITHIN_MS = 10_000;

/** Whose data directory it is. */
export interface RestorePlace {
  readonly dataDirectory: string;
  readonly user: OsUser;
  /** Something that is worth a line in the log. */
  readonly onNote: (message: string) => void;
}

export interface RestoreOptions extends RestorePlace, Omit<RestoreCommand, 'cwd'> {
  readonly binaries: Binaries;
  /** Its tablespaces, and its WAL, may have new directories within these. */
  readonly places: OwnPlaces;
  /** As in the marker. */
  readonly recovery: string;
  /** How long what the command has left running is waited for. */
  readonly leftRunningMs?: number;
}

const LEFT_RUNNING_MS = 30_000;

/** The data directory must be missing or empty. Throws {@link RestoreError}; nothing of what failed is left then, but for its log. */
export async function restoreDataDirectory(options: RestoreOptions): Promise<void> {
  const { dataDirectory } = options;
  await checkPlace(dataDirectory);
  await removeHalfRestored(options);
  const work = await makeWork(options);
  const fresh = join(work, 'data');
  try {
    const parts = await makeAll(options, fresh);
    const environment = {
      ...options.environment,
      ...Object.fromEntries(parts),
      [PLACE_VARIABLE]: fresh,
    };
    await runRestoreCommand({ ...options, environment, cwd: work });
    await waitForLeftRunning(options, fresh);
    await verify(options, fresh, [...parts.values()]);
    await cleanRestored({ ...options, directory: fresh });
    await complete(options, fresh, [...parts.values()]);
    await takePlace(options, fresh);
  } finally {
    await removeWork(options, work).catch((error: unknown) =>
      options.onNote(`what a restore has left, ${work}, could not be removed: ${(error as Error).message}`),
    );
  }
}

/** The directory to restore to, and those for tablespaces and WAL, by the variables that name them: all of them new. */
async function makeAll(
  { user, places }: RestoreOptions,
  fresh: string,
): Promise<ReadonlyMap<string, string>> {
  const parts = newParts(places);
  try {
    await beginParts(fresh);
    await makeParts(user, fresh, [...parts.values()]);
    await makeNewDirectory(user, fresh);
  } catch (error) {
    throw new RestoreError(`cannot make the directories to restore into: ${(error as Error).message}`);
  }
  return parts;
}

/** Flushed, with a marker that says what belongs to it. */
async function complete(
  { user, recovery, signal }: RestoreOptions,
  fresh: string,
  made: readonly string[],
): Promise<void> {
  const parts = await partsInUse(user, fresh, made);
  for (const part of made) {
    if (parts.includes(part)) continue;
    if ((await readdir(part)).length > 0)
      throw new RestoreError(
        `the bootstrap command has put files into ${part}, and nothing of what it restored leads there: expected a link in pg_tblspc or a line of tablespace_map (of WAL, the link pg_wal)`,
      );
    await removeAsUser(user, part);
  }
  await writeRestoreMarker(fresh, { recovery, isStarted: false, parts }, user);
  for (const directory of [fresh, ...parts]) await fsyncTree(directory, signal);
  for (const part of parts) await fsyncDirectory(dirname(part));
  signal.throwIfAborted();
  // From here on the marker says what belongs to it.
  await endParts(fresh);
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

async function takePlace({ dataDirectory, user }: RestorePlace, fresh: string): Promise<void> {
  await checkIsHis(user, fresh);
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

/** The command runs with the rights to put a link, or somebody else's directory, in its place. */
async function checkIsHis(user: OsUser, fresh: string): Promise<void> {
  const found = await lstat(fresh).catch(() => undefined);
  if (found?.isDirectory() !== true || found.uid !== user.uid)
    throw new RestoreError(
      `the bootstrap command left no directory of ${user.name}'s at ${fresh} ($${PLACE_VARIABLE}): it has to restore into the one that is there`,
    );
}

async function makeWork({ dataDirectory, user }: RestorePlace): Promise<string> {
  const work = `${dataDirectory}.restore-${randomBytes(4).toString('hex')}`;
  await makeNewDirectory(user, work);
  await writeFileDurably({ path: join(work, WORK_MARKER), content: '', mode: 0o600, owner: undefined });
  return work;
}

/** The marker goes last: what is left of a removal that was broken off is known for what it is. Follows no link. */
async function removeWork({ user }: RestorePlace, work: string): Promise<void> {
  const data = join(work, 'data');
  await endProcessesOf(data, user);
  // What a backup has brought along as a marker says nothing: only a complete one is ours, and has no such file any more.
  const isHalf = await exists(partsFile(data));
  const marker = isHalf ? undefined : await findRestoreMarker(data, user);
  if (marker !== undefined) await removeRestored(user, data, marker);
  await removeAsUser(user, data);
  if (isHalf) await removeParts(user, data, await readParts(data));
  await removeAsUser(user, work);
}

/** Gives up a data directory whose recovery has not come to its end; PostgreSQL must not run in it. */
export async function discardRestored(place: RestorePlace): Promise<void> {
  const { dataDirectory, user } = place;
  if ((await findRestoreMarker(dataDirectory, user)) === undefined)
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
    else {
      // Killed before it had its marker: nothing but that is in it yet, half-written.
      await removeAsUser(user, temporaryOf(join(work, WORK_MARKER)));
      await removeEmptyAsUser(user, work);
    }
  }
}

/** SIGKILL to what the command has started, as long as any of it runs: what it writes would be taken for part of the next attempt. */
async function endProcessesOf(directory: string, user: OsUser): Promise<void> {
  const deadlineMs = performance.now() + ENDED_WITHIN_MS;
  const look = (): Promise<number[]> => findProcessesOf(directory, user);
  for (let pids = await look(); pids.length > 0; pids = await look()) {
    for (const pid of pids) signalProcess(pid, 'SIGKILL');
    if (performance.now() > deadlineMs)
      throw new RestoreError(
        `processes ${pids.join(', ')} of a bootstrap command that was broken off do not end`,
      );
    await delay(10);
  }
}

/** A process that begins to run another program shows no environment for a moment: one look alone may pass it over. */
async function findProcessesOf(directory: string, user: OsUser): Promise<number[]> {
  for (let looks = 1; ; looks += 1) {
    const pids = processesOf(directory, user);
    if (pids.length > 0 || looks === LOOKS) return pids;
    await delay(LOOKS_APART_MS);
  }
}

const LOOKS = 4;
const LOOKS_APART_MS = 10;

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

/** They would go on to write while it is put into its place. */
async function waitForLeftRunning(
  { user, signal, leftRunningMs = LEFT_RUNNING_MS }: RestoreOptions,
  fresh: string,
): Promise<void> {
  const deadlineMs = performance.now() + leftRunningMs;
  const look = (): Promise<number[]> => findProcessesOf(fresh, user);
  for (let pids = await look(); pids.length > 0; pids = await look()) {
    const running = allGone({ dataDirectory: fresh, sharedMemoryId: undefined });
    if (!running.gone) throw leftPostgres(running.pids);
    if (performance.now() > deadlineMs)
      throw new RestoreError(
        `the bootstrap command has ended, and left processes running (${pids.join(', ')}) that may still write to what it restored; they have to end before it does`,
      );
    await delay(50, signal);
    signal.throwIfAborted();
  }
}

const leftPostgres = (pids: readonly number[]): RestoreError =>
  new RestoreError(
    `the bootstrap command left a PostgreSQL that runs in what it restored (processes ${pids.join(', ')}); it has to end before the command does`,
  );

async function verify(
  { binaries, onNote, user }: RestoreOptions,
  fresh: string,
  parts: readonly string[],
): Promise<void> {
  await checkIsHis(user, fresh);
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
  if (!running.gone) throw leftPostgres(running.pids);
  if ((await stat(join(fresh, 'pg_wal')).catch(() => undefined))?.isDirectory() !== true)
    throw new RestoreError(
      'the bootstrap command restored no directory pg_wal: PostgreSQL does not start without, empty as it may be',
    );
  const obstacle = await placeObstacle(user, fresh, parts).catch(
    (error: unknown) => `it cannot be told where it leads: ${(error as Error).message}`,
  );
  if (obstacle !== undefined)
    throw new RestoreError(`what the bootstrap command restored is not started: ${obstacle}`);
  if (control.state === 'in production' && !(await exists(join(fresh, 'backup_label'))))
    onNote(
      'what the bootstrap command restored has no backup_label: only a snapshot that was taken at one instant is consistent without',
    );
}
