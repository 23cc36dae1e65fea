// Asks the primary's PostgreSQL, as the probe user, what it says of parameters, so that a wrong value is refused before it is in the log.
import pg from 'pg';
import { settledWithin } from '../base/clock.ts';
import { type Account, isWrongPassword } from '../postgres/account.ts';
import { DESCRIBE_PARAMETERS, type ParameterRow } from '../postgres/parameter-values.ts';

const TIMEOUT_MS = 2000;
const CLOSE_MS = 200;

export type DescribeParameters = (
  server: { readonly host: string; readonly port: number },
  names: readonly string[],
) => Promise<readonly ParameterRow[]>;

/** Rejects where the server cannot be asked. */
export function describeParametersAs(user: Account): DescribeParameters {
  return async ({ host, port }, names) => {
    const { password } = user;
    const client = new pg.Client({
      host,
      port,
      user: user.name,
      password,
      database: 'postgres',
      application_name: 'pg_sentinel_settings',
      connectionTimeoutMillis: TIMEOUT_MS,
      query_timeout: TIMEOUT_MS,
    });
    client.on('error', () => undefined);
    try {
      await client.connect();
      const { rows } = await client.query<ParameterRow>(DESCRIBE_PARAMETERS, [names]);
      return rows;
    } catch (error) {
      if (isWrongPassword(error)) user.rotation?.rejected(password);
      throw error;
    } finally {
      await settledWithin(
        client.end().catch(() => undefined),
        CLOSE_MS,
      );
    }
  };
}
