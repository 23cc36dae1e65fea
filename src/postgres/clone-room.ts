// Where the parts of a clone go, and whether there is room for them: asked before anything is copied. Each tablespace goes to the path it has on
// the source; where there is something on this host already (such as the data directory that the clone is to replace) to a new directory beside it.
import { access, constants, lstat, readdir, stat, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Upstream } from './conninfo.ts';
import type { OsUser } from './os-user.ts';
import { makeDirectory } from './own-directories.ts';
import { OWN_DIRECTORY, ownName, ownWithin } from './outside-directories.ts';
import { closeSource, connectSource } from './source-connection.ts';

/** Where tablespaces are to go on this host, by name or by their location on the source. */
export type TablespaceMapping = ReadonlyMap<string, string>;

export interface Tablespace {
  readonly name: string;
  /** Absolute, on the source. */
  readonly location: string;
  /** Where it goes on this host. */
  readonly target: string;
  readonly bytes: number;
}

export interface SourceSize {
  /** All databases but what lies in tablespaces of their own, and the WAL that is there. */
  readonly dataBytes: number;
  readonly walBytes: number;
  readonly tablespaces: readonly Tablespace[];
}

const ASK_TIMEOUT_MS = 30_000;

const SIZES = `
  select coalesce(sum(pg_tablespace_size(oid)) filter (where pg_tablespace_location(oid) = ''), 0)::text as data,
    coalesce(json_agg(json_build_object('name', spcname, 'location', pg_tablespace_location(oid), 'bytes', pg_tablespace_size(oid)::text))
      filter (where pg_tablespace_location(oid) like '/%'), '[]') as tablespaces,
    (select coalesce(sum(size), 0) from pg_ls_waldir())::text as wal
  from pg_tablespace`;

/** What the source would send. Throws when it does not answer, or its replication user may not ask. */
export async function readSourceSize(
  source: Upstream,
  mapping: TablespaceMapping = new Map(),
): Promise<SourceSize> {
  const client = await connectSource(source, ASK_TIMEOUT_MS);
  try {
    const { rows } = await client.query<{
      data: string;
      wal: string;
      tablespaces: { name: string; location: string; bytes: string }[];
    }>(SIZES);
    const [row] = rows;
    if (row === undefined) throw new Error(`${source.host}:${source.port} did not say how large it is`);
    return {
      dataBytes: Number(row.data),
      walBytes: Number(row.wal),
      tablespaces: await Promise.all(
        row.tablespaces.map(async ({ name, location, bytes }) => ({
          name,
          location,
          bytes: Number(bytes),
          target: await targetOf(name, location, mapping),
        })),
      ),
    };
  } finally {
    closeSource(client);
  }
}

/** Whether a key of a {@link TablespaceMapping} means that one. */
export const isMappedBy = (key: string, { name, location }: Pick<Tablespace, 'name' | 'location'>): boolean =>
  [name, location, location.replace(OWN_DIRECTORY, '')].includes(key);

/**
 * Where it is mapped, within that directory; else beside what is at that path already, or within it where that is a file system of its own. Of two nodes on one host, or of a clone and the directory
 * it replaces, none may write into the other's; and pg_rewind empties what lies within a tablespace and is not its source's. What is there and
 * empty is left alone as well: the other node may be about to fill it, and what a failed clone has to remove could not be told from that.
 */
async function targetOf(name: string, location: string, mapping: TablespaceMapping): Promise<string> {
  const base = location.replace(OWN_DIRECTORY, '');
  const mapped = [...mapping].find(([key]) => isMappedBy(key, { name, location }))?.[1];
  if (mapped !== undefined) return ownWithin(mapped);
  if ((await lstat(base).catch(() => undefined)) === undefined) return base;
  const own = ownName();
  return (await canStandBeside(base)) ? `${base}.${own}` : join(base, own);
}

/** The directory of a tablespace, which has to be free. */
export async function emptyTablespace(user: OsUser, location: string): Promise<string> {
  const present = await stat(location).catch(() => undefined);
  if (present !== undefined && (await readdir(location)).length > 0) {
    throw new Error(`cannot clone the tablespace at ${location}: the directory is not empty; empty it first`);
  }
  await makeDirectory(user, location);
  return location;
}

async function canStandBeside(path: string): Promise<boolean> {
  try {
    await access(dirname(path), constants.W_OK);
    return (await stat(path)).dev === (await stat(dirname(path))).dev;
  } catch {
    return false;
  }
}

/** There is too little room for a clone, or a rewind; nothing was changed. */
export class NoRoomError extends Error {
  override readonly name = 'NoRoomError';
}

/** Throws {@link NoRoomError} unless every file system holds what is to come to it and 5 % more. */
export async function checkRoom(
  dataDirectory: string,
  size: SourceSize,
  walDirectory = dirname(dataDirectory),
): Promise<void> {
  const parts = [
    { path: dirname(dataDirectory), bytes: size.dataBytes },
    { path: walDirectory, bytes: walMeanwhile(size) },
    ...size.tablespaces.map(({ target, bytes }) => ({ path: target, bytes })),
  ];
  const needs = new Map<number, { path: string; bytes: number }>();
  for (const { path, bytes } of parts) {
    const existing = await nearestExisting(path);
    const { dev } = await stat(existing);
    const present = needs.get(dev);
    needs.set(dev, { path: present?.path ?? existing, bytes: (present?.bytes ?? 0) + bytes });
  }
  for (const { path, bytes } of needs.values())
    await checkFree(path, bytes, "the source's databases, WAL that comes meanwhile, and 5 %");
}

const SEGMENT_BYTES = 16 * 2 ** 20;

/** A base backup brings only the WAL that is written while it is copied, not what the source keeps: of that there may be more than there is data. */
function walMeanwhile({ dataBytes, walBytes, tablespaces }: SourceSize): number {
  const copied = tablespaces.reduce((total, { bytes }) => total + bytes, dataBytes);
  return Math.min(walBytes, Math.max(5 * SEGMENT_BYTES, copied / 10));
}

/** Throws {@link NoRoomError} unless the file system of `directory` holds so much and 5 % more; `what` says what that is. */
export async function checkFree(
  directory: string,
  bytes: number,
  what = "the source's databases, and 5 %",
): Promise<void> {
  const needed = bytes * 1.05;
  const free = await freeBytes(directory);
  if (free < needed)
    throw new NoRoomError(
      `cannot clone to ${directory}: ${mib(needed)} MiB needed (${what}), ${mib(free)} MiB free; make room, or remove the old data directory`,
    );
}

/** What is free on the file system that holds it. */
export async function freeBytes(directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory);
  return bavail * bsize;
}

async function nearestExisting(path: string): Promise<string> {
  for (let at = path; ; at = dirname(at)) {
    if ((await stat(at).catch(() => undefined)) !== undefined || at === dirname(at)) return at;
  }
}

/** For a message, rounded up. */
export const mib = (bytes: number): number => Math.ceil(bytes / 1024 / 1024);
