// What the writers write into: a role and a table of ids without a unique index, so that a duplicate would show. Made on the
// primary through its private socket.
import { randomBytes } from 'node:crypto';
import type { Client } from 'pg';
import type { Host } from './host.ts';
import { CLIENT_DEFAULTS } from './writer.ts';
import type { ClientSettings } from './session.ts';
import { asSuperuser } from './superuser.ts';

export const INSERT = 'INSERT INTO public.writes (id) VALUES ($1)';

const ROLE = 'app';
const QUERIES = { queryTimeoutMs: 30_000 };

/** Makes role and table; returns how clients log in. */
export async function prepareClients(primary: Host): Promise<Omit<ClientSettings, 'applicationName'>> {
  const password = randomBytes(12).toString('hex');
  const make = async (client: Client): Promise<void> => {
    await client.query(`CREATE ROLE ${ROLE} LOGIN PASSWORD '${password}'`);
    // Stubborn writers are refused a hundred times a second: that is no news for the server's log.
    await client.query(`ALTER ROLE ${ROLE} SET log_min_messages = 'panic'`);
    await client.query(`ALTER ROLE ${ROLE} SET log_min_error_statement = 'panic'`);
    await client.query('CREATE TABLE public.writes (id text NOT NULL)');
    await client.query(`ALTER TABLE public.writes OWNER TO ${ROLE}`);
  };
  await asSuperuser(primary, make, QUERIES);
  return { user: ROLE, password, database: 'postgres', connectTimeoutMs: CLIENT_DEFAULTS.connectTimeoutMs };
}

/** Every id that is on the node now and begins with `prefix`. */
export async function readBack(primary: Host, prefix = ''): Promise<string[]> {
  const read = (client: Client) =>
    client.query<{ id: string }>('SELECT id FROM public.writes WHERE starts_with(id, $1)', [prefix]);
  return (await asSuperuser(primary, read, QUERIES)).rows.map(({ id }) => id);
}
