// The other site, as a site leader sees it: which of its servers takes writes, which database that is, and how far. Also how another node of
// this site asks its site leader the same. Reads only, but for the replication slot that the configuration names.
import { readFileSync } from 'node:fs';
import type pg from 'pg';
import { withDeadline } from '../base/clock.ts';
import type { Timeline } from '../base/ids.ts';
import type { Lsn } from '../base/lsn.ts';
import type { Account } from '../postgres/account.ts';
import type { Upstream as ConnectionSource } from '../postgres/conninfo.ts';
import { closeReplication, connectReplication, identifySystem } from '../postgres/replication-connection.ts';
import { type HistoryEntry, parseHistory } from '../postgres/timelines.ts';

export interface Place {
  readonly host: string;
  readonly port: number;
}

/** What the configuration says of the other site. */
export interface SiteSource {
  /** Its servers; whichever takes writes is followed. */
  readonly servers: readonly Place[];
  readonly account: Account;
  /** Replication slot there; undefined: none is used. */
  readonly slot: string | undefined;
  /** libpq's `sslmode` and `sslrootcert`, where they are given. */
  readonly parameters: Readonly<Record<string, string>>;
  /** What the other site sees in pg_stat_replication. */
  readonly applicationName: string;
}

/** A server that can be streamed from, as it was a moment ago. */
export interface Located extends Place {
  readonly timeline: Timeline;
  readonly systemIdentifier: string;
  readonly position: Lsn;
  /** Of its timeline; undefined where it could not be read. */
  readonly history: readonly HistoryEntry[] | undefined;
}

const ASK_TIMEOUT_MS = 5000;

/** `a:5432,b:5432`: for people, and for the log. */
export const sourceText = (servers: readonly Place[]): string =>
  servers.map(({ host, port }) => `${host.includes(':') ? `[${host}]` : host}:${port}`).join(',');

/** The libpq keywords with which a walreceiver finds the server that takes writes by itself, whenever it connects. */
export function hostsOf({ servers, parameters }: SiteSource): Record<string, string> {
  return {
    host: servers.map(({ host }) => host).join(','),
    port: servers.map(({ port }) => port).join(','),
    target_session_attrs: 'read-write',
    ...parameters,
  };
}

/** How our own connections are encrypted; node-postgres reads no libpq keywords. Throws where the certificate cannot be read. */
export function tlsOf({ sslmode, sslrootcert }: SiteSource['parameters']): pg.ClientConfig['ssl'] {
  if (sslmode === undefined || sslmode === 'disable') return false;
  return {
    rejectUnauthorized: sslmode !== 'require',
    ...(sslrootcert === undefined ? {} : { ca: readFileSync(sslrootcert, 'utf8') }),
    ...(sslmode === 'verify-ca' ? { checkServerIdentity: () => undefined } : {}),
  };
}

/** The server of the other site that takes writes. Throws what each of them said where none does. */
export async function locate(source: SiteSource): Promise<Located> {
  const tls = tlsOf(source.parameters);
  const answers = await Promise.all(
    source.servers.map((place) => look({ ...connectionTo(source, place), tls }, true)),
  );
  const found = answers.find((answer) => typeof answer !== 'string');
  if (found !== undefined && typeof found !== 'string') return found;
  const said = answers.map((answer, at) =>
    typeof answer === 'string' ? `${sourceText(source.servers.slice(at, at + 1))}: ${answer}` : '',
  );
  throw new Error(`no server of the other site takes writes (${said.join('; ')})`);
}

/** The node of this site that streams from there. Throws why it does not answer. */
export async function askLeader(leader: ConnectionSource): Promise<Located> {
  const answer = await look(leader, false);
  if (typeof answer === 'string') throw new Error(`${leader.host}:${leader.port}: ${answer}`);
  return answer;
}

/** For one connection of our own. */
export function connectionTo(
  { account, applicationName, parameters }: SiteSource,
  { host, port }: Place,
): ConnectionSource {
  const { name: user, password } = account;
  const onWrongPassword = (): void => account.rotation?.rejected(password);
  return { host, port, user, password, applicationName, parameters, onWrongPassword };
}

/** Makes the slot that the configuration names where it is missing: a server that was promoted there has none. */
export async function ensureSlot(source: SiteSource, place: Place): Promise<void> {
  const { slot } = source;
  if (slot === undefined) return;
  const target = { ...connectionTo(source, place), ssl: tlsOf(source.parameters) };
  const client = await connectReplication(target, ASK_TIMEOUT_MS);
  try {
    const command = `CREATE_REPLICATION_SLOT ${slot} PHYSICAL RESERVE_WAL`;
    await withDeadline('CREATE_REPLICATION_SLOT', ASK_TIMEOUT_MS, client.query(command));
  } catch (error) {
    if ((error as { code?: string }).code !== DUPLICATE_OBJECT)
      throw new Error(
        `replication slot ${slot} cannot be made on ${sourceText([place])}: ${(error as Error).message}`,
        { cause: error },
      );
  } finally {
    closeReplication(client);
  }
}

const DUPLICATE_OBJECT = '42710';

/** What the server is, or why it is not to be streamed from. */
async function look(target: ConnectionSource, mustWrite: boolean): Promise<Located | string> {
  const { tls, ...rest } = target;
  let client: pg.Client;
  try {
    client = await connectReplication({ ...rest, ssl: tls }, ASK_TIMEOUT_MS);
  } catch (error) {
    return (error as Error).message || 'it does not answer';
  }
  try {
    const shown = await withDeadline(
      'SHOW',
      ASK_TIMEOUT_MS,
      client.query<{ transaction_read_only: string }>('SHOW transaction_read_only'),
    );
    if (mustWrite && shown.rows[0]?.transaction_read_only !== 'off') return 'it is a standby, or read-only';
    const { host, port } = target;
    const identity = await identifySystem(client, ASK_TIMEOUT_MS);
    return { host, port, ...identity, history: await historyOf(client, identity.timeline) };
  } catch (error) {
    return (error as Error).message;
  } finally {
    closeReplication(client);
  }
}

async function historyOf(
  client: pg.Client,
  timeline: Timeline,
): Promise<readonly HistoryEntry[] | undefined> {
  if (timeline === 1) return [];
  try {
    const command = `TIMELINE_HISTORY ${timeline}`;
    const result = await withDeadline(
      command,
      ASK_TIMEOUT_MS,
      client.query<{ content: Buffer | string }>(command),
    );
    return parseHistory(result.rows[0]?.content.toString() ?? '');
  } catch {
    return undefined;
  }
}
