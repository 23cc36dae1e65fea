// The other site, as a site leader sees it: which of its servers takes writes, which database that is, and how far. Also how another node of
// this site asks its site leader the same. Reads only, but for the replication slot that the configuration names.
import { readFileSync } from 'node:fs';
import type pg from 'pg';
import { delay, withDeadline } from '../base/clock.ts';
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
  /** Other servers there that take writes as well, which only one of them should. */
  readonly rivals?: readonly Place[];
}

const ASK_TIMEOUT_MS = 5000;

/** `a:5432,b:5432`: for people, and for the log. */
export const sourceText = (servers: readonly Place[]): string =>
  servers.map(({ host, port }) => `${host.includes(':') ? `[${host}]` : host}:${port}`).join(',');

/**
 * The libpq keywords with which a walreceiver finds the primary by itself, whenever it connects; also where that is read-only for clients by default.
 * `first`: the server to try first, for libpq takes the first that will do.
 */
export function hostsOf({ servers, parameters }: SiteSource, first?: Place): Record<string, string> {
  const isFirst = ({ host, port }: Place): boolean => host === first?.host && port === first.port;
  const ordered = servers.toSorted((a, b) => Number(isFirst(b)) - Number(isFirst(a)));
  return {
    host: ordered.map(({ host }) => host).join(','),
    port: ordered.map(({ port }) => port).join(','),
    target_session_attrs: 'primary',
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

/** One that has answered does not wait longer for the others. */
const OTHERS_TIMEOUT_MS = 500;

/**
 * The primary of the other site, of the database `expected`. Where several take writes, of which one should have been stopped, the one on the highest timeline.
 * Throws what each of them said where there is none.
 */
export async function locate(source: SiteSource, expected: string | undefined): Promise<Located> {
  const tls = tlsOf(source.parameters);
  const answers: (Located | string)[] = source.servers.map(() => 'it did not answer in time');
  const looks = source.servers.map(async (place, at) => {
    const found = await look({ ...connectionTo(source, place), tls }, 'primary');
    answers[at] =
      typeof found === 'string' || expected === undefined || found.systemIdentifier === expected
        ? found
        : `it holds another database (system identifier ${found.systemIdentifier}, the group has ${expected})`;
    if (typeof answers[at] === 'string') throw new Error('it is none');
  });
  const all = Promise.allSettled(looks);
  await Promise.any(looks).then(
    () => Promise.race([all, delay(OTHERS_TIMEOUT_MS)]),
    () => all,
  );
  return choose(answers, source);
}

/** Pure. */
export function choose(answers: readonly (Located | string)[], { servers }: SiteSource): Located {
  const found = answers
    .flatMap((answer) => (typeof answer === 'string' ? [] : [answer]))
    .toSorted((a, b) => b.timeline - a.timeline);
  const [best, ...rivals] = found;
  if (best === undefined) {
    const said = answers.map((answer, at) => {
      const what = typeof answer === 'string' ? answer : '';
      return `${sourceText(servers.slice(at, at + 1))}: ${what}`;
    });
    throw new Error(`no server of the other site takes writes (${said.join('; ')})`);
  }
  if (rivals.some(({ systemIdentifier }) => systemIdentifier !== best.systemIdentifier))
    throw new Error(`${sourceText(found)} hold different databases: name the servers of one of them only`);
  return rivals.length === 0 ? best : { ...best, rivals };
}

/** The node that this one streams from takes writes: somebody has opened it by hand. */
export class OpenedUpstreamError extends Error {
  override readonly name = 'OpenedUpstreamError';
  readonly timeline: Timeline;
  constructor(place: Place, timeline: Timeline) {
    super(`${sourceText([place])} takes writes: somebody has opened it`);
    this.timeline = timeline;
  }
}

/** The node of this site that streams from there. Throws why it does not answer. */
export async function askLeader(leader: ConnectionSource): Promise<Located> {
  const answer = await look(leader, 'standby');
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

/**
 * Makes the slot that the configuration names where it is missing, for a server that was promoted there has none, or where it has lost its WAL:
 * PostgreSQL takes no more connections through it then.
 */
export async function ensureSlot(source: SiteSource, place: Place): Promise<void> {
  const { slot } = source;
  if (slot === undefined) return;
  const target = { ...connectionTo(source, place), ssl: tlsOf(source.parameters) };
  const client = await connectReplication(target, ASK_TIMEOUT_MS);
  const run = (command: string) =>
    withDeadline(command, ASK_TIMEOUT_MS, client.query<{ restart_lsn?: string | null }>(command));
  const make = () => run(`CREATE_REPLICATION_SLOT "${slot}" PHYSICAL RESERVE_WAL`);
  try {
    await make().catch(async (error: unknown) => {
      if (codeOf(error) !== DUPLICATE_OBJECT) throw error;
      // PostgreSQL 14 cannot tell.
      const shown = await run(`READ_REPLICATION_SLOT "${slot}"`).catch((failure: unknown) => {
        if (codeOf(failure) !== SYNTAX_ERROR) throw failure;
      });
      if (shown?.rows[0] === undefined || shown.rows[0].restart_lsn !== null) return;
      await run(`DROP_REPLICATION_SLOT "${slot}"`);
      await make();
    });
  } catch (error) {
    throw new Error(
      `replication slot ${slot} cannot be made on ${sourceText([place])}: ${(error as Error).message}`,
      { cause: error },
    );
  } finally {
    closeReplication(client);
  }
}

const codeOf = (error: unknown): string | undefined => (error as { code?: string }).code;
const DUPLICATE_OBJECT = '42710';
const SYNTAX_ERROR = '42601';

/** What the server is, or why it is not to be streamed from. */
async function look(target: ConnectionSource, wanted: 'primary' | 'standby'): Promise<Located | string> {
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
      client.query<{ in_hot_standby: string }>('SHOW in_hot_standby'),
    );
    const isPrimary = shown.rows[0]?.in_hot_standby === 'off';
    if (wanted === 'primary' && !isPrimary) return 'it is a standby';
    const { host, port } = target;
    const identity = await identifySystem(client, ASK_TIMEOUT_MS);
    if (wanted === 'standby' && isPrimary) throw new OpenedUpstreamError(target, identity.timeline);
    return { host, port, ...identity, history: await historyOf(client, identity.timeline) };
  } catch (error) {
    if (error instanceof OpenedUpstreamError) throw error;
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
