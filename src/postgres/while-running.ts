// Waits that end when PostgreSQL does: a session to one that has ended never comes, and the agent has more to do.

const LOOK_EVERY_MS = 100;

/**
 * What `work` comes to, with a signal that aborts when `signal` does or once `isRunning` says no; `work` has to obey it. Throws what `work`
 * throws, then: that PostgreSQL has ended.
 */
export async function whileRunning<T>(
  isRunning: () => boolean,
  signal: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const ended = new AbortController();
  const timer = setInterval(() => {
    if (!isRunning()) ended.abort(new Error('PostgreSQL has ended meanwhile'));
  }, LOOK_EVERY_MS);
  try {
    return await work(signal === undefined ? ended.signal : AbortSignal.any([signal, ended.signal]));
  } finally {
    clearInterval(timer);
  }
}
