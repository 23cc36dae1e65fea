// A short superuser connection of its own, for what must not hold up the agent's one session, or must come after a reload.
import pg from 'pg';
import type { AgentContext } from './context.ts';

const CONNECT_TIMEOUT_MS = 2000;

/** Connects through the private socket. The caller closes it. Throws when it is refused or takes too long. */
export async function connectFresh(
  context: AgentContext,
  options: {
    readonly name: string;
    readonly queryTimeoutMs: number;
    /** Left out: `postgres`. */
    readonly database?: string;
  },
): Promise<pg.Client> {
  const { socketDirectory, port, superuser } = context.instance.options;
  const client = new pg.Client({
    host: socketDirectory,
    port,
    user: superuser,
    database: options.database ?? 'postgres',
    application_name: options.name,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    query_timeout: options.queryTimeoutMs,
  });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

/** Closes without waiting for the server. */
export function closeFresh(client: pg.Client): void {
  client.end().catch(() => undefined);
}
