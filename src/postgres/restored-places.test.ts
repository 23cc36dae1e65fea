// A restored data directory reaches outside of itself only where the configuration of its node says so.
import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { isOwnPlace, placeObstacle } from './restored-places.ts';

let root: string;
let data: string;
beforeEach(async () => {
  root = await realpath(await mkdtemp(join(tmpdir(), 'pg-sentinel-places-')));
  data = join(root, 'data');
  for (const name of ['data/pg_tblspc', 'fast', 'fast-too', 'wal/own', 'old'])
    await mkdir(join(root, name), { recursive: true });
});
afterEach(() => rm(root, { recursive: true }));

const obstacle = (): Promise<string | undefined> =>
  placeObstacle(data, { tablespaces: [join(root, 'fast')], walDirectory: join(root, 'wal') });

test('nothing stands against one that lies within itself, or where this node has its own', async () => {
  await mkdir(join(data, 'pg_wal'));
  expect(await obstacle()).toBeUndefined();
  await rm(join(data, 'pg_wal'), { recursive: true });
  await symlink(join(root, 'wal', 'own'), join(data, 'pg_wal'));
  await symlink(join(root, 'fast'), join(data, 'pg_tblspc', '16400'));
  await writeFile(join(data, 'tablespace_map'), `16401 ${join(root, 'fast', 'more')}\n`);
  expect(await obstacle()).toBeUndefined();
});

test.each(['old', 'fast-too', 'fast/../old'])('a tablespace at %s is refused', async (path) => {
  await symlink(`${root}/${path}`, join(data, 'pg_tblspc', '16400'));
  expect(await obstacle()).toContain(`a tablespace at ${root}/${path}`);
});

test('so is one that PostgreSQL would link to by its tablespace_map, and one behind a link', async () => {
  await writeFile(join(data, 'tablespace_map'), `16400 ${root}/fast\n16401 ${root}/ol\\d\n`);
  expect(await obstacle()).toContain(`a tablespace at ${root}/old`);
  await symlink(join(root, 'old'), join(root, 'fast', 'link'));
  await writeFile(join(data, 'tablespace_map'), `16400 ${root}/fast/link\n`);
  expect(await obstacle()).toContain(`a tablespace at ${root}/fast/link`);
});

test('WAL elsewhere is refused, in a directory of tablespaces too', async () => {
  await symlink(join(root, 'fast'), join(data, 'pg_wal'));
  expect(await obstacle()).toContain(`its pg_wal is a link to ${root}/fast`);
  const none = await placeObstacle(data, { tablespaces: [], walDirectory: undefined });
  expect(none).toContain('expected a directory');
});

test('only what is named may ever be removed', () => {
  const isOwn = isOwnPlace({ tablespaces: [join(root, 'fast')], walDirectory: join(root, 'wal') });
  expect([`${root}/fast/x`, `${root}/wal`, `${root}/old`, `${root}/fast-too`].map(isOwn)).toEqual([
    ...[true, true],
    ...[false, false],
  ]);
});
