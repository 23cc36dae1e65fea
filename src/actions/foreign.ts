// A server in our data directory that somebody else has started: how it is told from ours, and how it is reached.
import { readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import type { OsUser } from '../postgres/os-user.ts';
import type { PostmasterFile } from '../postgres/processes.ts';
import { relayedSocket } from '../postgres/relay.ts';

/** By its socket: ours is in a private directory, and nothing else can be reached there. */
export function isForeignServer(postmaster: PostmasterFile | undefined, ourSocketDirectory: string): boolean {
  const directory = postmaster?.socketDirectory;
  // It writes that a moment after it has begun.
  if (directory === undefined || directory === '') return false;
  return !isSameDirectory(directory, ourSocketDirectory);
}

/** Through its own socket, as the user it runs as; undefined where it has none. */
export function socketOf(
  postmaster: PostmasterFile | undefined,
  user: OsUser,
): { readonly socketDirectory: string; readonly port: number; readonly stream: () => Duplex } | undefined {
  const { socketDirectory, port } = postmaster ?? {};
  if (socketDirectory === undefined || port === undefined) return undefined;
  const path = join(socketDirectory, `.s.PGSQL.${port}`);
  return { socketDirectory, port, stream: () => relayedSocket(user, path) };
}

/** The lines of pg_hba.conf that were taken over; none where there is no such file. */
export function adoptedHba(path: string): string[] {
  try {
    return readFileSync(path, 'utf8')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

function isSameDirectory(a: string, b: string): boolean {
  if (a === b) return true;
  try {
    return realpathSync(a) === realpathSync(b);
  } catch {
    return false;
  }
}
