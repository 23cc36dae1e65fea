// The agent's part of keeping a primary guarded: a guard runs before PostgreSQL does so as primary, knows the rule of the log, and,
// where that is leased, gets a lease that the log has granted. Renews on its own, beside the passes, which may take long.
import type { SyncRule } from '../cluster/commands.ts';
import { type FenceToken, compareFences } from '../cluster/fence.ts';
import type { GroupState } from '../cluster/state.ts';
import type { Duty } from '../failover/duties.ts';
import { type Lease, leaseTrouble, lengthOf, marginOf } from '../guard/authority.ts';
import { readMoment } from '../guard/boot-clock.ts';
import { type GuardKeeper, type GuardKeeperOptions, openGuardKeeper } from '../guard/keeper.ts';
import type { GuardState } from '../guard/wire.ts';
import type { AgentContext } from './context.ts';
import type { InstanceOptions } from './instance-options.ts';

/** The duties under which PostgreSQL may be a primary: also the one to hand over, until it has stopped. */
export type GuardedDuty = Extract<Duty, { readonly kind: 'create' | 'primary' | 'promote' | 'hand-over' }>;

export interface GuardSettings extends Omit<GuardKeeperOptions, 'log' | 'onChange'> {
  readonly proofTimeoutMs: number;
  readonly watchdog: string | undefined;
}

export interface Guarding {
  /**
   * Has PostgreSQL guarded for `duty`; false where that needs a lease that is not to be had now. `started`: a guard is on its way
   * that nothing keeps from coming, for a promotion that clients wait for; `watching`: it is there. Throws when there is none.
   */
  prepare(
    duty: GuardedDuty,
    options: {
      readonly until: 'started' | 'watching';
      /** Clients wait: one that need not be there at once (its rule is the fence) does not take their time. */
      readonly isUrgent?: boolean;
      readonly signal: AbortSignal;
    },
  ): Promise<boolean>;
  /** The data directory that the last guard was told of; undefined where none is wanted since. */
  place(): Promise<string | undefined>;
  /** A primary goes on in the data directory of an earlier configuration: its guard is to hear of leases, and of nothing else. */
  attach(): Promise<void>;
  /** What runs here, if anything, is no primary. */
  dismiss(): Promise<void>;
  /** False once {@link dismiss} is done: there is no guard to be dismissed. */
  readonly isOn: boolean;
  state(): GuardState | undefined;
  /** True where no guard has answered for long, although one is wanted and was started again and again. */
  isUnwatched(): boolean;
  /** For people; undefined while the guard is only just being started. */
  isGuarded(): boolean | undefined;
  /** True where the lease that it goes by was had and is about to end, and no guard answers that would see to that. */
  isForsaken(duty: GuardedDuty): boolean;
  /** For people; undefined while all is well. */
  message(isRunning: boolean): string | undefined;
  close(): void;
}

/** A busy host takes its time to start a process. */
const UP_TIMEOUT_MS = 10_000;
/** A guard's start takes 100 ms of a processor, and without lease it has half a minute. */
const GIVE_WAY_MS = 1000;
/** Of the lease: how often it is renewed. */
const RENEW_SHARE = 0.2;
/** Of the proof's time limit: how long proof may be missing before the log is asked instead. */
const ASK_LOG_SHARE = 1 / 3;
/** A duty may become a leased one between two renewals. */
const LOOK_AGAIN_MS = 1000;

export function createGuarding(options: {
  readonly guard: GuardSettings;
  readonly isProtected: boolean;
  readonly instance: Pick<
    InstanceOptions,
    'node' | 'dataDirectory' | 'socketDirectory' | 'port' | 'superuser'
  >;
  readonly duty: () => Duty;
  readonly group: () => GroupState | undefined;
  readonly confirms: AgentContext['confirms'];
  readonly log: AgentContext['log'];
  readonly onChange: () => void;
  readonly openKeeper?: (options: GuardKeeperOptions) => GuardKeeper;
}): Guarding {
  const { guard, log, openKeeper = openGuardKeeper } = options;
  const { proofTimeoutMs } = guard;
  let isOn = true;
  let isClosed = false;
  let held: { readonly lease: Lease; readonly token: FenceToken } | undefined;
  let renewing: Promise<boolean> | undefined;
  let timer: NodeJS.Timeout | undefined;
  let saidStop: number | undefined;
  let unwatchedSinceMs: number | undefined;

  const keeper: GuardKeeper = openKeeper({
    ...guard,
    log,
    onChange() {
      const stopped = keeper.state()?.stopped;
      if (stopped !== undefined && stopped.atWallMs !== saidStop) {
        saidStop = stopped.atWallMs;
        log('warn', `PostgreSQL was stopped by its guard: ${stopped.reason}`, { how: stopped.how });
      }
      options.onChange();
    },
  });

  /** Of a guard that watches over this data directory: one that an earlier configuration had may still look at another. */
  const stateHere = (): GuardState | undefined => {
    const { dataDirectory } = options.instance;
    const state = keeper.state();
    return (state?.dataDirectory ?? dataDirectory) === dataDirectory ? state : undefined;
  };

  const leaseMs = (): number | undefined => options.group()?.settings.leaseMs;
  /** A lease that stood in for proof may be longer than one that a leader waits for before it promotes another. */
  const isRunning = (lease: Lease): boolean =>
    lengthOf(lease) <= (leaseMs() ?? 0) && leaseTrouble(lease, readMoment(), marginOf(lease)) === undefined;
  const isHeld = (token: FenceToken): boolean =>
    held !== undefined && compareFences(held.token, token) === 0 && isRunning(held.lease);

  /** Asks the log, through its leader, whether this node still is what `duty` says; what counts is when it was asked. */
  const obtain = async (duty: GuardedDuty): Promise<boolean> => {
    const sent = readMoment();
    if (!(await options.confirms(duty.kind, duty))) return false;
    // The duty may have become a leased one meanwhile.
    const present = options.duty();
    const ms = isLeased(duty) || (isGuarded(present) && isLeased(present)) ? leaseMs() : proofTimeoutMs;
    if (ms === undefined || isClosed) return false;
    const lease = { sent, untilBootMs: sent.bootMs + ms };
    held = { lease, token: { incarnation: duty.incarnation, epoch: duty.epoch } };
    await keeper.renew(lease);
    return true;
  };
  const obtainLease = (duty: GuardedDuty): Promise<boolean> => {
    renewing ??= obtain(duty).finally(() => (renewing = undefined));
    return renewing;
  };

  const renew = async (): Promise<void> => {
    const duty = options.duty();
    if (!isOn || !isGuarded(duty)) return;
    if (isLeased(duty)) await obtainLease(duty);
    // With a rule a lease stands in for proof: strict durability keeps a primary whose standbys are gone, but writes wait.
    // Also where it goes on in the data directory of an earlier configuration.
    else if ((keeper.state()?.unprovenMs ?? 0) > proofTimeoutMs * ASK_LOG_SHARE) await obtain(duty);
  };
  const schedule = (): void => {
    if (isClosed) return;
    const duty = options.duty();
    const isByLease = isGuarded(duty) && isLeased(duty);
    const everyMs = ((isByLease ? leaseMs() : undefined) ?? proofTimeoutMs) * RENEW_SHARE;
    timer = setTimeout(
      () => {
        renew()
          .catch((error: unknown) => log('warn', `no lease: ${(error as Error).message}`))
          .finally(schedule)
          .catch(() => undefined);
      },
      Math.min(everyMs, LOOK_AGAIN_MS),
    );
    timer.unref();
  };
  schedule();

  const isUnwatched = (): boolean =>
    stateHere() === undefined &&
    unwatchedSinceMs !== undefined &&
    performance.now() - unwatchedSinceMs > UP_TIMEOUT_MS;

  return {
    async prepare(duty, { until, isUrgent, signal }) {
      if (!options.isProtected) return true;
      isOn = true;
      if (isLeased(duty) && !isHeld(duty) && !((await obtainLease(duty)) && isHeld(duty))) return false;
      const { node, dataDirectory, socketDirectory, port, superuser } = options.instance;
      if (stateHere() !== undefined) unwatchedSinceMs = undefined;
      else unwatchedSinceMs ??= performance.now();
      await keeper.keep(
        {
          node,
          dataDirectory,
          socketDirectory,
          port,
          superuser,
          proofTimeoutMs,
          watchdog: guard.watchdog,
          rules: rulesOf(duty).map(({ members, acks }) => ({ members, acks })),
          isLeased: isLeased(duty),
        },
        {
          until,
          startAfterMs:
            isUrgent === true && !isLeased(duty) && guard.watchdog === undefined ? GIVE_WAY_MS : 0,
          timeoutMs: UP_TIMEOUT_MS,
          signal,
        },
      );
      return true;
    },
    place: () => keeper.place(),
    attach: () => keeper.attach(),
    async dismiss() {
      if (!isOn) return;
      held = undefined;
      unwatchedSinceMs = undefined;
      await keeper.dismiss(options.instance.dataDirectory);
      isOn = false;
    },
    get isOn() {
      return isOn;
    },
    state: () => stateHere(),
    isUnwatched,
    isGuarded: () => (stateHere() !== undefined ? true : isUnwatched() ? false : undefined),
    // Of whichever epoch the lease is: an epoch that has just begun has none yet.
    isForsaken: (duty) =>
      held !== undefined && !isRunning(held.lease) && isLeased(duty) && stateHere() === undefined,
    message(isRunning) {
      const state = stateHere();
      if (state === undefined)
        return isRunning && isUnwatched()
          ? `no guard watches over it; what the guard says is in ${guard.directory}/guard.log`
          : undefined;
      if (!isRunning)
        return state.stopped === undefined ? undefined : `stopped by its guard: ${state.stopped.reason}`;
      if (state.watchdog !== 'off' && state.watchdog !== 'open') return `watchdog: ${state.watchdog}`;
      if (state.unprovenMs < proofTimeoutMs * ASK_LOG_SHARE) return undefined;
      return `no proof that it may go on as primary for ${Math.round(state.unprovenMs)} ms: too few members take what it writes`;
    },
    close() {
      isClosed = true;
      clearTimeout(timer);
      keeper.close();
    },
  };
}

const isGuarded = (duty: Duty): duty is GuardedDuty =>
  duty.kind === 'create' || duty.kind === 'primary' || duty.kind === 'promote' || duty.kind === 'hand-over';

/** Both bind while the one is being changed to the other. */
function rulesOf(duty: GuardedDuty): readonly SyncRule[] {
  switch (duty.kind) {
    case 'create':
      return [{ members: [], acks: 0 }];
    case 'promote':
    case 'hand-over':
      return [duty.rule];
    case 'primary':
      return duty.next === undefined ? [duty.rule] : [duty.rule, duty.next.rule];
  }
}

const isLeased = (duty: GuardedDuty): boolean => rulesOf(duty).some(({ leased }) => leased === true);

/**
 * Whether PostgreSQL may be started as primary without the log's word, clients kept out, to see whether enough members still take
 * what it writes. Not where it could acknowledge without them, nor after its guard has stopped it.
 */
export function mayProveItself(context: AgentContext, duty: GuardedDuty): boolean {
  return (
    context.protections.rule &&
    context.protections.guard &&
    rulesOf(duty).every(({ acks }) => acks > 0) &&
    context.guarding.state()?.stopped === undefined
  );
}

/**
 * As {@link Guarding.prepare} for a PostgreSQL that runs already: that its guard is gone for a moment does not hold up the rest. One
 * that depends on a lease is stopped when there is nobody to end it in time, and this throws.
 */
export async function keepGuarded(
  context: Pick<AgentContext, 'guarding' | 'instance'>,
  duty: GuardedDuty,
  signal: AbortSignal,
): Promise<boolean> {
  const { guarding } = context;
  const stop = async (): Promise<never> => {
    await context.instance.stop({ fastMs: 0, signal });
    throw new Error('stopped: it depends on a lease, and no guard comes up to end it in time');
  };
  // Before the log is asked: that may take as long as the lease has left.
  if (guarding.isForsaken(duty)) return stop();
  let failure: Error | undefined;
  const isPrepared = await guarding.prepare(duty, { until: 'started', signal }).catch((error: unknown) => {
    signal.throwIfAborted();
    failure = error as Error;
    return false;
  });
  const isAlone = isLeased(duty) && guarding.state() === undefined;
  if (isAlone && (guarding.isUnwatched() || (!isPrepared && failure === undefined))) return stop();
  if (failure !== undefined) throw failure;
  return isPrepared;
}
