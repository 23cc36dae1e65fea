// Promotion to an assigned timeline: by the `promote` file and SIGUSR1, as pg_ctl does it, which needs no free connection slot and waits
// for nothing; or by somebody else's command. What came of it is read from the server, whoever promoted it. Decides nothing: the caller
// holds the committed Promote, and has cut this node off before.
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { delay, settledWithin } from '../base/clock.ts';
import { timeline, type Timeline } from '../base/ids.ts';
import type { Lsn } from '../base/lsn.ts';
import { writeNewFile } from './durable-files.ts';
import type { OsUser } from './os-user.ts';
import { findPostmaster, signalProcess } from './processes.ts';
import type { QueryOptions, Session } from './session.ts';
import { placeFillers, readHistory } from './timelines.ts';
import { whileRunning } from './while-running.ts';

export interface Promotion {
  readonly timeline: Timeline;
  /** Where the new timeline leaves the old one. */
  readonly switchLsn: Lsn;
  /** The timeline it left. */
  readonly parent: Timeline;
  readonly tookMs: number;
}

const POLL_MS = 3;
/** A disk that hangs does not keep the caller from stopping the server. */
const TAKE_BACK_MS = 2000;
/** What is asked as the time runs out has so long for its answer: that it was not given in a millisecond says nothing. */
const ANSWER_MS_MIN = 500;

/**
 * Promotes a running standby from timeline `current` to `assigned` and returns once it takes writes (which, with the placeholder in
 * `synchronous_standby_names`, nobody gets acknowledged yet). A node that already runs as primary on `assigned` is success.
 * Throws when another timeline was opened (an invariant is broken: stop it), when it is still in recovery after
 * `timeoutMs` (the promote file is taken back; it may still have been seen), or when it does not run.
 */
export async function promotePostgres(options: PromoteOptions): Promise<Promotion> {
  const isRunning = (): boolean => findPostmaster(options.dataDirectory) !== undefined;
  return whileRunning(isRunning, options.signal, (signal) => promote({ ...options, signal }));
}

interface PromoteOptions {
  readonly dataDirectory: string;
  readonly user: OsUser;
  readonly session: Session;
  readonly current: Timeline;
  readonly assigned: Timeline;
  readonly timeoutMs: number;
  /** It has come to its recovery target, and waits there to be promoted. */
  readonly isAtTarget?: boolean;
  /**
   * Has the server promoted in place of the promote file, and throws where that failed; what it leaves undone is waited for, within the time that
   * is left. Not run where the server is out of recovery already.
   */
  readonly byCommand?: ((signal: AbortSignal) => Promise<void>) | undefined;
  readonly signal?: AbortSignal | undefined;
}

async function promote(options: PromoteOptions & { readonly signal: AbortSignal }): Promise<Promotion> {
  const { dataDirectory, session, current, assigned } = options;
  const startedMs = performance.now();
  const query = (): QueryOptions => ({
    timeoutMs: Math.max(ANSWER_MS_MIN, options.timeoutMs - (performance.now() - startedMs)),
    signal: options.signal,
  });
  const isInRecovery = async (): Promise<boolean> => {
    const [row] = await session.query<{ value: boolean }>('select pg_is_in_recovery() as value', [], query());
    return row?.value !== false;
  };
  const trigger = join(dataDirectory, 'promote');
  if (await isInRecovery()) {
    // Where it waits at its recovery target, resuming would end the recovery before the timeline is assigned.
    if (options.isAtTarget !== true) await resumeReplay(session, query());
    await placeFillers({ dataDirectory, current, assigned, owner: options.user.owner });
    const postmaster = findPostmaster(dataDirectory);
    if (postmaster === undefined)
      throw new Error(
        `cannot promote ${dataDirectory}: PostgreSQL does not run; start it as a standby first`,
      );
    options.signal.throwIfAborted();
    try {
      if (options.byCommand === undefined) {
        await placeTrigger(trigger, options.user);
        signalProcess(postmaster.pid, 'SIGUSR1');
      } else await options.byCommand(options.signal);
      while (await isInRecovery()) {
        options.signal.throwIfAborted();
        if (performance.now() - startedMs >= options.timeoutMs)
          throw new Error(
            `promotion of ${dataDirectory} to timeline ${assigned}: still in recovery after ${options.timeoutMs} ms; stop it before promoting another`,
          );
        await delay(POLL_MS, options.signal);
      }
    } catch (error) {
      // Also one that pg_ctl has made for a command that was ended: whoever signals the postmaster later would have it promoted.
      await settledWithin(rm(trigger, { force: true }), TAKE_BACK_MS);
      throw error;
    }
  }
  const opened = await openedTimeline(session, query());
  if (opened !== assigned) {
    throw new Error(
      `promotion of ${dataDirectory} opened timeline ${opened} instead of ${assigned}; stop it, it must not take writes`,
    );
  }
  const last = (await readHistory(dataDirectory, assigned))?.at(-1);
  if (last === undefined)
    throw new Error(
      `promotion of ${dataDirectory} to timeline ${assigned} left no history file; stop it, its WAL is damaged`,
    );
  return {
    timeline: opened,
    switchLsn: last.switchLsn,
    parent: last.timeline,
    tookMs: performance.now() - startedMs,
  };
}

/** The postmaster looks for it whenever any of its processes signals it, and takes it away: it is whole from its first moment on. */
async function placeTrigger(trigger: string, user: OsUser): Promise<void> {
  const whole = `${trigger}.pg_sentinel`;
  await writeNewFile({ path: whole, content: '', mode: 0o600, owner: user.owner, sync: false });
  await rename(whole, trigger);
}

/** Paused replay holds the promotion up. An earlier promotion that is on its way makes PostgreSQL refuse (55000): nothing to do then. */
async function resumeReplay(session: Session, query: QueryOptions): Promise<void> {
  try {
    await session.query('select pg_wal_replay_resume() where pg_is_wal_replay_paused()', [], query);
  } catch (error) {
    if ((error as { code?: string }).code !== '55000') throw error;
  }
}

/** The timeline a primary writes on. pg_control_checkpoint() still shows the old one right after a promotion (DESIGN §8). */
async function openedTimeline(session: Session, query: QueryOptions): Promise<Timeline> {
  const text = `select ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint::text as value`;
  const [row] = await session.query<{ value: string }>(text, [], query);
  return timeline(Number(row?.value));
}
