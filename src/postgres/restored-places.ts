// Where a restored data directory may reach outside of itself. A backup knows the paths of the server that it was made of: its tablespaces, or a
// link to its WAL, may lead to what another server uses on this very host, or what somebody has set aside there, and recovery would write into
// it. So only directories count that were made for this one restore, and only those are ever removed.
import { realpathSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import type { TablespaceMapping } from './clone-room.ts';
import { ownWithin, realPath, tablespaceTargets, walTarget } from './outside-directories.ts';
import type { OsUser } from './os-user.ts';
import { exists } from './replaced.ts';
import { readAsUser } from './user-files.ts';

/** What the configuration of this node names. */
export interface OwnPlaces {
  readonly tablespaces: TablespaceMapping;
  readonly walDirectory: string | undefined;
}

/** New directories for one restore, none of which was made yet, by the variables that tell the command of them. */
export function newParts({ tablespaces, walDirectory }: OwnPlaces): ReadonlyMap<string, string> {
  return new Map([
    ...[...tablespaces].map(([name, place]): [string, string] => [
      tablespaceVariable(name),
      ownWithin(place),
    ]),
    ...(walDirectory === undefined ? [] : [[WAL_VARIABLE, ownWithin(walDirectory)] as const]),
  ]);
}

const WAL_VARIABLE = 'PG_SENTINEL_WAL_DIRECTORY';

/** `name`: as in the configuration, of a tablespace or its location. */
export const tablespaceVariable = (name: string): string =>
  `PG_SENTINEL_TABLESPACE_${name.replaceAll(/[^A-Za-z0-9_]/g, '_')}`;

/** Undefined of what is not there: nobody knows where that will lead. */
function resolved(path: string): string | undefined {
  try {
    return isAbsolute(path) ? realpathSync(path) : undefined;
  } catch {
    return undefined;
  }
}

const isWithin = (directory: string, path: string): boolean =>
  path === directory || path.startsWith(`${directory}/`);

/** Why nothing may be started there, or go on, for people; undefined where nothing stands against it. Changes nothing. */
export async function placeObstacle(
  user: OsUser,
  directory: string,
  parts: readonly string[],
): Promise<string | undefined> {
  const own = parts.map(realPath);
  const isOwn = (path: string): boolean => {
    const real = resolved(path);
    return real !== undefined && own.some((part) => isWithin(part, real));
  };
  const wal = await walTarget(directory);
  if (wal !== undefined && !isOwn(wal))
    return `its pg_wal is a link to ${wal}, which may be another server's; expected a directory, or a link to $${WAL_VARIABLE} (where node.wal_directory is set)`;
  const locations = [...(await tablespaceTargets(directory)), ...(await mappedLocations(user, directory))];
  const strange = locations.find((location) => !isOwn(location));
  return strange === undefined
    ? undefined
    : `it has a tablespace at ${strange}, which may be another server's; expected it in the directory that is made for it: name it in node.tablespaces, and have the command put it into $${tablespaceVariable('NAME')}`;
}

/** Which of the parts it has a tablespace or its WAL in. */
export async function partsInUse(
  user: OsUser,
  directory: string,
  parts: readonly string[],
): Promise<readonly string[]> {
  const wal = await walTarget(directory);
  const used = [
    ...(wal === undefined ? [] : [wal]),
    ...(await tablespaceTargets(directory)),
    ...(await mappedLocations(user, directory)),
  ].map(realPath);
  return parts.filter((part) => used.some((path) => isWithin(realPath(part), path)));
}

/** PostgreSQL makes these links when it begins to recover: lines of an id and a path, in which a backslash takes the next character as it is. */
async function mappedLocations(user: OsUser, directory: string): Promise<string[]> {
  const path = join(directory, 'tablespace_map');
  if (!(await exists(path))) return [];
  const text = (await readAsUser(user, path)) ?? '';
  return [...text.matchAll(/^\d+ ((?:\\[\s\S]|[^\n\\])*)$/gm)].map(([, path = '']) =>
    path.replaceAll(/\\([\s\S])/g, '$1'),
  );
}
