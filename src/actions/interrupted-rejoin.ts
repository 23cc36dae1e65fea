// What a sentineld that was killed while a node rejoined has left: a pg_rewind at work, passwords, half of what was to be saved. Called
// before anything else is done with the data directory. Never touches a pg_rewind of somebody else's.
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { removeWorkDirectories } from '../postgres/diverged.ts';
import type { OsUser } from '../postgres/os-user.ts';
import { endInterruptedRewind } from '../postgres/rewind.ts';

/** Throws where a program does not end: nothing may be done with the data directory then. */
export async function endInterruptedRejoin(options: {
  readonly dataDirectory: string;
  readonly passfileDirectory: string;
  readonly divergedDirectory: string;
  readonly user: OsUser;
}): Promise<void> {
  const { passfileDirectory } = options;
  await endInterruptedRewind(options);
  for (const name of await readdir(passfileDirectory).catch(() => []))
    if (PASSFILE.test(name)) await rm(join(passfileDirectory, name), { force: true });
  await removeWorkDirectories(options.user, options.divergedDirectory);
}

/** Of a program that has ended; PostgreSQL's own, upstream-*.pass, stay. */
const PASSFILE = /^(rewind|clone)\.pass(\.new)?$/;
