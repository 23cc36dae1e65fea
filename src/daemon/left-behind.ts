// What a peer does when it meets one of a later incarnation: the cluster was recovered without it, and others may have been
// promoted. Its PostgreSQL is stopped, whatever it was, and stays so; the process stays up to say why.
import { delay } from '../base/clock.ts';
import { findPostmaster } from '../postgres/processes.ts';
import { stopPostgres } from '../postgres/lifecycle.ts';

const IMMEDIATE_MS = 2000;
const KILL_MS = 10_000;
const LOOK_EVERY_MS = 1000;

/** Stops the instance, again when somebody starts it, until the signal aborts. Never rejects. */
export async function keepStopped(options: {
  readonly dataDirectory: string;
  readonly signal: AbortSignal;
  readonly log: (level: 'warn' | 'error', message: string) => void;
}): Promise<void> {
  const { dataDirectory, signal, log } = options;
  while (!signal.aborted) {
    if (findPostmaster(dataDirectory) !== undefined) {
      try {
        await stopPostgres({ dataDirectory, fastMs: 0, immediateMs: IMMEDIATE_MS, killMs: KILL_MS, signal });
        log('warn', 'PostgreSQL is stopped: the cluster was recovered without this peer');
      } catch (error) {
        if (!signal.aborted) log('error', `cannot stop PostgreSQL: ${(error as Error).message}`);
      }
    }
    await delay(LOOK_EVERY_MS, signal);
  }
}
