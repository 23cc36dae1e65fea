// One client of the workload: one operation at a time, on a session of its own; every operation is recorded. After anything but an
// acknowledgement it looks for a session anew. Claims nothing that it does not know.
import { delay } from '../../../src/base/clock.ts';
import { findReadWrite } from '../../../harness/connector.ts';
import { openSession, type ClientSettings, type Session, type Target } from '../../../harness/session.ts';
import type { Operation, RegisterStep } from '../checker/operation.ts';

/** What to do next, and how to read the answer. */
export interface Statement {
  readonly text: string;
  /** Beside the id, which is $1. */
  readonly values: readonly string[];
  /** `row` is what the statement returned where it was acknowledged. */
  readonly register?: (row: Record<string, unknown> | undefined) => RegisterStep;
}

export interface ClientOptions {
  /** Part of every id. */
  readonly name: string;
  readonly settings: Omit<ClientSettings, 'applicationName'>;
  /** Asked before each session: follows the failover among several; stays with a single one whatever happens. */
  readonly targets: () => readonly [Target, ...Target[]];
  readonly next: () => Statement;
  /** Undefined waits for ever, as the most stubborn clients do. */
  readonly statementTimeoutMs: number | undefined;
  readonly retryMs: number;
  readonly paceMs: number;
}

export interface WorkloadClient {
  readonly operations: readonly Operation[];
  /** Ends the operation under way, its outcome then unknown. */
  stop(): Promise<void>;
}

export function startClient(options: ClientOptions): WorkloadClient {
  const operations: Operation[] = [];
  const stopping = new AbortController();
  const { signal } = stopping;
  let session: Session | undefined;

  const perform = async (on: Session): Promise<void> => {
    const { text, values, register } = options.next();
    const id = `${options.name}:${operations.length}`;
    const startMs = performance.now();
    const outcome = await on.write(text, [id, ...values], options.statementTimeoutMs);
    const row = outcome.kind === 'acked' ? (outcome.rows[0] as Record<string, unknown>) : undefined;
    operations.push({
      writer: options.name,
      id,
      node: on.target.node,
      startMs,
      endMs: performance.now(),
      outcome: outcome.kind,
      ...(outcome.kind === 'acked' ? { timeline: timelineOf(row) } : { reason: outcome.reason }),
      ...(register && { register: register(row) }),
    });
    if (outcome.kind === 'acked') return delay(options.paceMs, signal);
    on.destroy();
    return delay(startMs + options.retryMs - performance.now(), signal);
  };
  const loop = async (): Promise<void> => {
    while (!signal.aborted) {
      if (session?.isOpen !== true) session = await connect(options, signal);
      if (session === undefined || signal.aborted) break;
      await perform(session);
    }
    session?.destroy();
  };
  const done = loop();
  return {
    operations,
    async stop() {
      stopping.abort();
      session?.destroy();
      await done;
    },
  };
}

async function connect(options: ClientOptions, signal: AbortSignal): Promise<Session | undefined> {
  const settings = { ...options.settings, applicationName: options.name };
  const { retryMs } = options;
  const targets = options.targets();
  if (targets.length > 1) return findReadWrite({ targets, settings, retryMs, signal });
  while (!signal.aborted) {
    const startMs = performance.now();
    const session = await openSession(targets[0], settings, signal).catch(() => undefined);
    if (session !== undefined) return session;
    await delay(startMs + retryMs - performance.now(), signal);
  }
  return undefined;
}

/** From the name of the WAL file that was written to: its first eight digits. */
function timelineOf(row: Record<string, unknown> | undefined): number {
  const timeline = Number.parseInt(String(row?.['wal']).slice(0, 8), 16);
  if (!Number.isSafeInteger(timeline)) throw new Error(`"${String(row?.['wal'])}" names no file of WAL`);
  return timeline;
}
