// Where a restored data directory may reach outside of itself. A backup knows the paths of the server that it was made of: its tablespaces, or a
// link to its WAL, may lead to what another server uses on this very host, and recovery would write there. So only what the configuration
// names for this node is taken, and only that is ever removed. Changes nothing.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { realPath, tablespaceTargets, walTarget } from './outside-directories.ts';
import { runningDirectories } from './processes.ts';

/** What the configuration of this node names. */
export interface OwnPlaces {
  /** Tablespaces may lie in these, or be these. */
  readonly tablespaces: readonly string[];
  /** A link pg_wal may lead into this one. */
  readonly walDirectory: string | undefined;
}

/** Whether a path, without links, is in one of them. */
export function isOwnPlace({ tablespaces, walDirectory }: OwnPlaces): (path: string) => boolean {
  const own = [...tablespaces, ...(walDirectory === undefined ? [] : [walDirectory])].map(realPath);
  return (path) => own.some((directory) => isWithin(directory, path));
}

const isWithin = (directory: string, path: string): boolean =>
  path === directory || path.startsWith(`${directory}/`);

/** Why nothing may be started there, for people; undefined where nothing stands against it. */
export async function placeObstacle(directory: string, places: OwnPlaces): Promise<string | undefined> {
  const { tablespaces, walDirectory } = places;
  const wal = await walTarget(directory);
  if (wal !== undefined && !isOwnPlace({ tablespaces: [], walDirectory })(wal))
    return `its pg_wal is a link to ${wal}, which may be another server's; expected ${walDirectory === undefined ? 'a directory' : `a directory, or a link into ${walDirectory} (node.wal_directory)`}`;
  const isOwn = isOwnPlace({ tablespaces, walDirectory: undefined });
  const used = (await Promise.all(runningDirectories().map(tablespaceTargets))).flat().map(realPath);
  for (const location of [...(await tablespaceTargets(directory)), ...(await mappedLocations(directory))]) {
    const path = realPath(location);
    if (!isOwn(path))
      return `it has a tablespace at ${location}, which may be another server's; have the command put it where node.tablespaces says that this node has tablespaces${tablespaces.length === 0 ? ' (it names no directory)' : `: in ${tablespaces.join(', ')}`}`;
    if (used.includes(path))
      return `its tablespace at ${location} is used by a PostgreSQL that runs on this host`;
  }
  return undefined;
}

/** PostgreSQL makes these links when it begins to recover: lines of an id and a path, in which a backslash takes the next character as it is. */
async function mappedLocations(directory: string): Promise<string[]> {
  const text = await readFile(join(directory, 'tablespace_map'), 'utf8').catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  });
  return [...text.matchAll(/^\d+ ((?:\\[\s\S]|[^\n\\])*)$/gm)].map(([, path = '']) =>
    path.replaceAll(/\\([\s\S])/g, '$1'),
  );
}
