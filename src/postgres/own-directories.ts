// Directories of PostgreSQL's user, made and given by a sentineld that may be root: never what a link of that user's leads to.
import { constants } from 'node:fs';
import { lstat, mkdir, open, readlink, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { OsUser } from './os-user.ts';
import { makeDirectoryAsUser } from './user-files.ts';

/**
 * Makes `path` a directory of the user's own, with `mode`; parents are made with the same owner where missing. One that is there keeps its
 * mode, and one that is open to everybody (`/tmp`) its owner. Throws where `path` is a link to a directory of somebody else's, or no directory.
 */
export async function makeDirectory(user: OsUser, path: string, mode = 0o700): Promise<void> {
  if (user.owner === undefined) {
    await mkdir(path, { recursive: true, mode });
    return;
  }
  const { missing, isWithinHis } = await wayTo(user, path);
  if (missing === undefined) return giveDirectory(user, path, isWithinHis);
  if (!isWithinHis) {
    await mkdir(missing, { mode });
    await giveByDescriptor(user, missing, false);
    if (missing === path) return;
  }
  // Below a directory of his he could have a link in its place at any moment: what he may make himself he makes.
  await makeDirectoryAsUser(user, path, mode);
}

/** The first on the way to `path` that is not there, and whether one above that, or above `path`, belongs to the user. */
async function wayTo(
  user: OsUser,
  path: string,
): Promise<{ readonly missing: string | undefined; readonly isWithinHis: boolean }> {
  let missing: string | undefined;
  let isWithinHis = false;
  for (let at = path; ; at = dirname(at)) {
    const found = await lstat(at).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    });
    if (found === undefined) missing = at;
    else if (at !== path) isWithinHis ||= found.uid === user.uid;
    if (at === dirname(at)) return { missing, isWithinHis };
  }
}

async function giveDirectory(user: OsUser, path: string, isWithinHis: boolean): Promise<void> {
  const present = await lstat(path);
  if (present.uid === user.uid && !present.isSymbolicLink()) return;
  if (present.isSymbolicLink()) {
    const { uid } = await stat(path);
    if (uid !== user.uid)
      throw new Error(
        `${path} is a symbolic link to a directory that belongs to user ${uid}, not to ${user.name}: it is not given away; give ${user.name} that directory, or put a directory in the place of the link`,
      );
    return;
  }
  if ((present.mode & OPEN_TO_ALL) !== OPEN_TO_ALL) await giveByDescriptor(user, path, isWithinHis);
}

/** Everybody may make files there, and remove only his own. */
const OPEN_TO_ALL = 0o1002;

/** `isWithinHis`: a directory of the user's is on the way there, in which any other could have become a link meanwhile. */
async function giveByDescriptor(user: OsUser, path: string, isWithinHis: boolean): Promise<void> {
  const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = constants;
  const directory = await open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  try {
    const found = isWithinHis ? await readlink(`/proc/self/fd/${directory.fd}`) : resolve(path);
    if (found !== resolve(path))
      throw new Error(
        `${path} leads by a link to ${found}, which belongs to somebody else than ${user.name}: it is not given away; name the directory itself, or give it to ${user.name} with chown`,
      );
    await directory.chown(user.uid, user.gid);
  } finally {
    await directory.close();
  }
}
