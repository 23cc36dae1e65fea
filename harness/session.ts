// One client connection with deadlines on everything, as a careful application would hold it. After a timeout the
// connection is thrown away, never reused: the server may still be at work on it. Says of an insert only what is certain.
import { Socket } from 'node:net';
import { Client, DatabaseError, type QueryResult } from 'pg';
import { DeadlineError, withDeadline } from '../src/base/clock.ts';

export interface Target {
  /** The node's name, for people. */
  readonly node: string;
  readonly host: string;
  readonly port: number;
}

export interface ClientSettings {
  readonly user: string;
  readonly password: string;
  readonly database: string;
  readonly applicationName: string;
  readonly connectTimeoutMs: number;
}

/**
 * What a client may believe of an insert. `unknown` is never counted as acknowledged nor as lost: the server may or may
 * not have committed it, and it may or may not be replicated.
 */
export type InsertOutcome =
  | { readonly kind: 'acked' }
  | { readonly kind: 'failed'; readonly reason: string }
  | { readonly kind: 'unknown'; readonly reason: string };

/** As {@link InsertOutcome}, with what the statement returned. */
export type WriteOutcome =
  { readonly kind: 'acked'; readonly rows: readonly unknown[] } | Exclude<InsertOutcome, { kind: 'acked' }>;

export interface Session {
  readonly target: Target;
  /** False once the connection is lost or thrown away. */
  readonly isOpen: boolean;
  /** Rejects with {@link DeadlineError} after `timeoutMs`, having thrown the connection away; `undefined` waits for ever. */
  query(text: string, values: readonly unknown[], timeoutMs: number | undefined): Promise<QueryResult>;
  /** Runs one statement that writes. Never rejects. */
  write(text: string, values: readonly unknown[], timeoutMs: number | undefined): Promise<WriteOutcome>;
  /** Inserts one id by `text` ($1 is the id). Never rejects. */
  insert(text: string, id: string, timeoutMs: number | undefined): Promise<InsertOutcome>;
  /** Closes the socket at once; a query under way ends as `unknown`. */
  destroy(): void;
}

/** Opens a session; rejects when that does not succeed within `connectTimeoutMs`, and when the signal aborts. */
export async function openSession(
  target: Target,
  settings: ClientSettings,
  signal?: AbortSignal,
): Promise<Session> {
  const socket = new Socket();
  const client = new Client({
    host: target.host,
    port: target.port,
    user: settings.user,
    password: settings.password,
    database: settings.database,
    application_name: settings.applicationName,
    ssl: false,
    stream: () => socket,
  });
  let isOpen = true;
  let warning: string | undefined;
  const destroy = (): void => {
    isOpen = false;
    socket.destroy();
  };
  client.on('error', destroy);
  client.on('end', destroy);
  client.on('notice', (notice) => {
    if (notice.severity !== 'NOTICE' && notice.severity !== 'INFO') warning = notice.message ?? 'a warning';
  });
  signal?.addEventListener('abort', destroy, { once: true });
  try {
    signal?.throwIfAborted();
    await withDeadline(`connecting to ${target.node}`, settings.connectTimeoutMs, client.connect());
  } catch (error) {
    destroy();
    throw error;
  } finally {
    signal?.removeEventListener('abort', destroy);
  }
  socket.setNoDelay(true);

  const query: Session['query'] = async (text, values, timeoutMs) => {
    const work = client.query(text, [...values]);
    if (timeoutMs === undefined) return work;
    try {
      return await withDeadline(`a statement on ${target.node}`, timeoutMs, work);
    } catch (error) {
      if (error instanceof DeadlineError) {
        work.catch(() => undefined);
        destroy();
      }
      throw error;
    }
  };
  const write: Session['write'] = async (text, values, timeoutMs) => {
    warning = undefined;
    try {
      const { rows } = await query(text, values, timeoutMs);
      // "canceling wait for synchronous replication": committed here, perhaps nowhere else. A plain write warns of nothing else.
      return warning === undefined ? { kind: 'acked', rows } : { kind: 'unknown', reason: warning };
    } catch (error) {
      return outcomeOfError(error);
    }
  };
  return {
    target,
    get isOpen() {
      return isOpen;
    },
    query,
    write,
    destroy,
    insert: (text, id, timeoutMs) => write(text, [id], timeoutMs),
  };
}

/** An ERROR rolls the transaction back for certain; FATAL, a lost connection and a timeout leave it open. */
export function outcomeOfError(error: unknown): Exclude<InsertOutcome, { kind: 'acked' }> {
  const reason = error instanceof Error ? error.message : String(error);
  return error instanceof DatabaseError && error.severity === 'ERROR'
    ? { kind: 'failed', reason }
    : { kind: 'unknown', reason };
}
