// What goes with a data directory, and what another version has beside it in its tablespaces, as after pg_upgrade.
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { SHUT_DOWN, writeControl } from './testing/control-file.ts';
import { removeWithTablespaces } from './outside-directories.ts';

const user = { name: 'me', uid: 0, gid: 0, owner: undefined };
const [OLD, NEW] = ['PG_15_202209061', 'PG_17_202406281'];
const OWN = 'space.pg_sentinel-0123abcd';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pg-sentinel-outside-'));
});
afterEach(() => rm(folder, { recursive: true }));

/** A stopped data directory with tablespaces at `locations`, which hold a file of its version. */
async function makeData(name: string, version: number, locations: readonly string[]): Promise<string> {
  const directory = join(folder, name);
  await mkdir(join(directory, 'pg_tblspc'), { recursive: true });
  await writeFile(join(directory, 'PG_VERSION'), `${version}\n`);
  const own = version === 15 ? OLD : NEW;
  await writeControl(directory, SHUT_DOWN, 0, { catalogVersion: Number(own.slice('PG_15_'.length)) });
  for (const [index, location] of locations.entries()) {
    await mkdir(join(folder, location, own), { recursive: true });
    await writeFile(join(folder, location, own, '16390'), '');
    await symlink(join(folder, location), join(directory, 'pg_tblspc', `${16400 + index}`));
  }
  return directory;
}
const remove = (directory: string): Promise<void> => removeWithTablespaces(user, directory, []);
const contents = async (): Promise<string[]> => (await readdir(folder)).toSorted();

test('what another version has in the same places stays, whichever of the two is removed', async () => {
  const old = await makeData('data', 15, ['space', OWN]);
  await makeData('data-17', 17, ['space', OWN]);
  await remove(join(folder, 'data-17'));
  for (const location of ['space', OWN])
    expect(await readdir(join(folder, location, OLD))).toEqual(['16390']);
  for (const location of ['space', OWN]) expect(await readdir(join(folder, location))).toEqual([OLD]);
  await makeData('data-17', 17, ['space', OWN]);
  await remove(old);
  for (const location of ['space', OWN]) expect(await readdir(join(folder, location))).toEqual([NEW]);
  // The last one takes along what was made for a copy.
  await remove(join(folder, 'data-17'));
  expect(await contents()).toEqual(['space']);
  expect(await readdir(join(folder, 'space'))).toEqual([]);
});

test('what a person has put into a tablespace stays', async () => {
  const directory = await makeData('data', 15, [OWN]);
  await writeFile(join(folder, OWN, 'readme'), '');
  await remove(directory);
  expect(await readdir(join(folder, OWN))).toEqual(['readme']);
});

test('another catalog of the same version stays, as that of a beta', async () => {
  const directory = await makeData('data', 15, ['space']);
  await mkdir(join(folder, 'space', 'PG_15_202205191'));
  await remove(directory);
  expect(await readdir(join(folder, 'space'))).toEqual(['PG_15_202205191']);
});

test.each([
  ['pg_control', join('global', 'pg_control')],
  ['PG_VERSION', 'PG_VERSION'],
])('what lacks its %s is known by the other one', async (_, name) => {
  const directory = await makeData('data', 15, ['space']);
  await makeData('data-17', 17, ['space']);
  await rm(join(directory, name));
  await remove(directory);
  expect(await readdir(join(folder, 'space'))).toEqual([NEW]);
});

test('of what lacks both nothing is known: only the directory goes', async () => {
  const directory = await makeData('data', 15, ['space', OWN]);
  await rm(join(directory, 'global', 'pg_control'));
  await writeFile(join(directory, 'PG_VERSION'), '');
  await remove(directory);
  expect(await contents()).toEqual(['space', OWN]);
  for (const location of ['space', OWN]) expect(await readdir(join(folder, location))).toEqual([OLD]);
});

test('a place that a keeper uses stays as it is', async () => {
  const directory = await makeData('data', 15, ['space', 'other']);
  const keeper = await makeData('keeper', 15, ['space']);
  await removeWithTablespaces(user, directory, [keeper]);
  expect(await readdir(join(folder, 'space'))).toEqual([OLD]);
  expect(await readdir(join(folder, 'other'))).toEqual([]);
});
