// The superuser of a host's PostgreSQL, through its private socket, which no rule of clients shuts out.
import { Client } from 'pg';
import { SUPERUSER } from './cluster-config.ts';
import type { Host } from './host.ts';

const CONNECT_TIMEOUT_MS = 10_000;

export interface SuperuserOptions {
  /** How long an answer may take; left out: without end. */
  readonly queryTimeoutMs?: number | undefined;
  /** Commits wait for nobody. */
  readonly isLocal?: boolean;
}

/** A session that the caller ends; one that breaks says so with its next query. Rejects where none comes within 10 s. */
export async function connectSuperuser(
  { socketDirectory, target }: Pick<Host, 'socketDirectory' | 'target'>,
  { queryTimeoutMs, isLocal = false }: SuperuserOptions = {},
): Promise<Client> {
  const client = new Client({
    host: socketDirectory,
    port: target.port,
    user: SUPERUSER,
    database: 'postgres',
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    query_timeout: queryTimeoutMs,
    ...(isLocal ? { options: '-c synchronous_commit=local' } : {}),
  });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

/** One session, which is ended whatever comes of `work`. */
export async function asSuperuser<T>(
  host: Pick<Host, 'socketDirectory' | 'target'>,
  work: (client: Client) => Promise<T>,
  options?: SuperuserOptions,
): Promise<T> {
  const client = await connectSuperuser(host, options);
  try {
    return await work(client);
  } finally {
    await client.end().catch(() => undefined);
  }
}

const STATEMENT_TIMEOUT_MS = 60_000;

/** The rows of the last of the statements, all of one session; each may take a minute. */
export const sql = (
  host: Pick<Host, 'socketDirectory' | 'target'>,
  ...statements: readonly string[]
): Promise<Record<string, unknown>[]> =>
  asSuperuser(
    host,
    async (client) => {
      let rows: Record<string, unknown>[] = [];
      for (const statement of statements)
        rows = (await client.query<Record<string, unknown>>(statement)).rows;
      return rows;
    },
    { queryTimeoutMs: STATEMENT_TIMEOUT_MS },
  );
