// Each database has a directory of its own in the locations of its tablespaces, named by its major version and catalog, such as PG_15_202209061. After
// pg_upgrade two versions share a location, so what else lies in it may be what another data directory needs, whether that runs or not.
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { answers } from './answering.ts';
import { dataVersion } from './binaries.ts';
import { readControlData } from './control-data.ts';

/** What PostgreSQL of any version calls its own in a tablespace. */
export const OF_TABLESPACE = /^PG_\d+_\d+$/;

/** What is the data directory's own in a tablespace. Throws where that cannot be told. */
export async function versionDirectory(dataDirectory: string): Promise<string> {
  const { catalogVersion } = await readControlData(dataDirectory);
  const version = await dataVersion(dataDirectory);
  if (version === undefined) throw new Error(`${join(dataDirectory, 'PG_VERSION')} says no version`);
  return `PG_${version}_${catalogVersion}`;
}

/**
 * The same as a pattern, also for a directory that lacks pg_control or PG_VERSION, as a half copy does: a catalog is of one major version. Undefined where it
 * has neither.
 */
export async function versionPattern(dataDirectory: string): Promise<RegExp | undefined> {
  const version = await dataVersion(dataDirectory);
  const catalog = await readControlData(dataDirectory).then(
    ({ catalogVersion }) => catalogVersion,
    () => undefined,
  );
  if (version === undefined && catalog === undefined) return undefined;
  return new RegExp(String.raw`^PG_${version ?? String.raw`\d+`}_${catalog ?? String.raw`\d+`}$`);
}

/**
 * Where its tablespaces lie without what it has in them, each with its path in the data directory. Throws where a location does not answer, or where that
 * cannot be told.
 */
export async function lostTablespaces(dataDirectory: string): Promise<readonly string[]> {
  const links = join(dataDirectory, 'pg_tblspc');
  const names = (await readdir(links).catch(noneIfAbsent)).filter((name) => /^\d+$/.test(name));
  if (names.length === 0) return [];
  const own = await versionDirectory(dataDirectory);
  const lost: string[] = [];
  for (const name of names) {
    const path = join(links, name, own);
    if (!(await answers(path))) throw new Error(`the tablespace at ${join(links, name)} does not answer`);
    const found = await stat(path).catch(absent);
    if (found?.isDirectory() !== true) lost.push(path);
  }
  return lost;
}

function absent(error: unknown): undefined {
  if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
  throw error;
}

const noneIfAbsent = (error: unknown): string[] => absent(error) ?? [];
