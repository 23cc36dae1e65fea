// Whether there is room for what pg_rewind copies, asked before it changes anything: one that fails half-way leaves a directory fit only for a clone.
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type pg from 'pg';
import { NoRoomError, freeBytes, mib } from './clone-room.ts';
import { readControlData } from './control-data.ts';

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
  const missing = await client.query<{ bytes: string }>(MISSING_WAL, [present]).catch((error: unknown) => {
    if ((error as { code?: unknown }).code === INSUFFICIENT_PRIVILEGE) return undefined;
    throw error;
  });
  if (missing === undefined) return;
  const { walSegmentBytes } = await readControlData(dataDirectory);
  const needed = (Number(missing.rows[0]?.bytes ?? 0) + walSegmentBytes + SLACK_BYTES) * 1.05;
  const free = await freeBytes(directory);
  if (free < needed)
    throw new NoRoomError(
      `cannot rewind ${dataDirectory} yet: ${mib(needed)} MiB needed in ${directory} (the source's WAL that is not here, and slack), ${mib(free)} MiB free; make room`,
    );
}

/** A tablespace of the source has its place taken on this host; nothing was changed. Only a clone will do, which takes another place. */
export class TakenPlaceError extends Error {
  override readonly name = 'TakenPlaceError';
}

const TABLESPACES = `select oid::text as oid, pg_tablespace_location(oid) as location from pg_tablespace where pg_tablespace_location(oid) like '/%'`;

/**
 * Throws {@link TakenPlaceError} where the source has a tablespace that the node lacks, and its path is in use here: by the source itself, on the same
 * host. pg_rewind would make a link to it, and fail; who removes the directory then would empty the source's tablespace.
 */
export async function checkRewindTablespaces(options: {
  /** Connected to the source. */
  readonly client: pg.Client;
  readonly dataDirectory: string;
}): Promise<void> {
  const { client, dataDirectory } = options;
  const present = await readdir(join(dataDirectory, 'pg_tblspc'));
  const { rows } = await client.query<{ oid: string; location: string }>(TABLESPACES);
  for (const { oid, location } of rows) {
    if (present.includes(oid)) continue;
    const names: string[] = await readdir(location).catch(() => []);
    if (names.some((name) => /^PG_\d+_\d+$/.test(name)))
      throw new TakenPlaceError(
        `cannot rewind ${dataDirectory}: the source's tablespace at ${location} is not here, and somebody uses that path on this host`,
      );
  }
}
