// Makes a new, empty data directory. Never touches a directory that holds anything.
import { randomBytes } from 'node:crypto';
import { readdir, rename, rmdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Binaries } from './binaries.ts';
import { beginParts, copyOfPartsFile, endParts, makeParts, readParts, removeParts } from './clone-parts.ts';
import type { TidyOptions } from './clone.ts';
import { DEFAULT_INIT_SETTINGS, initArguments, initProblem, type InitSettings } from './initdb-settings.ts';
import { ownWithin, removeWithTablespaces } from './outside-directories.ts';
import { fsyncDirectory } from './durable-files.ts';
import { runProgram, type OsUser } from './os-user.ts';
import { makeDirectory } from './own-directories.ts';
import { endProgramsOn } from './processes.ts';

export interface InitOptions {
  readonly binaries: Binaries;
  readonly user: OsUser;
  readonly dataDirectory: string;
  readonly superuser: string;
  /** WAL gets a directory of its own within this one; left out: within the data directory. */
  readonly walDirectory?: string | undefined;
  /** Left out: {@link DEFAULT_INIT_SETTINGS}. */
  readonly settings?: InitSettings | undefined;
  /** Writes what else belongs to it, given where it is until it takes its place: whoever finds it there finds all of it. */
  readonly finish?: ((directory: string) => Promise<void>) | undefined;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Runs initdb, with SCRAM passwords. The directory is flushed when this returns. Throws when the directory is not empty or a mount point, with
 * initdb's own words, and before anything is made where initdb does not take the settings: with their key and value.
 */
export async function initDataDirectory(options: InitOptions): Promise<void> {
  const { user, dataDirectory } = options;
  const present = await readdir(dataDirectory).catch(() => []);
  if (present.length > 0) {
    throw new Error(
      `cannot initialise ${dataDirectory}: it holds ${present.length} files (${present.slice(0, 3).join(', ')}); empty it or clone`,
    );
  }
  await removeInterruptedInit(options);
  await checkSettings(options);
  // Beside it, then renamed: an initdb that was interrupted must not look like a data directory.
  const fresh = `${dataDirectory}.init-${randomBytes(4).toString('hex')}`;
  const wal = options.walDirectory === undefined ? undefined : ownWithin(options.walDirectory);
  let isInPlace = false;
  await beginParts(fresh);
  try {
    await makeDirectory(user, fresh);
    await makeParts(user, fresh, wal === undefined ? [] : [wal]);
    await runInitdb(options, fresh, wal);
    await options.finish?.(fresh);
    // From now on its WAL is found by the link in it, wherever it is moved.
    await endParts(fresh);
    await rmdir(dataDirectory).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    });
    await rename(fresh, dataDirectory);
    isInPlace = true;
    await fsyncDirectory(dirname(dataDirectory));
  } finally {
    if (!isInPlace) await removeHalf(options, fresh);
  }
}

/** The defaults are taken everywhere. */
async function checkSettings({ settings, dataDirectory, ...host }: InitOptions): Promise<void> {
  const problem = settings === undefined ? undefined : await initProblem({ ...host, settings });
  if (problem === undefined) return;
  const key = problem.key === '' ? 'node.initdb' : `node.initdb.${problem.key}`;
  throw new Error(`cannot initialise ${dataDirectory}: ${key}: ${problem.text}`);
}

/** Removes what an initdb has left that was killed, or whose caller was; it may still be at work. */
export async function removeInterruptedInit(options: TidyOptions): Promise<void> {
  for (const fresh of await initsBeside(options.dataDirectory)) {
    await endProgramsOn(fresh);
    await removeHalf(options, fresh);
  }
}

/** Paths of the directories that an earlier initdb has left, also of one that was not made yet. */
async function initsBeside(dataDirectory: string): Promise<readonly string[]> {
  const parent = dirname(dataDirectory);
  const isInit = (name: string): boolean =>
    name.startsWith(basename(dataDirectory)) &&
    /^\.init-[0-9a-f]{8}$/.test(name.slice(basename(dataDirectory).length));
  const names = await readdir(parent).catch(() => []);
  return [...new Set(names.map((name) => copyOfPartsFile(name) ?? name).filter(isInit))].map((name) =>
    join(parent, name),
  );
}

async function removeHalf({ dataDirectory, user, onNote }: TidyOptions, fresh: string): Promise<void> {
  try {
    const parts = await readParts(fresh);
    await removeWithTablespaces(user, fresh, [dataDirectory]);
    await removeParts(user, fresh, parts);
  } catch (error) {
    onNote?.(`what an initdb has left, ${fresh}, could not be removed: ${(error as Error).message}`);
  }
}

async function runInitdb(options: InitOptions, fresh: string, wal: string | undefined): Promise<void> {
  const { binaries, user } = options;
  const result = await runProgram({
    user,
    program: join(binaries.directory, 'initdb'),
    arguments: [
      `--pgdata=${fresh}`,
      ...(wal === undefined ? [] : [`--waldir=${wal}`]),
      `--username=${options.superuser}`,
      ...initArguments(options.settings ?? DEFAULT_INIT_SETTINGS, binaries.version),
      '--auth-local=trust',
      '--auth-host=scram-sha-256',
      '--no-instructions',
    ],
    cwd: fresh,
    timeoutMs: options.timeoutMs,
    signal: options.signal,
  });
  options.signal?.throwIfAborted();
  if (result.exitCode !== 0) {
    throw new Error(
      `initdb of ${options.dataDirectory} failed (${result.signal ?? `exit code ${result.exitCode}`}): ${result.output.trim()}`,
    );
  }
}
