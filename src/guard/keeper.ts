// sentineld's side of the guard: finds the one that is there, starts one where there is none, replaces one of another version or one
// that does not answer, and passes terms and leases on. A guard outlives its keeper; only `dismiss` ends it.
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { DeadlineError, delay, settledWithin } from '../base/clock.ts';
import { answers } from '../postgres/answering.ts';
import { stopPostgres } from '../postgres/lifecycle.ts';
import { readMemberFile } from '../postgres/member.ts';
import { findPostmaster, isSameProcess, signalProcess } from '../postgres/processes.ts';
import type { Lease } from './authority.ts';
import { connectSeat, highestSeat, sitterOf } from './seat.ts';
import { spawnGuard } from './spawn.ts';
import { type Terms, readInstructions, removeInstructions, writeInstructions } from './terms.ts';
import {
  GUARD_PROTOCOL,
  type GuardAnswer,
  type GuardRequest,
  type GuardState,
  readLines,
  writeLine,
} from './wire.ts';

export interface GuardKeeper {
  /**
   * Has a guard watch by these terms, from now on and whatever happens to it. Resolves at once where that is so; else when a guard
   * was started that will (`started`), or when one has said that it does (`watching`; throws after `timeoutMs`).
   */
  keep(
    terms: Terms,
    options: {
      readonly until: 'started' | 'watching';
      /** Where one is started: how long it leaves the processors to what is more urgent. 0 if left out. */
      readonly startAfterMs?: number;
      readonly timeoutMs: number;
      readonly signal: AbortSignal;
    },
  ): Promise<void>;
  /** The data directory that the last guard was told of; undefined where none was told since the last {@link dismiss}. */
  place(): Promise<string | undefined>;
  /** Finds the guard that is there, so that it hears of leases before the first {@link keep}, which tells it what else to watch. */
  attach(): Promise<void>;
  /** Passes a lease on; before the first {@link keep} too, where one was found. */
  renew(lease: Lease): Promise<void>;
  /** What the guard said last; undefined where none answers. */
  state(): GuardState | undefined;
  /**
   * PostgreSQL is no primary (any more): the guard ends. Does nothing where there is none. With `dataDirectory`, where PostgreSQL is: a guard that
   * watches another one stops a primary in there first; throws where that takes too long, and the guard stays.
   */
  dismiss(dataDirectory?: string): Promise<void>;
  /** Leaves the guard alone. */
  close(): void;
}

export interface GuardKeeperOptions {
  /** Of the node's guard, private. */
  readonly directory: string;
  /** The compiled main.ts of the guard. */
  readonly program: string;
  /** A guard of another one is replaced. */
  readonly version: string;
  readonly log: (level: 'info' | 'warn' | 'error', message: string) => void;
  readonly onChange: () => void;
}

const ASK_EVERY_MS = 1000;
/** A guard that says nothing for so long is frozen: it is ended, and another begins. */
const SILENT_MS_MAX = 3000;
const LATE_MS = 1000;
/** A busy host takes its time to start one; another would find the seat taken. */
const START_MS_MAX = 5000;
const POLL_MS = 10;
/** It gives a stop four seconds, and tries again. */
const MOVE_ON_MS_MAX = 10_000;

/** Nobody watches over it: no time for anything gentle. */
const AT_ONCE = { fastMs: 0, immediateMs: 1000, killMs: 5000 } as const;

interface Link {
  readonly socket: Socket;
  readonly seat: number;
}

export function openGuardKeeper(options: GuardKeeperOptions): GuardKeeper {
  const { directory, log } = options;
  const version = `${options.version}/${GUARD_PROTOCOL}`;
  let terms: Terms | undefined;
  let lease: Lease | undefined;
  let link: Link | undefined;
  let state: GuardState | undefined;
  let heardMs = 0;
  /** When one was started that has not been heard of yet. */
  let startedMs: number | undefined;
  let startedAfterMs = 0;
  let isClosed = false;
  let isTaken = false;
  let lastId = 0;
  const waiting = new Map<number, () => void>();
  let turn: Promise<void> = Promise.resolve();

  /** One thing at a time: files and links must not be changed by two. */
  const inTurn = (work: () => Promise<void>): Promise<void> => {
    const done = turn.then(work);
    turn = done.catch(() => undefined);
    return done;
  };

  const lose = (lost: Link): void => {
    if (link !== lost) return;
    const isReplaced = state !== undefined && state.version !== version;
    link = undefined;
    state = undefined;
    isTaken = false;
    for (const resolve of waiting.values()) resolve();
    waiting.clear();
    if (isClosed || terms === undefined) return;
    if (!isReplaced) log('warn', 'the guard of PostgreSQL has ended; starting another');
    inTurn(() => establish()).catch(report);
  };

  const hear = (from: Link, answer: GuardAnswer): void => {
    if (link !== from) return;
    heardMs = performance.now();
    ({ state } = answer);
    if (answer.id === undefined) options.onChange();
    else waiting.get(answer.id)?.();
  };

  /** Resolves with whether it was answered. */
  const request = async (what: GuardRequest): Promise<boolean> => {
    const to = link;
    if (to === undefined) return false;
    lastId += 1;
    const id = lastId;
    let isAnswered = false;
    const answered = new Promise<void>((resolve) => {
      waiting.set(id, () => {
        isAnswered = link === to;
        resolve();
      });
    });
    writeLine(to.socket, { id, ...what });
    await settledWithin(answered, SILENT_MS_MAX);
    // Where this process was the frozen one, the answer is there but not read yet.
    if (!isAnswered) await settledWithin(answered, LATE_MS);
    waiting.delete(id);
    return isAnswered;
  };

  const attach = (socket: Socket, seat: number): Link => {
    const attached = { socket, seat };
    link = attached;
    startedMs = undefined;
    heardMs = performance.now();
    socket.unref();
    socket.on('close', () => lose(attached));
    readLines<GuardAnswer>(socket, (answer) => hear(attached, answer));
    return attached;
  };

  /** Connects to the guard that has the seat, if it answers; ends it where it does not. */
  const find = async (): Promise<void> => {
    if (link !== undefined) return;
    const seat = await highestSeat(directory);
    const socket = seat === 0 ? undefined : await connectSeat(directory, seat);
    if (socket === undefined) return;
    const attached = attach(socket, seat);
    if (await request({ kind: 'ask' })) return;
    await endFrozen(attached);
  };

  const endFrozen = async (frozen: Link): Promise<void> => {
    const sitter = await sitterOf(directory, frozen.seat);
    if (sitter !== undefined && isSameProcess(sitter.pid, sitter.startTicks)) {
      log('error', `the guard of PostgreSQL (process ${sitter.pid}) does not answer; it is killed`);
      signalProcess(sitter.pid, 'SIGKILL');
    }
    frozen.socket.destroy();
    lose(frozen);
  };

  const start = (afterMs: number): void => {
    const isOnItsWay = startedMs !== undefined && performance.now() - startedMs < START_MS_MAX;
    // A lease does not wait for one that gives way to a promotion; of two guards one gets the seat.
    if (isOnItsWay && !(terms?.isLeased === true && startedAfterMs > 0)) return;
    const child = spawnGuard({ ...options, version, afterMs });
    const atMs = performance.now();
    startedMs = atMs;
    startedAfterMs = afterMs;
    child.once('exit', () => {
      if (startedMs === atMs) startedMs = undefined;
    });
    log('info', `guard started, below process ${child.pid}`);
  };

  /** Brings it one step nearer to where a guard of this version has the present terms. */
  const establish = async (startAfterMs = 0): Promise<void> => {
    const wanted = terms;
    if (isClosed || wanted === undefined || isTaken) return;
    await find();
    if (link === undefined || state?.version !== version) {
      start(startAfterMs);
      return;
    }
    if (lease !== undefined && !(await request({ kind: 'lease', lease }))) return;
    if (!(await request({ kind: 'terms', terms: wanted }))) return;
    // One that has still to end a primary elsewhere watches over nothing here.
    isTaken = terms === wanted && state?.dataDirectory === wanted.dataDirectory;
    options.onChange();
  };

  /**
   * Nobody else would end a primary in the data directory of an earlier configuration. Until it is gone the instructions go on to name that: a guard
   * that begins meanwhile, in the place of a killed one, knows of no other.
   */
  const leave = async (
    before: Terms | undefined,
    next: Terms,
    { mustAnswer, signal }: { readonly mustAnswer: boolean; readonly signal?: AbortSignal },
  ): Promise<void> => {
    const { dataDirectory } = next;
    if (before !== undefined && before.dataDirectory !== dataDirectory) await find();
    const deadlineMs = performance.now() + MOVE_ON_MS_MAX;
    for (;;) {
      const watched = link === undefined ? undefined : state?.dataDirectory;
      if (state?.version !== version || watched === undefined || watched === dataDirectory) break;
      if (performance.now() > deadlineMs)
        throw new DeadlineError(
          `a primary runs in ${watched}, the data directory of an earlier configuration, and its guard cannot stop it; what it says is in ${directory}/guard.log`,
        );
      signal?.throwIfAborted();
      await request({ kind: 'terms', terms: next });
      await delay(POLL_MS);
      await find();
    }
    await endLeft(before, dataDirectory, mustAnswer);
  };

  /**
   * A guard that begins knows of no other directory than its instructions have, and one of an earlier version never looks at another: where no guard of
   * this one is there to end a primary in the directory of the instructions before, that is done here.
   */
  const endLeft = async (
    before: Terms | undefined,
    dataDirectory: string,
    mustAnswer: boolean,
  ): Promise<void> => {
    if (before === undefined || before.dataDirectory === dataDirectory) return;
    if (link !== undefined && state?.version === version) return;
    const left = before.dataDirectory;
    if (!(await answers(left))) {
      const text = `${left}, the data directory of an earlier configuration, does not answer, and a primary may run in it`;
      if (mustAnswer) throw new DeadlineError(`${text}; put that right, or put node.data_directory back`);
      log('warn', `${text}; see that nothing does when it answers again`);
      return;
    }
    const postmaster = findPostmaster(left);
    // By another name, and seen by both.
    if (postmaster === undefined || postmaster.pid === findPostmaster(dataDirectory)?.pid) return;
    if (existsSync(join(left, 'standby.signal'))) return;
    // It may be another node's place by now.
    const named = await readMemberFile(left);
    if (named !== undefined && named.node !== before.node) return;
    const { how } = await stopPostgres({ dataDirectory: left, ...AT_ONCE, onlyPid: postmaster.pid });
    log('warn', `a primary in ${left}, the data directory of an earlier configuration, ${how}`);
  };

  const report = (error: unknown): void => log('error', (error as Error).message);

  const ticking = setInterval(() => {
    if (terms === undefined && link === undefined) return;
    inTurn(async () => {
      const present = link;
      if (present !== undefined) await request({ kind: 'ask' });
      if (present !== undefined && link === present && performance.now() - heardMs > SILENT_MS_MAX)
        await endFrozen(present);
      await establish();
    }).catch(report);
  }, ASK_EVERY_MS);
  ticking.unref();

  return {
    async keep(next, { until, startAfterMs, timeoutMs, signal }) {
      const isNew = JSON.stringify(next) !== JSON.stringify(terms);
      if (!isNew && isTaken) return;
      await inTurn(async () => {
        await mkdir(directory, { recursive: true, mode: 0o700 });
        if (!isNew) return;
        const before = await readInstructions(directory);
        await leave(before?.terms, next, { mustAnswer: true, signal });
        lease ??= before?.lease;
        await writeInstructions(directory, { terms: next, lease });
        terms = next;
        isTaken = false;
      });
      const deadlineMs = performance.now() + timeoutMs;
      for (;;) {
        signal.throwIfAborted();
        await inTurn(() => establish(startAfterMs));
        if (isTaken || (until === 'started' && link === undefined)) return;
        if (performance.now() > deadlineMs)
          throw new DeadlineError(
            `the guard of PostgreSQL does not come up; what it says is in ${directory}/guard.log`,
          );
        await delay(POLL_MS, signal);
      }
    },
    place: async () => (await readInstructions(directory))?.terms.dataDirectory,
    attach: () => inTurn(find),
    async renew(next) {
      await inTurn(async () => {
        lease = next;
        await request({ kind: 'lease', lease: next });
        // For a guard that comes later; one that finds an older lease stops PostgreSQL too early, not too late.
        if (terms === undefined) return;
        await writeInstructions(directory, { terms, lease }).catch((error: unknown) =>
          log(
            'warn',
            `the lease is not written down for a guard that comes later: ${(error as Error).message}`,
          ),
        );
      });
    },
    state: () => state,
    dismiss(dataDirectory) {
      return inTurn(async () => {
        terms = undefined;
        lease = undefined;
        isTaken = false;
        // One that is on its way finds nothing to guard and ends: the next keep must not count on it.
        startedMs = undefined;
        await find();
        if (dataDirectory !== undefined) {
          const before = (await readInstructions(directory))?.terms;
          // By the log it is no primary: whoever is has what it acknowledged, and this node has to be able to follow.
          if (before !== undefined) await leave(before, { ...before, dataDirectory }, { mustAnswer: false });
        }
        await removeInstructions(directory);
        const ending = link;
        if (ending === undefined) return;
        const closed = new Promise<void>((resolve) => ending.socket.once('close', () => resolve()));
        if (await request({ kind: 'end' })) await settledWithin(closed, SILENT_MS_MAX);
        if (link === ending) await endFrozen(ending);
      });
    },
    close() {
      isClosed = true;
      clearInterval(ticking);
      link?.socket.destroy();
    },
  };
}
