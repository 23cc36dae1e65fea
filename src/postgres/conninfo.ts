// libpq connection strings and passfiles. A password stands only in a passfile of its own, never in a connection string,
// an argument or a setting: taking that file away is how the cut makes new connections impossible.
import { randomBytes } from 'node:crypto';
import { readFile, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ConnectionOptions } from 'node:tls';
import type { MemberId } from '../base/ids.ts';
import { fsyncDirectory, writeFileDurably, type Owner } from './durable-files.ts';

/** How a member reaches another node as the replication user. */
export interface Upstream {
  readonly host: string;
  /** The address of `host`, where the caller has resolved it: a walreceiver that waits for DNS cannot be ended. */
  readonly hostAddress?: string | undefined;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  /** The server did not take the password. */
  readonly onWrongPassword?: (() => void) | undefined;
  /** `application_name`: what the sync rule counts. */
  readonly applicationName: MemberId | string;
  readonly connectTimeoutSeconds?: number;
  /** Where its walreceiver does not connect to: 17 and later synchronise slots through it. */
  readonly database?: string;
  /** Further libpq keywords, such as sslmode and sslrootcert. */
  readonly parameters?: Readonly<Record<string, string>>;
  /** How node-postgres is to encrypt, where not as `parameters` say. */
  readonly tls?: ConnectionOptions | boolean | undefined;
}

/** The libpq keywords of an upstream. libpq matches a passfile that says `*` for everything. */
export function upstreamKeywords(upstream: Upstream, passfile: string): Record<string, string> {
  return {
    host: upstream.host,
    ...(upstream.hostAddress === undefined ? {} : { hostaddr: upstream.hostAddress }),
    port: String(upstream.port),
    user: upstream.user,
    ...(upstream.database === undefined ? {} : { dbname: upstream.database }),
    passfile,
    application_name: upstream.applicationName,
    connect_timeout: String(upstream.connectTimeoutSeconds ?? 5),
    gssencmode: 'disable',
    keepalives_idle: '5',
    keepalives_interval: '2',
    keepalives_count: '3',
    tcp_user_timeout: '10000',
    ...upstream.parameters,
  };
}

/** `key='value' ...`; backslashes and quotes are escaped (PostgreSQL documentation 34.1.1). */
export function renderConninfo(keywords: Readonly<Record<string, string>>): string {
  return Object.entries(keywords)
    .map(([key, value]) => `${key}='${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`)
    .join(' ');
}

/** One line of a passfile that fits every host, port and database (PostgreSQL documentation 34.16). */
export function renderPassfile(user: string, password: string): string {
  const escape = (text: string): string => text.replaceAll('\\', '\\\\').replaceAll(':', '\\:');
  if (/[\n\r]/.test(password))
    throw new Error(`the password of ${user} holds a line break, which a passfile cannot`);
  return `*:*:*:${escape(user)}:${escape(password)}\n`;
}

const PASSFILE = /^upstream-[0-9a-f]{16}\.pass(\.new)?$/;

/**
 * Writes a passfile under a name never used before, so that an older connection string cannot come to life again.
 * Returns its path. The directory must be private to this node and open to the user PostgreSQL runs as.
 */
export async function writePassfile(options: {
  readonly directory: string;
  readonly user: string;
  readonly password: string;
  readonly owner: Owner | undefined;
}): Promise<string> {
  const path = join(options.directory, `upstream-${randomBytes(8).toString('hex')}.pass`);
  await writeFileDurably({
    path,
    content: renderPassfile(options.user, options.password),
    mode: 0o600,
    owner: options.owner,
  });
  return path;
}

/**
 * Gives the passfile that is there another password, under its own name. Where a cut has taken it away there is none, and none is made.
 * Must not run beside a cut.
 */
export async function renewPassfiles(options: {
  readonly directory: string;
  readonly user: string;
  readonly password: string;
  readonly owner: Owner | undefined;
}): Promise<void> {
  const content = renderPassfile(options.user, options.password);
  const names = (await readdir(options.directory)).filter(
    (name) => PASSFILE.test(name) && name.endsWith('.pass'),
  );
  for (const name of names) {
    const path = join(options.directory, name);
    if ((await readFile(path, 'utf8')) !== content)
      await writeFileDurably({ path, content, mode: 0o600, owner: options.owner });
  }
}

/** Removes every passfile but `keep`, durably. Returns how many there were. */
export async function removePassfiles(directory: string, keep?: string): Promise<number> {
  const names = (await readdir(directory)).filter(
    (name) => PASSFILE.test(name) && join(directory, name) !== keep,
  );
  for (const name of names) await rm(join(directory, name), { force: true });
  await fsyncDirectory(directory);
  return names.length;
}
