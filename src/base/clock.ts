// Time is passed in. Monotonic time for durations and deadlines, wall time only for people.

export interface Clock {
  /** Milliseconds from an arbitrary start; never goes back; stands still while the process is stopped only if the host does. */
  monotonicMs(): number;
  /** Milliseconds since 1970-01-01 UTC; may jump. For display only. */
  wallMs(): number;
}

export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
};

/** Waits `ms` milliseconds or until `signal` aborts; resolves in both cases. */
export function delay(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) {
      resolve();
      return;
    }
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, Math.max(0, ms));
    signal?.addEventListener('abort', done, { once: true });
  });
}

/** Waits until `work` settles (whatever its outcome), `ms` have passed or `signal` aborts; leaves no timer or listener behind. */
export async function settledWithin(work: Promise<unknown>, ms: number, signal?: AbortSignal): Promise<void> {
  const over = new AbortController();
  const end = (): void => over.abort();
  signal?.addEventListener('abort', end, { once: true });
  work.then(end, end);
  if (signal?.aborted === true) end();
  await delay(ms, over.signal);
  signal?.removeEventListener('abort', end);
}

/** Thrown by {@link withDeadline} and {@link until}: says what was waited for and how long. */
export class DeadlineError extends Error {
  override readonly name = 'DeadlineError';
}

/** The result of `work`, or {@link DeadlineError} after `timeoutMs`. `work` is not cancelled: give it an AbortSignal of its own. */
export async function withDeadline<T>(what: string, timeoutMs: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  try {
    return await Promise.race([
      work,
      new Promise<never>((_, reject) => {
        timer = setTimeout(
          () => reject(new DeadlineError(`${what}: no result within ${timeoutMs} ms`)),
          timeoutMs,
        );
      }),
    ]);
  } finally {
    clearTimeout(timer);
  }
}

/** The result of `work`, or the signal's reason as soon as it aborts. `work` goes on: it must have a deadline of its own, and do no harm later. */
export async function unlessAborted<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  let end = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    end = () => reject(signal.reason as Error);
    if (signal.aborted) end();
    else signal.addEventListener('abort', end, { once: true });
  });
  // Whichever comes second is of no interest.
  work.catch(() => undefined);
  try {
    return await Promise.race([aborted, work]);
  } finally {
    signal.removeEventListener('abort', end);
  }
}

/**
 * Calls `condition` every `everyMs` until it returns something other than `undefined` or `false`, and returns that.
 * Throws {@link DeadlineError} after `timeoutMs`, and the signal's reason when it aborts.
 */
export async function until<T>(
  options: {
    readonly what: string;
    readonly timeoutMs: number;
    readonly everyMs: number;
    readonly signal?: AbortSignal | undefined;
  },
  condition: () => T | undefined | false | Promise<T | undefined | false>,
): Promise<T> {
  const deadline = performance.now() + options.timeoutMs;
  for (;;) {
    options.signal?.throwIfAborted();
    const value = await condition();
    if (value !== undefined && value !== false) return value;
    if (performance.now() >= deadline)
      throw new DeadlineError(`${options.what}: not so within ${options.timeoutMs} ms`);
    await delay(options.everyMs, options.signal);
  }
}
