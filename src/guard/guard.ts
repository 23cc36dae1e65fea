// The guard: watches over one PostgreSQL and stops it when it may not be a primary any longer. It asks nobody: what sentineld said
// last, its own clock and what PostgreSQL answers are all it goes by, so that a sentineld that is frozen, killed or being upgraded changes
// nothing but the lease it does not renew. It must never start PostgreSQL, and never stop a standby.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { delay } from '../base/clock.ts';
import { stopPostgres } from '../postgres/lifecycle.ts';
import { type PostmasterFile, createPostmasterFinder } from '../postgres/processes.ts';
import {
  type ClockJump,
  NOT_MEASURED,
  type Lease,
  afterMeasurement,
  jumpBetween,
  leaseTrouble,
  marginOf,
} from './authority.ts';
import { readMoment, readWallOffsetMs } from './boot-clock.ts';
import { measure } from './measure.ts';
import { openServerSession } from './server-session.ts';
import type { Instructions, Terms } from './terms.ts';
import { openWatchdog } from './watchdog.ts';
import type { GuardState, GuardStop } from './wire.ts';

export interface Guard {
  state(): GuardState;
  setTerms(terms: Terms): void;
  setLease(lease: Lease): void;
  /** Ends the watch. `handOver`: another guard goes on, so the watchdog is left running for it. */
  close(how: 'end' | 'handOver'): void;
}

const LOOK_EVERY_MS = 500;
const LEASED_LOOK_EVERY_MS = 50;
const STOP_AGAIN_MS = 100;
const PET_EVERY_MS = 1000;
const ROUND_MS_MAX = 2000;
const ROUND_MS_MIN = 50;
const ROUND_SHARE = 0.1;
const IMMEDIATE_MS = 2000;
const KILL_MS = 2000;
const MARGIN_TO_KILL = 0.5;
const NOTHING_GENTLE = { fastMs: 0, immediateMs: 0, killMs: KILL_MS };

/** How often proof is asked for. */
const roundMsOf = (proofTimeoutMs: number): number =>
  Math.min(ROUND_MS_MAX, Math.max(ROUND_MS_MIN, proofTimeoutMs * ROUND_SHARE));

export function startGuard(options: {
  readonly version: string;
  readonly instructions: Instructions;
  readonly onStopped: () => void;
  /** It can watch no longer: the process must end, and another begin. */
  readonly onFailed: (error: unknown) => void;
  readonly log: (message: string) => void;
}): Guard {
  const { log } = options;
  let { terms, lease } = options.instructions;
  const closing = new AbortController();
  let woken = new AbortController();
  /** Which may be that of the terms before, until nothing is a primary there any more. */
  let { dataDirectory } = terms;
  let findPostmaster = createPostmasterFinder(dataDirectory);
  let watchdog = openWatchdog(terms.watchdog, log);
  let session = openServerSession(terms);
  let watchedPid: number | undefined;
  let role: GuardState['role'] = 'unknown';
  let enforced: string | undefined;
  let proving = NOT_MEASURED;
  let proven: { readonly bootMs: number; readonly postmaster: number } | undefined;
  let trouble: string | undefined;
  let stopped: GuardStop | undefined;
  let isStopping = false;
  let pettedMs = -Infinity;
  let offsetMs = readWallOffsetMs();
  let jump: ClockJump | undefined;

  const notice = (postmaster: PostmasterFile): void => {
    if (postmaster.pid === watchedPid) return;
    watchedPid = postmaster.pid;
    role = 'unknown';
    proving = NOT_MEASURED;
    stopped = undefined;
  };

  const mayBePrimary = (): boolean =>
    role === 'primary' || !existsSync(join(dataDirectory, 'standby.signal'));

  /** Why PostgreSQL must be stopped now. */
  const lostAuthority = (): string | undefined => {
    if (!terms.isLeased && proving.unprovenMs < terms.proofTimeoutMs) return undefined;
    const marginMs = terms.isLeased && lease !== undefined ? marginOf(lease) : 0;
    const reason = leaseTrouble(lease, readMoment(), marginMs, jump);
    if (terms.isLeased || reason === undefined) return reason;
    return `for ${Math.round(proving.unprovenMs)} ms too few members of its rule (${enforced}) took what it writes`;
  };

  const stop = async (reason: string, onlyPid: number): Promise<void> => {
    const startedMs = performance.now();
    const marginMs = terms.isLeased && lease !== undefined ? marginOf(lease) : Infinity;
    for (let tries = 0; ; tries += 1) {
      try {
        const { how } = await stopPostgres({
          dataDirectory,
          fastMs: 0,
          immediateMs: tries > 0 ? 0 : Math.min(IMMEDIATE_MS, marginMs * MARGIN_TO_KILL),
          killMs: KILL_MS,
          onlyPid,
        });
        const tookMs = Math.round(performance.now() - startedMs);
        const leaseLeftMs = lease === undefined ? undefined : lease.untilBootMs - readMoment().bootMs;
        stopped = { reason, how, tookMs, leaseLeftMs, atWallMs: Date.now() };
        log(`PostgreSQL stopped (${how}, ${tookMs} ms): ${reason}`);
        options.onStopped();
        return;
      } catch (error) {
        log((error as Error).message);
        await delay(STOP_AGAIN_MS);
      }
    }
  };

  /** Backends outlive a killed postmaster, and may still finish a commit. Nothing else is to be stopped here. */
  const endOrphans = async (onlyPid: number): Promise<void> => {
    for (;;) {
      try {
        const { how } = await stopPostgres({
          ...NOTHING_GENTLE,
          dataDirectory,
          onlyPid,
        });
        if (how !== 'was stopped')
          log(`the postmaster (process ${onlyPid}) has died; what it left was killed`);
        return;
      } catch (error) {
        log((error as Error).message);
        await delay(STOP_AGAIN_MS);
      }
    }
  };

  /** No look decides anything meanwhile, and the watchdog is not petted: it ends what cannot be ended from here. */
  const busyWith = (stopping: Promise<void>): void => {
    isStopping = true;
    stopping.then(() => {
      isStopping = false;
      woken.abort();
    }, options.onFailed);
  };

  /**
   * sentineld has another data directory than the one that is watched. Whoever is a primary in that one would have nobody to watch over it: it is
   * stopped first. False until that is done.
   */
  const moveOn = (): boolean => {
    const left = findPostmaster();
    if (left !== undefined) notice(left);
    // The directory may only have been given another name. Where it is mounted twice nothing is seen by the other path.
    const isHere = left !== undefined && createPostmasterFinder(terms.dataDirectory)()?.pid === left.pid;
    if (watchedPid !== undefined && !isHere && mayBePrimary()) {
      const why = `sentineld has another data directory by now, ${terms.dataDirectory}`;
      busyWith(left === undefined ? endOrphans(watchedPid) : stop(why, left.pid));
      watchedPid = undefined;
      return false;
    }
    log(`watches ${terms.dataDirectory} instead of ${dataDirectory}`);
    ({ dataDirectory } = terms);
    findPostmaster = createPostmasterFinder(dataDirectory);
    watchedPid = undefined;
    role = 'unknown';
    enforced = undefined;
    proving = NOT_MEASURED;
    proven = undefined;
    stopped = undefined;
    return true;
  };

  const look = (): void => {
    const before = offsetMs;
    offsetMs = readWallOffsetMs();
    jump = jumpBetween(before, offsetMs, readMoment(), lease) ?? jump;
    if (isStopping) return;
    if (dataDirectory !== terms.dataDirectory && !moveOn()) return;
    const postmaster = findPostmaster();
    if (postmaster === undefined) {
      const orphansOf = mayBePrimary() ? watchedPid : undefined;
      role = 'stopped';
      watchedPid = undefined;
      if (orphansOf === undefined) watchdog.close();
      else busyWith(endOrphans(orphansOf));
      return;
    }
    notice(postmaster);
    if (!mayBePrimary()) {
      watchdog.close();
      return;
    }
    const reason = lostAuthority();
    if (reason !== undefined) {
      busyWith(stop(reason, postmaster.pid));
      return;
    }
    if (performance.now() - pettedMs < PET_EVERY_MS) return;
    pettedMs = performance.now();
    watchdog.pet();
  };

  const round = async (roundMs: number): Promise<void> => {
    const { bootMs } = readMoment();
    const pid = watchedPid;
    const measured = await measure({ session, rules: terms.rules, roundMs });
    if (pid === undefined || pid !== watchedPid || isStopping) return;
    trouble = measured.kind === 'failed' ? measured.reason : undefined;
    if (measured.kind === 'failed') {
      proving = afterMeasurement(proving, 'failed', performance.now());
      return;
    }
    role = measured.kind;
    if (measured.kind === 'standby') {
      proving = NOT_MEASURED;
      return;
    }
    ({ enforced } = measured);
    if (measured.result === 'proven') proven = { bootMs, postmaster: pid };
    proving =
      measured.result === 'alone'
        ? NOT_MEASURED
        : afterMeasurement(proving, measured.result, performance.now());
  };

  const keepMeasuring = async (): Promise<void> => {
    while (!closing.signal.aborted) {
      const startedMs = performance.now();
      const roundMs = roundMsOf(terms.proofTimeoutMs);
      if (watchedPid !== undefined && !isStopping) await round(roundMs);
      await delay(Math.max(ROUND_MS_MIN, roundMs - (performance.now() - startedMs)), closing.signal);
    }
  };

  const keepLooking = async (): Promise<void> => {
    while (!closing.signal.aborted) {
      look();
      await delay(terms.isLeased ? LEASED_LOOK_EVERY_MS : LOOK_EVERY_MS, woken.signal);
      if (woken.signal.aborted) woken = new AbortController();
    }
  };

  keepLooking().catch(options.onFailed);
  keepMeasuring().catch(options.onFailed);

  return {
    state: () => ({
      version: options.version,
      pid: process.pid,
      node: terms.node,
      dataDirectory,
      role,
      enforced,
      provenBootMs: proven?.bootMs,
      provenPostmaster: proven?.postmaster,
      unprovenMs: proving.unprovenMs,
      isLeased: terms.isLeased,
      leaseUntilBootMs: lease?.untilBootMs,
      stopped,
      watchdog: watchdog.condition,
      trouble,
    }),
    setTerms(next) {
      const before = terms;
      terms = next;
      if (placeOf(next) !== placeOf(before)) {
        session.close();
        session = openServerSession(next);
      }
      if (next.watchdog !== before.watchdog) {
        watchdog.close();
        watchdog = openWatchdog(next.watchdog, log);
      }
      // Whoever told it goes by what it answers.
      if (next.dataDirectory !== before.dataDirectory) look();
      woken.abort();
    },
    setLease(next) {
      lease = next;
    },
    close(how) {
      closing.abort();
      woken.abort();
      session.close();
      if (how === 'end') watchdog.close();
      else watchdog.leave();
    },
  };
}

const placeOf = ({ dataDirectory, socketDirectory, port, superuser }: Terms): string =>
  `${dataDirectory} ${socketDirectory} ${port} ${superuser}`;
