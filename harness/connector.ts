// Finds the node that takes writes among several, as libpq's `target_session_attrs=read-write` does (node-postgres knows
// no multi-host URI). Asks all nodes side by side, keeps the sessions of standbys while it looks, and asks them again,
// so that a promotion is noticed within the retry interval and without a storm of new connections.
import { delay } from '../src/base/clock.ts';
import { openSession, type ClientSettings, type Session, type Target } from './session.ts';

export interface ConnectorOptions {
  readonly targets: readonly Target[];
  readonly settings: ClientSettings;
  /** No node is asked more often than this. */
  readonly retryMs: number;
  /** Ends the search. */
  readonly signal: AbortSignal;
}

const READ_WRITE =
  "SELECT NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off' AS writable";

/** A session on the first node that says it is read-write; undefined when the signal aborts. The caller owns it. */
export async function findReadWrite(options: ConnectorOptions): Promise<Session | undefined> {
  const search = new AbortController();
  const signal = AbortSignal.any([options.signal, search.signal]);
  let winner: Session | undefined;
  const offer = (session: Session): void => {
    if (winner === undefined && !signal.aborted) winner = session;
    else session.destroy();
    search.abort();
  };
  await Promise.all(options.targets.map((target) => askUntilWritable({ ...options, target, signal, offer })));
  return winner;
}

async function askUntilWritable(options: {
  readonly target: Target;
  readonly settings: ClientSettings;
  readonly retryMs: number;
  readonly signal: AbortSignal;
  readonly offer: (session: Session) => void;
}): Promise<void> {
  const { target, settings, signal } = options;
  let session: Session | undefined;
  // Another node may win while this one hangs: then its connection is closed under it.
  const abandon = (): void => session?.destroy();
  signal.addEventListener('abort', abandon, { once: true });
  while (!signal.aborted) {
    const startMs = performance.now();
    try {
      session ??= await openSession(target, settings, signal);
      const { rows } = await session.query(READ_WRITE, [], settings.connectTimeoutMs);
      if ((rows[0] as { writable: boolean } | undefined)?.writable === true) {
        signal.removeEventListener('abort', abandon);
        return options.offer(session);
      }
    } catch {
      session?.destroy();
      session = undefined;
    }
    await delay(startMs + options.retryMs - performance.now(), signal);
  }
  session?.destroy();
}
