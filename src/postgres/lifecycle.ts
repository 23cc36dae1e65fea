// Starts, stops and watches one PostgreSQL without pg_ctl, which polls slowly: signals go to the postmaster, and its
// process, postmaster.pid and socket are watched. PostgreSQL outlives sentineld; a stop is done only when nothing is left.
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, constants, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { delay, until } from '../base/clock.ts';
import { timeline } from '../base/ids.ts';
import type { Binaries } from './binaries.ts';
import { readControlData } from './control-data.ts';
import { removeStaleLockFiles } from './lock-files.ts';
import { isRewindInterrupted } from './rewind-marker.ts';
import {
  OOM_ENVIRONMENT,
  type ProcessSettings,
  commandOfUser,
  limitedCommand,
  setOomScoreAdj,
} from './process-settings.ts';
import { cleanEnvironment, type OsUser } from './os-user.ts';
import {
  allGone,
  belongsTo,
  classifyTitle,
  findPostmaster,
  isAlive,
  isSameProcess,
  killRemaining,
  processState,
  readPostmasterFile,
  signalProcess,
  type PostmasterFile,
  type SharedMemoryId,
} from './processes.ts';
import { removeFillers } from './timelines.ts';

const POLL_MS = 10;
/** In the environment of a PostgreSQL that we have started, so that one started by somebody else can be told. */
export const STARTED_BY_US = 'PG_SENTINEL_STARTED';
const LOG_TAIL_BYTES = 4096;

/** PostgreSQL ended while it was starting, for the reason that the message gives. */
export class StartError extends Error {}

/** A postmaster that was started or found. `child` only where this process is its parent. */
export interface RunningPostgres {
  readonly pid: number;
  readonly sharedMemoryId: SharedMemoryId | undefined;
  readonly child: ChildProcess | undefined;
}

/**
 * Starts PostgreSQL as a process of its own session that outlives this one, and waits until it accepts connections
 * (`accepting`; a standby does so once consistent) or only until it holds the data directory (`holding`). One that
 * runs already is found and returned. Throws when it exits, with the last lines of its log; when the time is over or the signal aborts
 * it goes on starting, and the caller decides whether to stop it.
 */
export async function startPostgres(options: {
  readonly binaries: Pick<Binaries, 'directory'>;
  readonly user: OsUser;
  readonly dataDirectory: string;
  readonly logFile: string;
  /** Left out: as sentineld has it. */
  readonly process?: ProcessSettings | undefined;
  /** Where its settings have it make its socket. */
  readonly socketDirectory: string;
  readonly port: number;
  readonly waitFor: 'accepting' | 'holding';
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}): Promise<RunningPostgres> {
  const { dataDirectory } = options;
  options.signal?.throwIfAborted();
  let child: ChildProcess | undefined;
  let exit: string | undefined;
  if (findPostmaster(dataDirectory) === undefined) {
    if (await isRewindInterrupted(dataDirectory)) {
      throw new Error(
        `cannot start PostgreSQL in ${dataDirectory}: a rewind of it was interrupted, its files do not fit together; clone it`,
      );
    }
    removeStaleLockFiles({
      dataDirectory,
      socket: { directory: options.socketDirectory, port: options.port },
      refusal: `cannot start PostgreSQL in ${dataDirectory}`,
    });
    await removeStrayFillers(dataDirectory);
    child = spawnPostmaster(options);
    child.once('exit', (code, signal) => (exit = signal ?? `exit code ${code}`));
    child.once('error', (error) => (exit = error.message));
  }
  const logStart = sizeOf(options.logFile);
  const file = await until(
    {
      what: `start of PostgreSQL in ${dataDirectory}`,
      timeoutMs: options.timeoutMs,
      everyMs: POLL_MS,
      signal: options.signal,
    },
    async () => {
      if (exit !== undefined) {
        throw new StartError(
          `PostgreSQL in ${dataDirectory} did not start (${exit}): ${essence(logTail(options.logFile, logStart))}; its log is ${options.logFile}`,
        );
      }
      const present = findPostmaster(dataDirectory);
      if (present === undefined || (child !== undefined && present.pid !== child.pid)) {
        if (child === undefined)
          throw new Error(
            `PostgreSQL in ${dataDirectory} ended while it was starting; its log is ${options.logFile}`,
          );
        return undefined;
      }
      return isThere(present, options.waitFor);
    },
  );
  return { pid: file.pid, sharedMemoryId: file.sharedMemoryId, child };
}

/** A standby does not start with them. Where pg_control or pg_wal cannot be read, PostgreSQL itself says so best. */
async function removeStrayFillers(dataDirectory: string): Promise<void> {
  try {
    const { checkpointTimeline, minRecoveryTimeline } = await readControlData(dataDirectory);
    await removeFillers({
      dataDirectory,
      current: timeline(Math.max(checkpointTimeline, minRecoveryTimeline ?? 0)),
    });
  } catch {
    return;
  }
}

async function isThere(
  file: PostmasterFile,
  waitFor: 'accepting' | 'holding',
): Promise<PostmasterFile | undefined> {
  if (file.sharedMemoryId === undefined || file.status === undefined) return undefined;
  if (waitFor === 'holding') return file;
  return file.status === 'ready' && (await socketAccepts(file)) ? file : undefined;
}

function spawnPostmaster(options: {
  binaries: { directory: string };
  user: OsUser;
  dataDirectory: string;
  logFile: string;
  process?: ProcessSettings | undefined;
}): ChildProcess {
  const log = openSync(options.logFile, constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND, 0o600);
  try {
    // Where postgresql.conf of an adopted database names another pg_hba.conf, its rules would let in whom ours keep out.
    const hba = `hba_file=${join(options.dataDirectory, 'pg_hba.conf')}`;
    const limited = limitedCommand(
      join(options.binaries.directory, 'postgres'),
      ['-D', options.dataDirectory, '-c', hba],
      options.process?.coreLimitMb,
    );
    const command = commandOfUser(limited, options.user);
    const child = spawn(command.program, command.arguments, {
      ...command.ids,
      cwd: options.dataDirectory,
      env: {
        ...cleanEnvironment(),
        ...{ [STARTED_BY_US]: '1', ...(options.process && OOM_ENVIRONMENT) },
      },
      stdio: ['ignore', log, log],
      detached: true,
    });
    if (child.pid !== undefined && options.process !== undefined)
      setOomScoreAdj(child.pid, options.process.oomScoreAdj);
    child.unref();
    return child;
  } finally {
    closeSync(log);
  }
}

/** Whether the postmaster's socket takes connections at all. */
function socketAccepts(file: PostmasterFile): Promise<boolean> {
  if (file.socketDirectory === undefined || file.port === undefined) return Promise.resolve(true);
  const path = join(file.socketDirectory, `.s.PGSQL.${file.port}`);
  return new Promise((resolve) => {
    const socket = connect({ path });
    const finish = (accepts: boolean): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(accepts);
    };
    const timer = setTimeout(() => finish(false), 1000);
    socket.once('connect', () => finish(true));
    socket.once('error', () => finish(false));
  });
}

export interface Stopped {
  /** The harshest thing it took: `was stopped` when nothing ran, `killed` for SIGKILL. */
  readonly how: 'was stopped' | 'fast' | 'immediate' | 'killed';
  readonly tookMs: number;
}

/**
 * Stops PostgreSQL: SIGINT (fast) for `fastMs`, then SIGQUIT (immediate) for `immediateMs`, then SIGKILL to every process of the
 * instance, until all are gone and its shared memory is detached. `fastMs: 0` begins with SIGQUIT, and both 0 with SIGKILL.
 * Throws when something is still left after `killMs` (a process in uninterruptible sleep), or when the signal aborts.
 * `onlyPid`: of the one postmaster, alive or dead, that is meant with its children. Another one, which can only come when nothing of that
 * is left, is not touched.
 */
export async function stopPostgres(options: {
  readonly dataDirectory: string;
  readonly fastMs: number;
  readonly immediateMs: number;
  readonly killMs: number;
  readonly onlyPid?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}): Promise<Stopped> {
  const { dataDirectory, signal, onlyPid } = options;
  const startedMs = performance.now();
  const isAnother = (postmaster = findPostmaster(dataDirectory)): boolean =>
    onlyPid !== undefined && postmaster !== undefined && postmaster.pid !== onlyPid;
  const sharedMemoryId = readPostmasterFile(dataDirectory)?.sharedMemoryId;
  const took = (how: Stopped['how']): Stopped => ({ how, tookMs: performance.now() - startedMs });
  if (isAnother() || allGone({ dataDirectory, sharedMemoryId }).gone) return took('was stopped');

  for (const [how, name, timeoutMs] of [
    ['fast', 'SIGINT', options.fastMs],
    ['immediate', 'SIGQUIT', options.immediateMs],
  ] as const) {
    const postmaster = findPostmaster(dataDirectory);
    if (timeoutMs <= 0 || postmaster === undefined || isAnother(postmaster)) continue;
    signalProcess(postmaster.pid, name);
    if (await goneWithin({ dataDirectory, sharedMemoryId, postmasterPid: postmaster.pid, timeoutMs, signal }))
      return took(how);
  }
  const deadlineMs = performance.now() + options.killMs;
  for (;;) {
    signal?.throwIfAborted();
    if (onlyPid === undefined) killRemaining(dataDirectory);
    const left = allGone({ dataDirectory, sharedMemoryId });
    if (left.gone) return took('killed');
    if (onlyPid !== undefined) {
      // Those that were found before the look at postmaster.pid: a new one's children come after it has written that.
      if (isAnother()) return took('killed');
      const meant = left.pids.filter((pid) => pid === onlyPid || isChildOf(pid, onlyPid));
      for (const pid of meant) signalProcess(pid, 'SIGKILL');
    }
    if (performance.now() >= deadlineMs) {
      throw new Error(
        `cannot stop PostgreSQL in ${dataDirectory}: ${left.pids.length} processes (${left.pids.join(', ')}) survive SIGKILL and ` +
          `${left.attached} are attached to shared memory ${sharedMemoryId?.id}; take the host away from its clients`,
      );
    }
    await delay(POLL_MS, signal);
  }
}

/** Once that postmaster is dead: not one that is only beginning. Children have a title, soon after they were forked. */
function isChildOf(pid: number, postmasterPid: number): boolean {
  if (processState(pid)?.parent === postmasterPid) return true;
  try {
    const title = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
    return classifyTitle(title) !== 'unknown';
  } catch {
    return false;
  }
}

/** Waits for all to go. When the postmaster is gone for a while and others are not, they are hung: false. */
async function goneWithin(options: {
  readonly dataDirectory: string;
  readonly sharedMemoryId: SharedMemoryId | undefined;
  readonly postmasterPid: number;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
}): Promise<boolean> {
  const deadlineMs = performance.now() + options.timeoutMs;
  let orphansSinceMs: number | undefined;
  for (;;) {
    options.signal?.throwIfAborted();
    // The postmaster goes last: while it is there, the longer scan of all processes is not needed.
    if (!isAlive(options.postmasterPid)) {
      if (allGone(options).gone) return true;
      orphansSinceMs ??= performance.now();
      if (performance.now() - orphansSinceMs > ORPHAN_GRACE_MS) return false;
    }
    if (performance.now() >= deadlineMs) return false;
    await delay(POLL_MS, options.signal);
  }
}

const ORPHAN_GRACE_MS = 200;

/** SIGHUP: PostgreSQL reads its files again. Returns false where it does not run. It takes effect a moment later. */
export function reloadPostgres(dataDirectory: string): boolean {
  const postmaster = findPostmaster(dataDirectory);
  return postmaster !== undefined && signalProcess(postmaster.pid, 'SIGHUP');
}

const WATCH_EVERY_MS = 100;
const CALM_EVERY_MS = 500;
/** After a hint, while the postmaster may be on its way out: it shows as gone a moment after its sockets are closed. */
const ALERT_EVERY_MS = 10;
const ALERT_FOR_MS = 500;

export interface PostmasterWatch {
  /** There is a hint that it ended (a session was lost): looks now, and often for a while. */
  look(): void;
  end(): void;
}

/**
 * Calls `onExit` once, when the postmaster has ended: at once where it is our child, else within 100 ms; while `isCalm` says that
 * something else would give a hint first, within 500 ms.
 */
export function watchPostmaster(options: {
  readonly dataDirectory: string;
  readonly postgres: RunningPostgres;
  readonly isCalm?: () => boolean;
  readonly onExit: () => void;
}): PostmasterWatch {
  const { postgres } = options;
  let ended = false;
  let startTicks: number | undefined;
  let alertUntilMs = -Infinity;
  let timer: NodeJS.Timeout | undefined;
  const end = (): void => {
    ended = true;
    clearTimeout(timer);
    postgres.child?.off('exit', exit);
  };
  const exit = (): void => {
    if (ended) return;
    end();
    options.onExit();
  };
  const isThere = (): boolean => {
    if (startTicks !== undefined) return isSameProcess(postgres.pid, startTicks);
    const ticks = processState(postgres.pid)?.startTicks;
    if (!belongsTo(postgres.pid, options.dataDirectory)) return false;
    startTicks = ticks;
    return true;
  };
  const pauseMs = (): number => {
    if (performance.now() < alertUntilMs) return ALERT_EVERY_MS;
    return options.isCalm?.() === true ? CALM_EVERY_MS : WATCH_EVERY_MS;
  };
  const check = (): void => {
    clearTimeout(timer);
    if (ended) return;
    if (isThere()) timer = setTimeout(check, pauseMs()).unref();
    else exit();
  };
  timer = setTimeout(check, WATCH_EVERY_MS).unref();
  postgres.child?.once('exit', exit);
  if (!isAlive(postgres.pid)) setImmediate(exit);
  return {
    look() {
      alertUntilMs = performance.now() + ALERT_FOR_MS;
      check();
    },
    end,
  };
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/**
 * What a server's last words come to: errors and hints without times and process ids, so that the same failure gives the same text
 * again. The whole text where nothing in it is of that kind.
 */
export function essence(log: string): string {
  const found = log.split('\n').flatMap((line) => {
    const [, severity, text] = /\b(PANIC|FATAL|ERROR|HINT|LOG): {2}(.*)$/.exec(line) ?? [];
    if (severity === undefined || text === undefined) return [];
    return severity !== 'LOG' || /^(could not|cannot|invalid|unrecognized) /.test(text) ? [text] : [];
  });
  return found.length === 0 ? log : [...new Set(found)].join('; ');
}

/** The last 4 KiB that a log holds after `from`, for an error message. */
function logTail(path: string, from = 0): string {
  const size = sizeOf(path);
  const start = Math.max(from, size - LOG_TAIL_BYTES, 0);
  if (size <= start) return 'it wrote nothing to its log';
  const file = openSync(path, 'r');
  try {
    const buffer = Buffer.alloc(size - start);
    readSync(file, buffer, 0, buffer.length, start);
    return buffer.toString('utf8').trim();
  } finally {
    closeSync(file);
  }
}
