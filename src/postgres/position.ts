// How far a node's WAL reaches once it is cut off: the timeline of its last valid record and that record's end, after
// everything in its own pg_wal was replayed. Only meaningful when no walreceiver is left; nothing here cuts.
import type pg from 'pg';
import { delay } from '../base/clock.ts';
import type { Timeline } from '../base/ids.ts';
import { parseLsn, type Lsn } from '../base/lsn.ts';
import { closeReplication, connectReplication, identifySystem } from './replication-connection.ts';
import type { Session } from './session.ts';
import { whileRunning } from './while-running.ts';

export interface Position {
  readonly timeline: Timeline;
  readonly position: Lsn;
}

const POLL_MS = 3;

/**
 * Waits until replay has reached the end of the local WAL, and returns that end. Resumes paused replay; ends sessions that
 * hold replay up. Throws when the end is not reached within `timeoutMs`, with what replay is waiting for, when PostgreSQL has ended, or when
 * the node is no standby.
 */
export async function readCutPosition(options: {
  readonly session: Session;
  readonly socketDirectory: string;
  readonly port: number;
  readonly superuser: string;
  readonly isRunning: () => boolean;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}): Promise<Position> {
  const deadlineMs = performance.now() + options.timeoutMs;
  const leftMs = (): number => Math.max(1, deadlineMs - performance.now());
  // Opened meanwhile: it takes about as long as the replay of what is left.
  const connecting = connectWithRetry(options, deadlineMs);
  connecting.catch(() => undefined);
  try {
    const position = await whileRunning(options.isRunning, options.signal, (signal) =>
      waitForReplay({ ...options, deadlineMs, signal }),
    );
    const identity = await identifySystem(await connecting, leftMs());
    return { timeline: identity.timeline, position };
  } finally {
    connecting.then(closeReplication, () => undefined);
  }
}

/** Tries again while every walsender is taken: those of standbys that follow this one end soon. */
async function connectWithRetry(
  options: {
    readonly socketDirectory: string;
    readonly port: number;
    readonly superuser: string;
    readonly signal?: AbortSignal | undefined;
  },
  deadlineMs: number,
): Promise<pg.Client> {
  for (;;) {
    try {
      const target = {
        host: options.socketDirectory,
        port: options.port,
        user: options.superuser,
        applicationName: 'pg_sentinel_position',
      };
      return await connectReplication(target, Math.max(1, deadlineMs - performance.now()));
    } catch (error) {
      if ((error as { code?: string }).code !== '53300' || performance.now() >= deadlineMs) throw error;
    }
    options.signal?.throwIfAborted();
    await delay(20, options.signal);
  }
}

interface ReplayReading {
  readonly in_recovery: boolean;
  readonly receive_lsn: string | null;
  readonly replay_lsn: string | null;
  readonly paused: boolean;
  readonly wait_type: string | null;
  readonly wait_event: string | null;
}

const READING = `
  select pg_is_in_recovery() as in_recovery, pg_last_wal_receive_lsn() as receive_lsn, pg_last_wal_replay_lsn() as replay_lsn,
    case when pg_is_in_recovery() then pg_is_wal_replay_paused() else false end as paused, wait_event_type as wait_type, wait_event
  from (select 1) one left join pg_stat_activity on backend_type = 'startup'`;

/**
 * The end is reached when replay stands at what was received, or when the startup process waits for more (it looked for WAL and
 * found none) in two readings one after the other with the same position. `receive_lsn` alone will not do: it is empty
 * or stale after a restart, and lies beyond the last whole record when the stream broke within one.
 */
async function waitForReplay(options: {
  readonly session: Session;
  readonly deadlineMs: number;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}): Promise<Lsn> {
  let before: ReplayReading | undefined;
  for (;;) {
    const query = { timeoutMs: Math.max(1, options.deadlineMs - performance.now()), signal: options.signal };
    const [now] = await options.session.query<ReplayReading>(READING, [], query);
    if (now === undefined || !now.in_recovery)
      throw new Error('cannot read the position of a cut standby: this node is not in recovery');
    if (now.paused) await options.session.query('select pg_wal_replay_resume()', [], query);
    else if (isHeldUp(now)) await endHolders(options.session, query);
    else if (
      now.replay_lsn !== null &&
      isAtEnd(now) &&
      before !== undefined &&
      isAtEnd(before) &&
      before.replay_lsn === now.replay_lsn
    ) {
      return parseLsn(now.replay_lsn);
    }
    before = now.paused ? undefined : now;
    if (performance.now() >= options.deadlineMs) {
      throw new Error(
        `cannot tell how far this standby's WAL reaches: after ${options.timeoutMs} ms replay is at ${now.replay_lsn}, received is ` +
          `${now.receive_lsn}, and the startup process waits for ${now.wait_type ?? 'nothing'} ${now.wait_event ?? ''}; it may need more time to replay`,
      );
    }
    await delay(POLL_MS, options.signal);
  }
}

/**
 * Whether nothing more can come. `RecoveryWalStream` counts only with everything received being replayed: it is still shown for a
 * moment after the walreceiver flushed its last bytes and died.
 */
function isAtEnd(reading: ReplayReading): boolean {
  if (reading.wait_event === 'RecoveryRetrieveRetryInterval') return true;
  if (reading.replay_lsn === null || reading.receive_lsn === null) return false;
  if (reading.replay_lsn === reading.receive_lsn) return true;
  return (
    reading.wait_event === 'RecoveryWalStream' && parseLsn(reading.replay_lsn) > parseLsn(reading.receive_lsn)
  );
}

/** A recovery conflict: a snapshot, a tablespace, a pinned buffer or a lock (30 s each by default). */
function isHeldUp(reading: ReplayReading): boolean {
  return (
    reading.wait_type === 'Lock' ||
    reading.wait_type === 'BufferPin' ||
    (reading.wait_event?.startsWith('RecoveryConflict') ?? false)
  );
}

/** Ends every client's session that is in a transaction: which of them holds replay up is not to be seen for all kinds of conflict. */
async function endHolders(
  session: Session,
  query: { timeoutMs: number; signal: AbortSignal | undefined },
): Promise<void> {
  await session.query(
    `select pg_terminate_backend(pid) from pg_stat_activity
     where backend_type = 'client backend' and pid <> pg_backend_pid() and xact_start is not null`,
    [],
    query,
  );
}
