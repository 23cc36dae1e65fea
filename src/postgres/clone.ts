// Clones a standby from a running node into a fresh sibling directory, and puts it into place only when it is complete,
// verified and flushed. The old directory stays until that was seen to work. The clone always holds standby.signal and never a member
// file, so it can start neither as a primary nor as the member it was copied from.
import { randomBytes } from 'node:crypto';
import { readdir, realpath, rm, symlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { runBaseBackup } from './base-backup.ts';
import { dataVersion, type Binaries } from './binaries.ts';
import {
  beginParts,
  copyOfPartsFile,
  endParts,
  makeParts,
  partsFile,
  readParts,
  removeParts,
} from './clone-parts.ts';
import {
  checkFree,
  checkRoom,
  NoRoomError,
  emptyTablespace,
  readSourceSize,
  type SourceSize,
  type Tablespace,
  type TablespaceMapping,
} from './clone-room.ts';
import { ChangedPlaceError, lookAtPlace, mustBeEmpty, putIntoPlace } from './clone-place.ts';
import { ownWithin, removeWithTablespaces } from './outside-directories.ts';
import type { CloneProgress } from './clone-progress.ts';
import { renderConninfo, renderPassfile, upstreamKeywords, type Upstream } from './conninfo.ts';
import { readControlData } from './control-data.ts';
import { fsyncDirectory, fsyncTree, removeFileDurably, writeFileDurably } from './durable-files.ts';
import { MEMBER_FILE } from './member.ts';
import { giveTo, runProgram, type OsUser } from './os-user.ts';
import { makeDirectory } from './own-directories.ts';
import { endProgramsOn } from './processes.ts';
import {
  discardedGone,
  discardInterrupted,
  exists,
  forgetMovedAway,
  moveDirectory,
  removeDiscarded,
  replacedDirectory,
} from './replaced.ts';
import { closeReplication, connectReplication, keepWal } from './replication-connection.ts';
import { extractTar, type TarExtraction } from './tar.ts';
import { writeStandbySignal } from './upstream.ts';

/** In a directory that is not yet a whole clone. */
const MARKER = 'pg_sentinel_clone_incomplete';

export interface CloneOptions {
  readonly binaries: Binaries;
  readonly user: OsUser;
  /** Replaced by the clone; may be missing or empty. PostgreSQL must not run in it. Not a mount point itself. */
  readonly dataDirectory: string;
  /** Nothing is copied where it is neither missing nor empty. */
  readonly mustBeEmpty?: boolean;
  readonly passfileDirectory: string;
  /** Its `applicationName` must not be a member's. */
  readonly source: Upstream;
  /** Throws when the source turns out to be another system. */
  readonly systemIdentifier: string | undefined;
  /** `protocol` where there is no pg_basebackup. */
  readonly method?: 'pg_basebackup' | 'protocol';
  /** Tablespaces that are not in it go where they are on the source. */
  readonly tablespaces?: TablespaceMapping | undefined;
  /** WAL gets a directory of its own within this one; left out: within the data directory. */
  readonly walDirectory?: string | undefined;
  /** The source sends no more than this in a second; WAL, which comes beside it, is not counted by pg_basebackup. */
  readonly maxRateBytes?: number | undefined;
  readonly onProgress?: (progress: CloneProgress) => void;
  /** Verifies the copy in `directory`, which is flushed afterwards and put into place, and gives it its member file. */
  readonly finish?: (directory: string, systemIdentifier: string) => Promise<void>;
  /** Something that is worth a line in the log. */
  readonly onNote?: (message: string) => void;
  /** Give up when nothing comes for so long; the checkpoint at the start counts. */
  readonly stallMs: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Clones and puts the clone into place. Settings and pg_hba.conf are the caller's to write before the first start, and to say by
 * {@link discardReplaced} that the directory which the clone has replaced is no longer needed. Throws when PostgreSQL runs, when there is too little room, when the copy fails, or when
 * something else has come into the place meanwhile; what is there is then untouched, but for a directory whose rewind was interrupted: that is removed where its room is needed.
 */
export async function cloneStandby(
  options: CloneOptions,
): Promise<{ readonly systemIdentifier: string; readonly method: 'pg_basebackup' | 'protocol' }> {
  const { dataDirectory, user } = options;
  await discardedGone(options);
  if (options.mustBeEmpty === true) await mustBeEmpty(dataDirectory);
  await finishInterruptedClone(options);
  let place = await lookAtPlace(dataDirectory);
  const size = await findSize(options);
  options.signal?.throwIfAborted();
  if (size !== undefined)
    await checkRoom(dataDirectory, size, options.walDirectory).catch(async (error: unknown) => {
      if (!(error instanceof NoRoomError) || !(await discardInterrupted(options))) throw error;
      place = await lookAtPlace(dataDirectory);
      await checkRoom(dataDirectory, size, options.walDirectory);
    });
  // A name of its own: the pg_basebackup of a sentineld that was killed may still be writing to an earlier one.
  const fresh = `${dataDirectory}.clone-${randomBytes(4).toString('hex')}`;
  const method = options.method ?? (options.binaries.has.pgBasebackup ? 'pg_basebackup' : 'protocol');
  const tablespaces = size?.tablespaces ?? [];
  const wal = options.walDirectory === undefined ? undefined : ownWithin(options.walDirectory);
  const places: Places = { fresh, tablespaces, wal };
  let isWhole = false;
  await beginParts(fresh);
  try {
    await makeDirectory(user, fresh);
    await makeParts(user, fresh, [
      ...tablespaces.map(({ target }) => target),
      ...(wal === undefined ? [] : [wal]),
    ]);
    if (method === 'pg_basebackup') await copyByProgram(options, places);
    else await copyByProtocol(options, places);
    const systemIdentifier = await verify(options, fresh);
    await removeFileDurably(join(fresh, MEMBER_FILE));
    await writeStandbySignal(fresh, user.owner);
    await options.finish?.(fresh, systemIdentifier);
    await fsyncTree(fresh, options.signal);
    for (const name of await readdir(join(fresh, 'pg_tblspc')))
      await fsyncTree(await realpath(join(fresh, 'pg_tblspc', name)), options.signal);
    if (wal !== undefined) await fsyncTree(wal, options.signal);
    await endParts(fresh);
    isWhole = true;
    await rm(join(fresh, MARKER), { force: true });
    await fsyncDirectory(fresh);
    await putIntoPlace(dataDirectory, fresh, place);
    removeDiscarded(dataDirectory, user).catch((error: unknown) =>
      options.onNote?.(
        `a clone that was never seen to work could not be removed: ${(error as Error).message}`,
      ),
    );
    return { systemIdentifier, method };
  } catch (error) {
    // A whole one is else put into its place later, which is somebody else's now.
    if (!isWhole || error instanceof ChangedPlaceError) await removeHalf(options, fresh);
    throw error;
  }
}

/** Where the parts of a copy go. */
interface Places {
  readonly fresh: string;
  readonly tablespaces: readonly Tablespace[];
  readonly wal: string | undefined;
}

/** Undefined where it is not known and need not be. */
async function findSize(options: CloneOptions): Promise<SourceSize | undefined> {
  try {
    return await readSourceSize(options.source, options.tablespaces);
  } catch (error) {
    const { message } = error as Error;
    if ((options.tablespaces?.size ?? 0) > 0)
      throw new Error(`cannot clone: the source does not say which tablespaces it has (${message})`, {
        cause: error,
      });
    options.onNote?.(`the size of the source is not known before the copy begins: ${message}`);
    return undefined;
  }
}

export interface TidyOptions {
  readonly dataDirectory: string;
  /** Of PostgreSQL: what an earlier attempt has left is removed with his rights. */
  readonly user: OsUser;
  /** Something that is worth a line in the log: what could not be removed. */
  readonly onNote?: (message: string) => void;
}

/** The copy in `fresh` never became whole: it and all that was made for it are removed; else it stays as it is, which is said. */
async function removeHalf({ dataDirectory, user, onNote }: TidyOptions, fresh: string): Promise<void> {
  try {
    const parts = await readParts(fresh);
    await removeWithTablespaces(user, fresh, [dataDirectory, replacedDirectory(dataDirectory)]);
    await removeParts(user, fresh, parts);
  } catch (error) {
    onNote?.(
      `what a clone that was not completed has left, ${fresh}, could not be removed: ${(error as Error).message}`,
    );
  }
}

/**
 * Completes what a clone or a removal interrupted between its renames left, and removes half copies, whose program may still be at work. Before
 * anything else uses the directory.
 */
export async function finishInterruptedClone(options: TidyOptions): Promise<void> {
  const { dataDirectory } = options;
  const old = replacedDirectory(dataDirectory);
  for (const fresh of await copiesBeside(dataDirectory)) {
    const isBegun = (await exists(partsFile(fresh))) || (await exists(join(fresh, MARKER)));
    const isWhole = !isBegun && (await exists(join(fresh, 'standby.signal')));
    if (isWhole && !(await exists(dataDirectory))) await moveDirectory(fresh, dataDirectory);
    else {
      await endProgramsOn(fresh);
      await removeHalf(options, fresh);
    }
  }
  // No clone has come into its place.
  if ((await exists(old)) && !(await exists(dataDirectory))) await moveDirectory(old, dataDirectory);
  for (const directory of [old, dataDirectory]) await forgetMovedAway(directory);
}

/** Paths of the copies that an earlier clone has left, also of one whose directory was not made yet. */
async function copiesBeside(dataDirectory: string): Promise<readonly string[]> {
  const parent = dirname(dataDirectory);
  const isCopy = (name: string): boolean =>
    name.startsWith(basename(dataDirectory)) &&
    /^\.clone-[0-9a-f]{8}$/.test(name.slice(basename(dataDirectory).length));
  const names = await readdir(parent).catch(() => []);
  return [...new Set(names.map((name) => copyOfPartsFile(name) ?? name).filter(isCopy))].map((name) =>
    join(parent, name),
  );
}

async function copyByProgram(options: CloneOptions, { fresh, tablespaces, wal }: Places): Promise<void> {
  const { user, source } = options;
  const passfile = join(options.passfileDirectory, 'clone.pass');
  await writeFileDurably({
    path: passfile,
    content: renderPassfile(source.user, source.password),
    mode: 0o600,
    owner: user.owner,
  });
  const stall = new AbortController();
  let timer = setTimeout(() => stall.abort(), options.stallMs);
  let checking: Promise<void> | undefined;
  let roomError: Error | undefined;
  const onOutput = (text: string): void => {
    clearTimeout(timer);
    timer = setTimeout(() => stall.abort(), options.stallMs);
    const match = /(\d+)\/(\d+) kB/.exec(text);
    if (match === null) return;
    const totalBytes = Number(match[2]) * 1024;
    options.onProgress?.({ bytes: Number(match[1]) * 1024, totalBytes });
    checking ??= checkFree(fresh, totalBytes - sum(tablespaces)).catch((error: unknown) => {
      roomError = error as Error;
      stall.abort();
    });
  };
  try {
    // pg_basebackup wants an empty directory; the marker lies beside it until then.
    const result = await runProgram({
      user,
      program: join(options.binaries.directory, 'pg_basebackup'),
      arguments: [
        `--dbname=${renderConninfo(upstreamKeywords(source, passfile))}`,
        `--pgdata=${fresh}`,
        '--wal-method=stream',
        '--checkpoint=fast',
        '--no-manifest',
        '--no-password',
        '--progress',
        '--no-sync',
        ...(wal === undefined ? [] : [`--waldir=${wal}`]),
        ...(options.maxRateBytes === undefined ? [] : [`--max-rate=${kilobytes(options.maxRateBytes)}k`]),
        ...tablespaces
          .filter(({ location, target }) => target !== location)
          .map(({ location, target }) => `--tablespace-mapping=${mapped(location)}=${mapped(target)}`),
      ],
      cwd: dirname(fresh),
      timeoutMs: 2 ** 31 - 1,
      signal: options.signal === undefined ? stall.signal : AbortSignal.any([options.signal, stall.signal]),
      onOutput,
    });
    await writeMarker(options, fresh);
    await checking;
    options.signal?.throwIfAborted();
    if (roomError !== undefined) throw roomError;
    if (result.exitCode !== 0) {
      const why = stall.signal.aborted
        ? `nothing came for ${options.stallMs} ms`
        : (result.signal ?? `exit code ${result.exitCode}`);
      throw new Error(
        `pg_basebackup from ${source.host}:${source.port} failed (${why}): ${result.output.trim()}`,
      );
    }
  } finally {
    clearTimeout(timer);
    await rm(passfile, { force: true });
  }
}

/** PostgreSQL's unit for a rate. */
const kilobytes = (bytes: number): number => Math.round(bytes / 1024);

/** pg_basebackup takes an equals sign for the end of the path. */
const mapped = (path: string): string => path.replaceAll('=', '\\=');

const sum = (tablespaces: readonly Tablespace[]): number =>
  tablespaces.reduce((total, { bytes }) => total + bytes, 0);

async function copyByProtocol(options: CloneOptions, { fresh, tablespaces, wal }: Places): Promise<void> {
  const { source, user } = options;
  await writeMarker(options, fresh);
  if (wal !== undefined) await symlink(wal, join(fresh, 'pg_wal'));
  const target = {
    host: source.hostAddress ?? source.host,
    port: source.port,
    user: source.user,
    password: source.password,
  };
  const client = await connectReplication(
    { ...target, applicationName: source.applicationName, ssl: source.tls ?? tlsOf(source) },
    options.stallMs,
  );
  const linkTo = (location: string): string =>
    tablespaces.find((each) => each.location === location)?.target ?? location;
  let extraction: TarExtraction | undefined;
  let totalBytes: number | undefined;
  let bytes = 0;
  // Twelve digits: a member's slot has eight, and would be dropped where no member is of that name.
  const slot = `pg_sentinel_clone_${randomBytes(6).toString('hex')}`;
  try {
    // WAL comes last, and a slow copy takes longer than checkpoints leave it there. pg_basebackup does the same.
    await keepWal(client, slot, options.stallMs).catch((error: unknown) => {
      options.onNote?.(
        `the source keeps no WAL for the clone, which fails if it takes long: ${(error as Error).message}`,
      );
    });
    await runBaseBackup({
      client,
      version: options.binaries.version,
      label: 'pg_sentinel clone',
      maxRateKilobytes: options.maxRateBytes === undefined ? undefined : kilobytes(options.maxRateBytes),
      stallMs: options.stallMs,
      signal: options.signal,
      async onStart(start) {
        totalBytes = start.tablespaces.reduce((sum, present) => sum + present.bytes, 0);
        await checkFree(fresh, totalBytes - sum(tablespaces));
      },
      async onEvent(event) {
        if (event.kind === 'archive') {
          await extraction?.end();
          extraction = extractTar({
            root: event.location === undefined ? fresh : await emptyTablespace(user, linkTo(event.location)),
            user,
            linkTo,
          });
          return;
        }
        await extraction?.write(event.bytes);
        bytes += event.bytes.length;
        options.onProgress?.({ bytes, totalBytes });
      },
    });
    await extraction?.end();
  } finally {
    await extraction?.abandon();
    closeReplication(client);
  }
}

/** The verified system identifier. */
async function verify(options: CloneOptions, fresh: string): Promise<string> {
  const from = `${options.source.host}:${options.source.port}`;
  const version = await dataVersion(fresh);
  if (version !== options.binaries.version)
    throw new Error(
      `the clone from ${from} is of PostgreSQL ${version}, here is ${options.binaries.version}`,
    );
  if (!(await exists(join(fresh, 'backup_label'))))
    throw new Error(`the clone from ${from} holds no backup_label: it is no consistent copy`);
  const control = await readControlData(fresh);
  if (options.systemIdentifier !== undefined && control.systemIdentifier !== options.systemIdentifier) {
    throw new Error(
      `the clone from ${from} is of system ${control.systemIdentifier}, not of ${options.systemIdentifier}; that is another database`,
    );
  }
  return control.systemIdentifier;
}

async function writeMarker(options: CloneOptions, fresh: string): Promise<void> {
  const path = join(fresh, MARKER);
  await writeFileDurably({ path, content: '', mode: 0o600, owner: options.user.owner });
  await giveTo(options.user, path);
}

/** libpq's sslmode for node-postgres: the certificate is checked for verify-ca and verify-full only, as libpq does. */
function tlsOf(source: Upstream): boolean | { rejectUnauthorized: boolean } {
  const mode = source.parameters?.['sslmode'];
  if (mode === undefined || mode === 'disable' || mode === 'prefer' || mode === 'allow') return false;
  return { rejectUnauthorized: mode.startsWith('verify') };
}
