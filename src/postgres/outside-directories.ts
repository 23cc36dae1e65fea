// What a data directory has outside of itself, its tablespaces and its WAL: how the directories of one copy are named and made, and how all of it is
// removed. Never removes what another data directory uses, and follows no link with root's rights.
import { randomBytes } from 'node:crypto';
import { realpathSync } from 'node:fs';
import { lchown, lstat, mkdir, readdir, readlink, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { OsUser } from './os-user.ts';
import { makeDirectory } from './own-directories.ts';
import { runningDirectories } from './processes.ts';
import { removeAsUser, removeEmptyAsUser, removeWithinAsUser } from './user-files.ts';
import { versionPattern } from './version-directory.ts';

/** The name of a directory that was made for one copy. */
export const OWN_DIRECTORY = /[./]pg_sentinel-[0-9a-f]{8}$/;

export const ownName = (): string => `pg_sentinel-${randomBytes(4).toString('hex')}`;

/** A new directory within one that a person has named: each copy has its own there, beside that of the copy which it replaces. */
export const ownWithin = (directory: string): string => join(directory, ownName());

/** Throws where there is anything at that path: what was made here is this clone's own. */
export async function makeNewDirectory(user: OsUser, path: string): Promise<void> {
  const parent = dirname(path);
  if ((await stat(parent).catch(() => undefined)) === undefined) await makeDirectory(user, parent);
  await mkdir(path, { mode: 0o700 });
  // What somebody may have put in its place meanwhile is not followed.
  if (user.owner !== undefined) await lchown(path, user.uid, user.gid);
}

/**
 * Removes a data directory with what is its own in its tablespaces, and its WAL where that lies elsewhere, but for those that one of `keepers`, or a PostgreSQL that runs on this host, uses as
 * well: pg_rewind gives a directory its source's links, which lead to the source's own data where that is on the same host. What another version has in a tablespace
 * stays, and so does the location then: it may be the way back after pg_upgrade. Only for a directory that is no database of anybody's any more. With the rights
 * of `user`, whose links those are.
 */
export async function removeWithTablespaces(
  user: OsUser,
  directory: string,
  keepers: readonly string[],
): Promise<void> {
  const users = [...keepers, ...runningDirectories()];
  const kept = new Set((await Promise.all(users.map(tablespaceTargets))).flat().map(realPath));
  const wal = await walTarget(directory);
  if (wal !== undefined && !(await Promise.all(users.map(walTarget))).includes(wal)) {
    if (OWN_DIRECTORY.test(wal)) await removeAsUser(user, wal);
    else await removeWithinAsUser(user, wal, OF_WAL);
  }
  // A half copy without any: what was made for it is listed beside it. A removal that was broken off has emptied them before.
  const own = await versionPattern(directory);
  for (const target of await tablespaceTargets(directory)) {
    if (own === undefined || kept.has(realPath(target))) continue;
    await removeWithinAsUser(user, target, own);
    if (OWN_DIRECTORY.test(target)) await removeEmptyAsUser(user, target);
  }
  await removeAsUser(user, directory);
}

/** Without links, as far as that can be told. */
export function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

/** Where its WAL is, in case that is not in the data directory itself. */
export async function walTarget(directory: string): Promise<string | undefined> {
  const path = join(directory, 'pg_wal');
  const isLink = (await lstat(path).catch(() => undefined))?.isSymbolicLink() === true;
  return isLink ? realPath(path) : undefined;
}

/** Segments, histories of timelines, labels of backups, and PostgreSQL's own directories. */
const OF_WAL =
  /^([0-9A-F]{24}(\.partial|\.[0-9A-F]{8}\.backup)?|[0-9A-F]{8}\.history|xlogtemp\.\d+|archive_status|summaries)$/;

/** Where the links to its tablespaces lead. */
export async function tablespaceTargets(directory: string): Promise<string[]> {
  const links = join(directory, 'pg_tblspc');
  const targets: string[] = [];
  const names = await readdir(links).catch((error: unknown) => {
    if (isAbsent(error)) return [];
    throw error;
  });
  for (const name of names) {
    const target = await readlink(join(links, name)).catch((error: unknown) => {
      if (isAbsent(error) || (error as NodeJS.ErrnoException).code === 'EINVAL') return undefined;
      throw error;
    });
    if (target !== undefined) targets.push(target);
  }
  return targets;
}

/** ENOTDIR and ESRCH: of a process that has ended meanwhile. */
const isAbsent = (error: unknown): boolean =>
  ['ENOENT', 'ENOTDIR', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '');
