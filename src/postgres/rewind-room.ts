// Whether there is room for what pg_rewind copies, and nothing where it would do harm, asked before it changes anything: one that fails half-way leaves a directory fit only for a clone.
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type pg from 'pg';
import { NoRoomError, freeBytes, mib } from './clone-room.ts';
import { readControlData } from './control-data.ts';
import { realPath } from './outside-directories.ts';
import { OF_TABLESPACE, versionDirectory } from './version-directory.ts';

/** pg_rewind copies the whole pg_wal of its source, and removes what is here only at the end. A file that is here already takes no more room. */
const MISSING_WAL = `select coalesce(sum(size), 0)::text as bytes from pg_ls_waldir() where name <> all($1::text[])`;

const SLACK_BYTES = 16 * 2 ** 20;
const INSUFFICIENT_PRIVILEGE = '42501';

/**
 * Throws {@link NoRoomError} unless the file system of pg_wal holds the source's WAL files that are not here, one segment, 16 MiB and 5 % more. A source that does not
 * let its role ask is no obstacle.
 */
export async function checkRewindRoom(options: {
  /** Connected to the source. */
  readonly client: pg.Client;
  readonly dataDirectory: string;
}): Promise<void> {
  const { client, dataDirectory } = options;
  const directory = join(dataDirectory, 'pg_wal');
  const present = await readdir(directory);
  const missing = await unlessForbidden(client.query<{ bytes: string }>(MISSING_WAL, [present]));
  if (missing === undefined) return;
  const { walSegmentBytes } = await readControlData(dataDirectory);
  const needed = (Number(missing.rows[0]?.bytes ?? 0) + walSegmentBytes + SLACK_BYTES) * 1.05;
  const free = await freeBytes(directory);
  if (free < needed)
    throw new NoRoomError(
      `cannot rewind ${dataDirectory} yet: ${mib(needed)} MiB needed in ${directory} (the source's WAL that is not here, and slack), ${mib(free)} MiB free; make room`,
    );
}

/** The place of a tablespace holds, or would hold, what is another's; nothing was changed. Only a clone will do, which takes another place. */
export class TakenPlaceError extends Error {
  override readonly name = 'TakenPlaceError';
}

const TABLESPACES = `select oid::text as oid, pg_tablespace_location(oid) as location from pg_tablespace where pg_tablespace_location(oid) like '/%'`;

/**
 * Throws {@link TakenPlaceError} where the source has a tablespace that the node lacks, and its path is in use here: by the source itself, on the same
 * host. pg_rewind would make a link to it, and fail; who removes the directory then would empty the source's tablespace. Throws it also where there is more in a
 * location than the directory of this database, such as that of another version after pg_upgrade: pg_rewind takes all of it for the database's, so that it removes
 * what is in the node's and not in the source's, and copies what is in the source's.
 */
export async function checkRewindTablespaces(options: {
  /** Connected to the source. */
  readonly client: pg.Client;
  readonly dataDirectory: string;
}): Promise<void> {
  const { client, dataDirectory } = options;
  const own = await versionDirectory(dataDirectory);
  const present = await readdir(join(dataDirectory, 'pg_tblspc'));
  for (const name of present) await mustHoldOnly(join(dataDirectory, 'pg_tblspc', name), own, dataDirectory);
  const { rows } = await client.query<{ oid: string; location: string }>(TABLESPACES);
  for (const { oid, location } of rows) {
    if (present.includes(oid)) continue;
    const names: string[] = await readdir(location).catch(() => []);
    if (names.some((name) => OF_TABLESPACE.test(name)))
      throw new TakenPlaceError(
        `cannot rewind ${dataDirectory}: the source's tablespace at ${location} is not here, and somebody uses that path on this host`,
      );
  }
  await sourceMustHoldOnly(client, own, dataDirectory);
}

async function mustHoldOnly(path: string, own: string, dataDirectory: string): Promise<void> {
  const names: string[] = await readdir(path).catch(() => []);
  const others = names.filter((name) => name !== own);
  if (others.length === 0) return;
  throw new TakenPlaceError(
    `cannot rewind ${dataDirectory}: its tablespace at ${realPath(path)} holds more than ${own}, which pg_rewind would remove (${listed(others)}); move it away where nobody needs it there`,
  );
}

const STRANGERS = `select location, name from (${TABLESPACES}) spaces, pg_ls_dir('pg_tblspc/' || oid, true, false) as name where name <> $1 order by location, name`;

/** A source that does not let its role look is no obstacle here: pg_rewind asks for the same. */
async function sourceMustHoldOnly(client: pg.Client, own: string, dataDirectory: string): Promise<void> {
  const found = await unlessForbidden(client.query<{ location: string; name: string }>(STRANGERS, [own]));
  const [first] = found?.rows ?? [];
  if (first === undefined) return;
  const others = found?.rows.filter(({ location }) => location === first.location) ?? [];
  throw new TakenPlaceError(
    `cannot rewind ${dataDirectory}: the source's tablespace at ${first.location} holds more than ${own}, which pg_rewind would copy (${listed(others.map(({ name }) => name))}); move it away where nobody needs it there`,
  );
}

/** A few of them, for a message. */
const listed = (names: readonly string[]): string =>
  `${names.slice(0, 3).join(', ')}${names.length > 3 ? ` and ${names.length - 3} more` : ''}`;

/** Undefined where the source does not let its role ask. */
const unlessForbidden = <T>(query: Promise<T>): Promise<T | undefined> =>
  query.catch((error: unknown) => {
    if ((error as { code?: unknown }).code === INSUFFICIENT_PRIVILEGE) return undefined;
    throw error;
  });
