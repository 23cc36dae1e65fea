// A restored data directory reaches outside of itself only into directories that were made for it.
import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { newParts, partsInUse, placeObstacle } from './restored-places.ts';

const USER = { name: 'self', uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, owner: undefined };
let root: string;
let data: string;
let parts: string[];
beforeEach(async () => {
  root = await realpath(await mkdtemp(join(tmpdir(), 'pg-sentinel-places-')));
  data = join(root, 'data');
  parts = [join(root, 'fast', 'own'), join(root, 'wal', 'own')];
  for (const name of ['data/pg_tblspc', 'fast/own', 'fast/own-too', 'wal/own', 'old'])
    await mkdir(join(root, name), { recursive: true });
});
afterEach(() => rm(root, { recursive: true }));

const obstacle = (): Promise<string | undefined> => placeObstacle(USER, data, parts);

test('nothing stands against one that lies within itself, or in what was made for it', async () => {
  await mkdir(join(data, 'pg_wal'));
  expect(await obstacle()).toBeUndefined();
  expect(await partsInUse(USER, data, parts)).toEqual([]);
  await rm(join(data, 'pg_wal'), { recursive: true });
  await symlink(join(root, 'wal', 'own'), join(data, 'pg_wal'));
  await mkdir(join(root, 'fast', 'own', 'more'));
  await writeFile(join(data, 'tablespace_map'), `16401 ${join(root, 'fast', 'own', 'more')}\n`);
  expect(await obstacle()).toBeUndefined();
  expect(await partsInUse(USER, data, parts)).toEqual(parts);
});

test.each(['old', 'fast', 'fast/own-too', 'fast/own/../own-too', 'fast/own/not-there'])(
  'a tablespace at %s is refused',
  async (path) => {
    await symlink(`${root}/${path}`, join(data, 'pg_tblspc', '16400'));
    expect(await obstacle()).toContain(`a tablespace at ${root}/${path}`);
  },
);

test('so is one that PostgreSQL would link to by its tablespace_map, and one behind a link', async () => {
  await writeFile(join(data, 'tablespace_map'), `16400 ${root}/fast/own\n16401 ${root}/ol\\d\n`);
  expect(await obstacle()).toContain(`a tablespace at ${root}/old`);
  await symlink(join(root, 'old'), join(root, 'fast', 'own', 'link'));
  await writeFile(join(data, 'tablespace_map'), `16400 ${root}/fast/own/link\n`);
  expect(await obstacle()).toContain(`a tablespace at ${root}/fast/own/link`);
});

test('WAL elsewhere is refused', async () => {
  await symlink(join(root, 'fast'), join(data, 'pg_wal'));
  expect(await obstacle()).toContain(`its pg_wal is a link to ${root}/fast`);
});

test('a tablespace_map that is a pipe is not waited for', async () => {
  expect(spawnSync('mkfifo', [join(data, 'tablespace_map')]).status).toBe(0);
  await expect(obstacle()).rejects.toThrow('no regular file');
});

test('each tablespace of the configuration has a directory of its own, told by a variable', () => {
  const tablespaces = new Map([
    ['fast', '/fast/shop'],
    ['/old/slow', '/fast/shop'],
  ]);
  const made = newParts({ tablespaces, walDirectory: '/wal' });
  expect([...made.keys()]).toEqual([
    ...['PG_SENTINEL_TABLESPACE_fast', 'PG_SENTINEL_TABLESPACE__old_slow', 'PG_SENTINEL_WAL_DIRECTORY'],
  ]);
  const [fast = '', slow = '', wal = ''] = made.values();
  expect([fast, slow]).toEqual(
    Array(2).fill(expect.stringMatching(/^\/fast\/shop\/pg_sentinel-[0-9a-f]{8}$/)),
  );
  expect(fast).not.toBe(slow);
  expect(wal).toMatch(/^\/wal\/pg_sentinel-[0-9a-f]{8}$/);
});
