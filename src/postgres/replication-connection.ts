// A short-lived connection that speaks the replication protocol (PostgreSQL documentation 55.4). One command at a time,
// simple protocol only; every caller ends it.
import pg from 'pg';
import { withDeadline } from '../base/clock.ts';
import { timeline, type Timeline } from '../base/ids.ts';
import { parseLsn, type Lsn } from '../base/lsn.ts';
import { isWrongPassword } from './account.ts';

/** Where to connect: a socket directory or a host name. */
export interface ReplicationTarget {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password?: string | undefined;
  /** The server did not take the password. */
  readonly onWrongPassword?: (() => void) | undefined;
  readonly applicationName: string;
  readonly ssl?: pg.ClientConfig['ssl'];
}

/** Opens a connection for physical replication. Throws when it is refused or takes longer than `timeoutMs`. */
export async function connectReplication(target: ReplicationTarget, timeoutMs: number): Promise<pg.Client> {
  const config: pg.ClientConfig & { replication: string } = {
    host: target.host,
    port: target.port,
    user: target.user,
    application_name: target.applicationName,
    connectionTimeoutMillis: Math.max(1, Math.ceil(timeoutMs)),
    keepAlive: true,
    ssl: target.ssl ?? false,
    // Else node-postgres would take one from the environment.
    password: target.password ?? '',
    replication: 'true',
  };
  const client = new pg.Client(config);
  // Without a listener a later loss of the connection would end the process; commands report it themselves.
  client.on('error', () => undefined);
  try {
    await client.connect();
    return client;
  } catch (error) {
    closeReplication(client);
    if (isWrongPassword(error)) target.onWrongPassword?.();
    throw error;
  }
}

/** Closes without waiting for the server. */
export function closeReplication(client: pg.Client): void {
  void client.end().catch(() => undefined);
  (client as unknown as { connection?: { stream?: { destroy(): void } } }).connection?.stream?.destroy();
}

export interface SystemIdentity {
  readonly systemIdentifier: string;
  /** On a standby: the timeline of the last record it replayed. */
  readonly timeline: Timeline;
  /** On a standby: received or replayed, whichever is greater on that timeline. */
  readonly position: Lsn;
}

/** `IDENTIFY_SYSTEM`: the only exact answer to which timeline a standby's last record is on. */
export async function identifySystem(client: pg.Client, timeoutMs: number): Promise<SystemIdentity> {
  const result = await withDeadline(
    'IDENTIFY_SYSTEM',
    timeoutMs,
    client.query<IdentifyRow>('IDENTIFY_SYSTEM'),
  );
  const row = result.rows[0];
  if (row === undefined) throw new Error('IDENTIFY_SYSTEM returned no row');
  return {
    systemIdentifier: row.systemid,
    timeline: timeline(Number(row.timeline)),
    position: parseLsn(row.xlogpos),
  };
}

/** Keeps the WAL from the last checkpoint on for as long as the connection lasts, whatever else is sent through it. */
export async function keepWal(client: pg.Client, slotName: string, timeoutMs: number): Promise<void> {
  const command = `CREATE_REPLICATION_SLOT ${slotName} TEMPORARY PHYSICAL RESERVE_WAL`;
  await withDeadline('CREATE_REPLICATION_SLOT', timeoutMs, client.query(command));
}

interface IdentifyRow {
  readonly systemid: string;
  readonly timeline: number | string;
  readonly xlogpos: string;
}
