// The clients of the demo and the benchmark. `startWriter` follows the failover to whichever node is read-write;
// `startStubbornWriter` stays with one node whatever happens. Both have one insert in flight, use every id once, record
// every attempt, and claim nothing that they do not know.
import { delay, withDeadline } from '../src/base/clock.ts';
import type { Attempt } from './attempt.ts';
import { findReadWrite } from './connector.ts';
import { openSession, type ClientSettings, type Session, type Target } from './session.ts';

export interface WriterSettings {
  /** Part of every id, and `application_name`. */
  readonly name: string;
  readonly client: Omit<ClientSettings, 'applicationName'>;
  /** `INSERT ... ($1)`: one row with the id. */
  readonly insert: string;
  /** Client side; undefined waits for ever, as the most stubborn clients do. */
  readonly statementTimeoutMs: number | undefined;
  /** After a failure the next try begins no sooner than this after the failed one began. */
  readonly retryMs: number;
  /** Pause after an acknowledged insert. */
  readonly paceMs: number;
  readonly onAttempt?: (attempt: Attempt) => void;
}

export const CLIENT_DEFAULTS = { connectTimeoutMs: 250, statementTimeoutMs: 1000, retryMs: 10 } as const;

export interface Writer {
  readonly name: string;
  /** Every attempt so far, oldest first. */
  readonly attempts: readonly Attempt[];
  /** Resolves at the first open session; rejects when there is none within `timeoutMs`. */
  connected(timeoutMs: number): Promise<void>;
  /** Ends the attempt under way (its outcome is then unknown) and the session. */
  stop(): Promise<void>;
}

/** Inserts on the read-write node among `targets`, one after the other, until stopped. */
export function startWriter(settings: WriterSettings & { readonly targets: readonly Target[] }): Writer {
  return run(settings, (signal, client) =>
    findReadWrite({ targets: settings.targets, settings: client, retryMs: settings.retryMs, signal }),
  );
}

/** Inserts on `target` alone, standby or not; reconnects to it and to nothing else. */
export function startStubbornWriter(settings: WriterSettings & { readonly target: Target }): Writer {
  return run({ ...settings, staysOnRefusal: true }, async (signal, client) => {
    while (!signal.aborted) {
      const startMs = performance.now();
      const session = await openSession(settings.target, client, signal).catch(() => undefined);
      if (session !== undefined) return session;
      await delay(startMs + settings.retryMs - performance.now(), signal);
    }
    return undefined;
  });
}

type Connect = (signal: AbortSignal, client: ClientSettings) => Promise<Session | undefined>;

function run(settings: WriterSettings & { readonly staysOnRefusal?: boolean }, connect: Connect): Writer {
  const attempts: Attempt[] = [];
  const stopping = new AbortController();
  const { signal } = stopping;
  const client: ClientSettings = { ...settings.client, applicationName: settings.name };
  let session: Session | undefined;
  let onConnected: () => void = () => undefined;
  const firstSession = new Promise<void>((resolve) => (onConnected = resolve));

  const insertOnce = async (on: Session): Promise<void> => {
    const id = `${settings.name}:${attempts.length}`;
    const startMs = performance.now();
    const outcome = await on.insert(settings.insert, id, settings.statementTimeoutMs);
    const attempt: Attempt = {
      writer: settings.name,
      id,
      node: on.target.node,
      startMs,
      endMs: performance.now(),
      outcome: outcome.kind,
      ...(outcome.kind === 'acked' ? {} : { reason: outcome.reason }),
    };
    attempts.push(attempt);
    settings.onAttempt?.(attempt);
    if (outcome.kind === 'acked') return delay(settings.paceMs, signal);
    // A refusal on an open session: this node is no primary (any more). An outcome that is unknown: the session is suspect.
    if (outcome.kind === 'unknown' || settings.staysOnRefusal !== true) on.destroy();
    return delay(startMs + settings.retryMs - performance.now(), signal);
  };
  const loop = async (): Promise<void> => {
    while (!signal.aborted) {
      if (session?.isOpen !== true) {
        session = await connect(signal, client);
        if (session === undefined) return;
        onConnected();
        if (signal.aborted) break;
      }
      await insertOnce(session);
    }
    session?.destroy();
  };
  const done = loop();
  return {
    name: settings.name,
    attempts,
    async connected(timeoutMs) {
      await withDeadline(`a session of the writer ${settings.name}`, timeoutMs, firstSession);
    },
    async stop() {
      stopping.abort();
      session?.destroy();
      await done;
    },
  };
}
