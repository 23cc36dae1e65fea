// An ordinary connection to the node that a rewind or a clone comes from, as the replication user.
import pg from 'pg';
import { isWrongPassword } from './account.ts';
import type { Upstream } from './conninfo.ts';

/** Connects to database `postgres`. The caller ends it. Throws when it is refused or takes longer than `timeoutMs`, which bounds statements, too. */
export async function connectSource(source: Upstream, timeoutMs: number): Promise<pg.Client> {
  const mode = source.parameters?.['sslmode'];
  const client = new pg.Client({
    host: source.hostAddress ?? source.host,
    port: source.port,
    user: source.user,
    password: source.password,
    database: 'postgres',
    application_name: source.applicationName,
    connectionTimeoutMillis: timeoutMs,
    query_timeout: timeoutMs,
    ssl:
      source.tls ??
      (mode === 'require' || mode?.startsWith('verify') === true
        ? { rejectUnauthorized: mode !== 'require' }
        : false),
  });
  client.on('error', () => undefined);
  try {
    await client.connect();
    return client;
  } catch (error) {
    closeSource(client);
    if (isWrongPassword(error)) source.onWrongPassword?.();
    throw error;
  }
}

/**
 * {@link connectSource}, run `work` on it, and close it. Throws the signal's reason as soon as that aborts, whatever the server says: what waits for an
 * answer fails then, and what is connected later is closed.
 */
export async function withSource<T>(
  source: Upstream,
  options: { readonly timeoutMs: number; readonly signal: AbortSignal },
  work: (client: pg.Client) => Promise<T>,
): Promise<T> {
  const { timeoutMs, signal } = options;
  signal.throwIfAborted();
  const client = await unlessAborted(connectSource(source, timeoutMs), signal);
  const abort = (): void => closeSource(client);
  signal.addEventListener('abort', abort);
  try {
    return await work(client);
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    signal.removeEventListener('abort', abort);
    closeSource(client);
  }
}

function unlessAborted(connecting: Promise<pg.Client>, signal: AbortSignal): Promise<pg.Client> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason as Error);
    signal.addEventListener('abort', abort, { once: true });
    connecting
      .then((client) => {
        if (signal.aborted) closeSource(client);
        else resolve(client);
      })
      .catch(reject)
      .finally(() => signal.removeEventListener('abort', abort));
  });
}

/** Closes without waiting for the server. */
export function closeSource(client: pg.Client): void {
  void client.end().catch(() => undefined);
}
