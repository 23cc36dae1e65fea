// What of the state directory may be removed once a host has left its cluster. Must never name anything that PostgreSQL needs: a data directory,
// its WAL and tablespaces, and its programs may lie in there.
import { existsSync } from 'node:fs';
import { readdir, realpath } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { instancePaths } from '../actions/instance-files.ts';
import type { Config } from './config.ts';
import { LEFT_FILE } from './leave-log.ts';

export interface StateFiles {
  /** The state directory; where PostgreSQL needs something in it, those of our files and directories that it does not. */
  readonly paths: readonly string[];
  /** What PostgreSQL needs in there. */
  readonly needed: readonly string[];
}

/** `programs`: the directory that PostgreSQL's programs are run from. Only reads. */
export async function removableFiles(
  { stateDirectory, node }: Pick<Config, 'stateDirectory' | 'node'>,
  programs: string | undefined,
): Promise<StateFiles> {
  if (node === undefined) return { paths: [stateDirectory], needed: [] };
  const root = await real(stateDirectory);
  const used = await Promise.all(
    [...(await databasePaths(node.dataDirectory)), ...(programs === undefined ? [] : [programs])].map(
      async (path) => ({ path, target: await real(path) }),
    ),
  );
  const needed = used.filter(({ path, target }) => holds(root, target) || holds(stateDirectory, path));
  if (needed.length === 0) return { paths: [stateDirectory], needed: [] };
  const { fenceFile, guardDirectory, passfileDirectory, socketDirectory, ...files } = instancePaths(
    stateDirectory,
    node.name,
  );
  const ours = [
    ...[join(stateDirectory, 'raft'), guardDirectory, passfileDirectory, socketDirectory],
    ...[files.divergedDirectory, join(stateDirectory, 'unarchived'), join(stateDirectory, 'postgresql')],
    ...[
      files.lockDirectory,
      fenceFile,
      files.adoptedHbaFile,
      files.promoteRunFile,
      join(stateDirectory, LEFT_FILE),
    ],
  ];
  const paths: string[] = [];
  for (const path of ours) {
    const target = await real(path);
    const isNeeded = needed.some((each) => holds(target, each.target) || holds(path, each.path));
    if (existsSync(path) && !isNeeded) paths.push(path);
  }
  return { paths, needed: needed.map(({ path }) => path) };
}

/** The data directory, and what its links lead to: WAL and tablespaces. */
async function databasePaths(dataDirectory: string): Promise<string[]> {
  const tablespaces = join(dataDirectory, 'pg_tblspc');
  const names = await readdir(tablespaces).catch(() => []);
  return [dataDirectory, join(dataDirectory, 'pg_wal'), ...names.map((name) => join(tablespaces, name))];
}

const real = (path: string): Promise<string> => realpath(path).catch(() => path);
const holds = (directory: string, path: string): boolean =>
  path === directory || path.startsWith(`${directory}${sep}`);
