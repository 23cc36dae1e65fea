// A short superuser connection of its own, for what must not hold up the agent's one session, or must come after a reload.
import pg from 'pg';
import type { AgentContext } from './context.ts';
import { socketOf } from './foreign.ts';

const CONNECT_TIMEOUT_MS = 2000;

/** Connects through the private socket, or that of a server of somebody else's. The caller closes it. Throws when it is refused or takes too long. */
export async function connectFresh(
  context: AgentContext,
  options: {
    readonly name: string;
    readonly queryTimeoutMs: number;
    /** Left out: `postgres`. */
    readonly database?: string;
  },
): Promise<pg.Client> {
  const { instance } = context;
  const { superuser, user } = instance.options;
  const elsewhere = instance.isForeign() ? socketOf(instance.postmaster(), user) : undefined;
  const { socketDirectory, port, stream } = { ...instance.options, ...elsewhere };
  const client = new pg.Client({
    host: socketDirectory,
    port,
    ...(stream === undefined ? {} : { stream }),
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
