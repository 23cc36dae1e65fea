// pg_rewind: turns a diverged, stopped node into a copy of the source as of the fork. A rewind that was interrupted leaves
// a directory fit only for a clone: the marker file says so until it has succeeded.
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type pg from 'pg';
import { delay } from '../base/clock.ts';
import type { Binaries } from './binaries.ts';
import { renderConninfo, renderPassfile, upstreamKeywords, type Upstream } from './conninfo.ts';
import { endedAsStandby, isStoppedCleanly, readControlData } from './control-data.ts';
import { fsyncDirectory, removeFileDurably, writeFileDurably } from './durable-files.ts';
import { removeStaleLockFiles } from './lock-files.ts';
import { removeMember } from './member.ts';
import { runProgram, type OsUser } from './os-user.ts';
import { isRewindInterrupted, rewindMarker } from './rewind-marker.ts';
import { checkRewindRoom, checkRewindTablespaces } from './rewind-room.ts';
import { endPrograms } from './processes.ts';
import { closeSource, connectSource } from './source-connection.ts';
import { writeStandbySignal } from './upstream.ts';

/** It cannot be rewound as it was stopped; nothing was changed. Only a start and a clean stop, or a clone, will do. */
export class UncleanStandbyError extends Error {
  override readonly name = 'UncleanStandbyError';
}

/**
 * Rewinds the stopped node to the source, which is a primary. Afterwards standby.signal is there and the old member file is gone; settings and
 * pg_hba.conf are the caller's to write before the first start. Throws when it cannot be begun
 * (nothing of the database was changed then; {@link UncleanStandbyError} and {@link TakenPlaceError} where that will not change, {@link NoRoomError} where there is too little room) and when pg_rewind fails (then {@link isRewindInterrupted}, and only a clone will do).
 */
export async function rewindPostgres(options: {
  readonly binaries: Binaries;
  readonly user: OsUser;
  readonly dataDirectory: string;
  readonly passfileDirectory: string;
  /** The role needs the grants of {@link setUpPrimary}. */
  readonly source: Upstream;
  /** Verifies what has come out and gives it its member file. Where it throws, only a clone will do. */
  readonly finish?: () => Promise<void>;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}): Promise<{ readonly output: string }> {
  const { binaries, dataDirectory, user, source } = options;
  if (!binaries.has.pgRewind)
    throw new Error(
      `cannot rewind ${dataDirectory}: there is no pg_rewind in ${binaries.directory}; clone instead`,
    );
  if (await isRewindInterrupted(dataDirectory))
    throw new Error(`cannot rewind ${dataDirectory}: an earlier rewind was interrupted; clone instead`);
  removeStaleLockFiles({ dataDirectory, refusal: `cannot rewind ${dataDirectory}` });
  const isCrashed = await hasCrashed(dataDirectory);
  const askMs = Math.min(options.timeoutMs, SOURCE_CHECKPOINT_MS);
  const client = await connectSource(source, askMs);
  try {
    await waitForSourceCheckpoint({ ...options, client, timeoutMs: askMs });
    await checkRewindTablespaces({ client, dataDirectory });
    await checkRewindRoom({ client, dataDirectory });
  } finally {
    closeSource(client);
  }
  if (isCrashed) await removeSignals(dataDirectory);

  await removeMember(dataDirectory);
  const marker = rewindMarker(dataDirectory);
  await writeFileDurably({ path: marker, content: '', mode: 0o600, owner: user.owner });
  const passfile = passfileIn(options.passfileDirectory);
  await writeFileDurably({
    path: passfile,
    content: renderPassfile(source.user, source.password),
    mode: 0o600,
    owner: user.owner,
  });
  try {
    const result = await runProgram({
      user,
      program: join(binaries.directory, 'pg_rewind'),
      arguments: [
        targetArgument(dataDirectory),
        `--source-server=${renderConninfo({ ...upstreamKeywords(source, passfile), dbname: 'postgres' })}`,
      ],
      cwd: dataDirectory,
      timeoutMs: options.timeoutMs,
      signal: options.signal,
    });
    options.signal?.throwIfAborted();
    if (result.exitCode !== 0) {
      throw new Error(
        `pg_rewind of ${dataDirectory} from ${source.host}:${source.port} failed (${result.signal ?? `exit code ${result.exitCode}`}); ` +
          `the directory is now fit only for a clone: ${result.output.trim()}`,
      );
    }
    await writeStandbySignal(dataDirectory, user.owner);
    // What pg_rewind copied may include the source's.
    await removeMember(dataDirectory);
    await options.finish?.();
    await removeFileDurably(marker);
    return { output: result.output };
  } finally {
    await rm(passfile, { force: true });
  }
}

const passfileIn = (directory: string): string => join(directory, 'rewind.pass');
const targetArgument = (dataDirectory: string): string => `--target-pgdata=${dataDirectory}`;

/**
 * Ends a pg_rewind that an earlier process has started here and was killed: it writes by the path, and so into the clone that takes the
 * directory's place. Throws where it does not end.
 */
export function endInterruptedRewind(options: {
  readonly dataDirectory: string;
  readonly passfileDirectory: string;
}): Promise<void> {
  const passfile = passfileIn(options.passfileDirectory);
  return endPrograms({
    names: ['pg_rewind'],
    directory: options.dataDirectory,
    // A person's own does not log in by our passfile.
    isMeant: (args) =>
      args.includes(targetArgument(options.dataDirectory)) && args.some((each) => each.includes(passfile)),
    what: `rewind ${options.dataDirectory}`,
  });
}

/** False where it was stopped cleanly. A standby that was not has to be started and stopped once by the caller. */
async function hasCrashed(dataDirectory: string): Promise<boolean> {
  const control = await readControlData(dataDirectory);
  if (isStoppedCleanly(control)) return false;
  if (endedAsStandby(control)) {
    throw new UncleanStandbyError(
      `cannot rewind ${dataDirectory}: it is a standby that was not stopped cleanly; start and stop it once, or clone`,
    );
  }
  return true;
}

/** A crashed primary is brought to a clean end by pg_rewind itself, in single-user mode, which refuses standby.signal. */
async function removeSignals(dataDirectory: string): Promise<void> {
  for (const name of ['standby.signal', 'recovery.signal'])
    await rm(join(dataDirectory, name), { force: true });
  await fsyncDirectory(dataDirectory);
}

const SOURCE_CHECKPOINT_MS = 30_000;

/**
 * Before version 16 pg_rewind takes the source's timeline from its latest checkpoint, and finds nothing to do when that is older
 * than its promotion. Waits until the checkpoint is of the timeline the source writes on; the caller has it checkpoint.
 */
async function waitForSourceCheckpoint(options: {
  readonly source: Upstream;
  readonly client: pg.Client;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}): Promise<void> {
  const { source, client } = options;
  const deadlineMs = performance.now() + options.timeoutMs;
  for (;;) {
    options.signal?.throwIfAborted();
    const { rows } = await client.query<{ recovery: boolean; done: boolean }>(
      `select pg_is_in_recovery() as recovery, case when not pg_is_in_recovery() then timeline_id =
         ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint end as done from pg_control_checkpoint()`,
    );
    if (rows[0]?.recovery === true)
      throw new Error(
        `cannot rewind from ${source.host}:${source.port}: it is a standby; rewind from the primary`,
      );
    if (rows[0]?.done === true) return;
    if (performance.now() > deadlineMs) {
      throw new Error(
        `cannot rewind from ${source.host}:${source.port}: it made no checkpoint since its promotion; run CHECKPOINT there`,
      );
    }
    await delay(50, options.signal);
  }
}
