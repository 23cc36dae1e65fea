// One local superuser session, kept open, so that an instance without a free connection slot can still be read and
// steered. Our statements run with synchronous_commit = local: a primary that waits for standbys hangs every other write.
import type { Duplex } from 'node:stream';
import pg from 'pg';
import { DeadlineError, delay, settledWithin } from '../base/clock.ts';

export const SESSION_APPLICATION_NAME = 'pg_sentinel_agent';

const SESSION_OPTIONS = [
  'synchronous_commit=local',
  'statement_timeout=0',
  'lock_timeout=0',
  'idle_session_timeout=0',
  'idle_in_transaction_session_timeout=0',
  'default_transaction_read_only=off',
  'client_min_messages=warning',
  'log_statement=none',
  'search_path=pg_catalog',
];

export interface QueryOptions {
  /** How long to wait for the session and the result together. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  /** The server keeps the plan under this name: for a statement that is run again and again, always with the same text. */
  readonly name?: string | undefined;
}

export interface Session {
  /**
   * Runs one statement, after those called before, and returns its rows. Throws PostgreSQL's error; {@link DeadlineError} when the time is over, which also closes
   * the connection (whether the statement took effect is then unknown); an error that says so when the connection is lost.
   */
  query<Row extends object = Record<string, unknown>>(
    text: string,
    values: readonly unknown[],
    options: QueryOptions,
  ): Promise<Row[]>;
  readonly connected: boolean;
  /** The pid of our backend, so that others' can be told from it. */
  readonly backendPid: number | undefined;
  close(): Promise<void>;
}

export interface Elsewhere {
  readonly socketDirectory: string;
  readonly port: number;
  readonly stream?: () => Duplex;
}

export interface SessionOptions {
  readonly socketDirectory: string;
  readonly port: number;
  readonly superuser: string;
  /**
   * Where the server that runs now is reached, if not where these options say; by `stream` where it is somebody else's. A connection to one
   * of somebody else's is given up once this no longer leads there.
   */
  readonly elsewhere?: () => Elsewhere | undefined;
  readonly database?: string;
  /** Called at once when an open connection is lost; never when {@link Session.close} was called. */
  readonly onLost?: (error: Error) => void;
  readonly onConnected?: () => void;
  /** Pause between tries to connect. */
  readonly retryMs?: number;
  readonly connectTimeoutMs?: number;
}

/** Opens a session that connects now, and again whenever it is lost, until it is closed. Never throws. */
export function openSession(options: SessionOptions): Session {
  const closing = new AbortController();
  let client: pg.Client | undefined;
  let lastError: Error = new Error('not connected yet');
  let waiting: (() => void)[] = [];
  let lost = new AbortController();
  /** It is, or is tried to be, by the stream of {@link SessionOptions.elsewhere}. */
  let isRelayed = false;
  let failedCount = 0;

  const lose = (broken: pg.Client, error: Error): void => {
    if (client !== broken) return;
    client = undefined;
    lastError = error;
    destroy(broken);
    lost.abort();
    if (!closing.signal.aborted) options.onLost?.(error);
  };

  const connectOnce = async (): Promise<void> => {
    let fresh: pg.Client | undefined;
    try {
      const elsewhere = options.elsewhere?.();
      isRelayed = elsewhere?.stream !== undefined;
      fresh = clientOf(options, elsewhere);
      const opened = fresh;
      fresh.on('error', (error) => lose(opened, error));
      fresh.on('end', () => lose(opened, new Error('PostgreSQL closed the connection')));
      await fresh.connect();
    } catch (error) {
      if (fresh !== undefined) destroy(fresh);
      failedCount += 1;
      lastError = error as Error;
      return;
    }
    failedCount = 0;
    if (closing.signal.aborted) {
      destroy(fresh);
      return;
    }
    lost = new AbortController();
    client = fresh;
    options.onConnected?.();
  };

  /** Each try of a relayed one is a process. */
  const pauseMs = (): number => {
    const retryMs = options.retryMs ?? 50;
    return isRelayed ? Math.min(RELAY_PAUSE_MS_MAX, retryMs * 2 ** Math.min(failedCount, 10)) : retryMs;
  };

  const keepConnected = async (): Promise<void> => {
    while (!closing.signal.aborted) {
      if (client === undefined) await connectOnce();
      const wake = waiting;
      waiting = [];
      if (client !== undefined) for (const resolve of wake) resolve();
      else waiting.push(...wake);
      if (client === undefined) await delay(pauseMs(), closing.signal);
      else await aborted(AbortSignal.any([closing.signal, lost.signal]));
    }
    for (const resolve of waiting) resolve();
  };
  const loop = keepConnected();
  let turn: Promise<unknown> = Promise.resolve();
  let turnCount = 0;

  const noSession = (): DeadlineError =>
    new DeadlineError(
      `no session to the local PostgreSQL on ${options.socketDirectory}: ${lastError.message}`,
    );

  const connectedClient = async (deadlineMs: number, signal: AbortSignal | undefined): Promise<pg.Client> => {
    while (client === undefined) {
      signal?.throwIfAborted();
      if (closing.signal.aborted) throw new Error('the session to the local PostgreSQL was closed');
      const leftMs = deadlineMs - performance.now();
      if (leftMs <= 0) throw noSession();
      const connected = new Promise<void>((resolve) => waiting.push(resolve));
      await settledWithin(connected, Math.min(leftMs, 50), signal);
    }
    return client;
  };

  const runNow = async <Row extends object>(
    text: string,
    values: readonly unknown[],
    deadlineMs: number,
    { name, signal }: QueryOptions,
  ): Promise<Row[]> => {
    if (client !== undefined && isRelayed && options.elsewhere?.()?.stream === undefined)
      lose(client, new Error('the server of somebody else is not to be talked to any more'));
    const used = client ?? (await connectedClient(deadlineMs, signal));
    // What was never sent takes nothing from the connection, on which another statement may be under way.
    signal?.throwIfAborted();
    const leftMs = deadlineMs - performance.now();
    if (leftMs <= 0) throw lateFor(text);
    try {
      return await runQuery<Row>(used, { name, text, values: [...values] }, leftMs, signal);
    } catch (error) {
      // PostgreSQL's own errors (they have a code of five characters) leave the connection in order, but for those of class 57P.
      const code = (error as { code?: string }).code ?? '';
      if (code.length !== 5 || code.startsWith('57P')) lose(used, error as Error);
      throw error;
    }
  };

  return {
    get connected() {
      return client !== undefined;
    },
    get backendPid() {
      return (client as (pg.Client & { processID?: number }) | undefined)?.processID ?? undefined;
    },
    async query<Row extends object>(
      text: string,
      values: readonly unknown[],
      queryOptions: QueryOptions,
    ): Promise<Row[]> {
      const deadlineMs = performance.now() + queryOptions.timeoutMs;
      const before = turn;
      let done: () => void = () => undefined;
      turn = new Promise<void>((resolve) => (done = resolve));
      turnCount += 1;
      let isItsTurn = turnCount === 1;
      try {
        // One statement at a time; one that is late gives up its turn. Not told by the clock: timers may end before it says so, and what
        // is sent behind another statement and given up takes the connection from that one.
        if (!isItsTurn) {
          before.then(
            () => (isItsTurn = true),
            () => undefined,
          );
          await settledWithin(before, queryOptions.timeoutMs, queryOptions.signal);
          queryOptions.signal?.throwIfAborted();
          if (!isItsTurn) throw client === undefined ? noSession() : lateFor(text);
        }
        return await runNow<Row>(text, values, deadlineMs, queryOptions);
      } finally {
        turnCount -= 1;
        before.then(done, done);
      }
    },
    async close() {
      closing.abort();
      await loop;
      const last = client;
      client = undefined;
      if (last !== undefined) destroy(last);
    },
  };
}

const RELAY_PAUSE_MS_MAX = 2000;

/** Throws where the stream cannot be made. */
function clientOf(options: SessionOptions, elsewhere: Elsewhere | undefined): pg.Client {
  const { socketDirectory: host, port } = elsewhere ?? options;
  return new pg.Client({
    host,
    port,
    ...(elsewhere?.stream === undefined ? {} : { stream: elsewhere.stream }),
    user: options.superuser,
    database: options.database ?? 'postgres',
    application_name: SESSION_APPLICATION_NAME,
    options: SESSION_OPTIONS.map((setting) => `-c ${setting}`).join(' '),
    connectionTimeoutMillis: options.connectTimeoutMs ?? 2000,
    ssl: false,
  });
}

const lateFor = (text: string): DeadlineError =>
  new DeadlineError(`${text.slice(0, 80)}: an earlier statement took all the time there was`);

async function runQuery<Row extends object>(
  client: pg.Client,
  statement: { readonly name: string | undefined; readonly text: string; readonly values: unknown[] },
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<Row[]> {
  let timer: NodeJS.Timeout | undefined;
  let abort: (() => void) | undefined;
  try {
    const { name, text, values } = statement;
    const result = client.query<Row>(name === undefined ? { text, values } : { name, text, values });
    result.catch(() => undefined);
    return await Promise.race([
      result.then((present) => present.rows),
      new Promise<never>((_, reject) => {
        timer = setTimeout(
          () =>
            reject(new DeadlineError(`${text.slice(0, 80)}: no result within ${Math.round(timeoutMs)} ms`)),
          timeoutMs,
        );
        abort = (): void => reject(signal?.reason instanceof Error ? signal.reason : new Error('aborted'));
        signal?.addEventListener('abort', abort, { once: true });
      }),
    ]);
  } finally {
    clearTimeout(timer);
    if (abort !== undefined) signal?.removeEventListener('abort', abort);
  }
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });

/** Closes without waiting for the server, which may be frozen. */
function destroy(client: pg.Client): void {
  client.on('error', () => undefined);
  void client.end().catch(() => undefined);
  (client as unknown as { connection?: { stream?: { destroy(): void } } }).connection?.stream?.destroy();
}
