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

/** Closes without waiting for the server. */
export function closeSource(client: pg.Client): void {
  void client.end().catch(() => undefined);
}
