// A server in our data directory that somebody else has started: how it is told from ours, and how it is reached.
import { readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { STARTED_BY_US } from '../postgres/lifecycle.ts';
import type { OsUser } from '../postgres/os-user.ts';
import type { PostmasterFile } from '../postgres/processes.ts';
import { relayedSocket } from '../postgres/relay.ts';
import type { Elsewhere } from '../postgres/session.ts';
import { SETTINGS_FILE, parseSettings } from '../postgres/settings.ts';

interface OurServer {
  readonly socketDirectory: string;
  readonly dataDirectory: string;
}

/**
 * By its socket: ours is in a private directory, and nothing else can be reached there. One that we have started, or that our settings are
 * in force on, is ours elsewhere too: `node.socket_directory` has been changed since.
 */
export function isForeignServer(
  postmaster: PostmasterFile | undefined,
  ours: OurServer,
  wasStartedByUs: (pid: number) => boolean = (pid) => isStartedByUs(pid) === true,
): boolean {
  if (postmaster === undefined) return false;
  const { socketDirectory, status, pid } = postmaster;
  if (socketDirectory === undefined) {
    // It writes both a moment after it has begun, the socket first: one that has a status and no socket was told to have none.
    return status !== undefined && !wasStartedByUs(pid);
  }
  if (isSameDirectory(socketDirectory, ours.socketDirectory)) return false;
  return !wasStartedByUs(pid) && !isNamedByOurs(ours.dataDirectory, socketDirectory);
}

/** By its environment; undefined where that cannot be read. */
export function isStartedByUs(pid: number): boolean | undefined {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(`${STARTED_BY_US}=1`);
  } catch {
    return undefined;
  }
}

/** Whether pg_sentinel.conf has that directory: PostgreSQL reads the file only where it runs with all that is in it. */
function isNamedByOurs(dataDirectory: string, socketDirectory: string): boolean {
  try {
    const settings = parseSettings(readFileSync(join(dataDirectory, SETTINGS_FILE), 'utf8'));
    const named = settings.get('unix_socket_directories');
    return named !== undefined && isSameDirectory(named, socketDirectory);
  } catch {
    return false;
  }
}

/** Somebody else's is reached through its own socket, as the user it runs as; undefined where it has none. */
export function socketOf(postmaster: PostmasterFile | undefined, user: OsUser): Elsewhere | undefined {
  const { socketDirectory, port } = postmaster ?? {};
  if (socketDirectory === undefined || port === undefined) return undefined;
  const path = join(socketDirectory, `.s.PGSQL.${port}`);
  return { socketDirectory, port, stream: () => relayedSocket(user, path) };
}

/** Where ours is reached that still has the socket of an earlier configuration; undefined: where it is expected. */
export function movedSocketOf(
  postmaster: PostmasterFile | undefined,
  { socketDirectory: expected }: Pick<OurServer, 'socketDirectory'>,
): Elsewhere | undefined {
  const { socketDirectory, port } = postmaster ?? {};
  if (socketDirectory === undefined || port === undefined) return undefined;
  return isSameDirectory(socketDirectory, expected) ? undefined : { socketDirectory, port };
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
