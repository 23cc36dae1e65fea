// What a clone has replaced: out of the way at once, gone later, whoever began to remove it.
import { existsSync, readdirSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { cloneStandby, discardReplaced, type CloneOptions } from './clone.ts';

let folder: string;
let dataDirectory: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pg-sentinel-clone-'));
  dataDirectory = join(folder, 'data');
  await mkdir(dataDirectory);
  await writeFile(join(dataDirectory, 'PG_VERSION'), '15\n');
});
afterEach(() => rm(folder, { recursive: true }));

/** With a tablespace in `space`. */
async function makeOld(name: string): Promise<void> {
  await mkdir(join(folder, name, 'pg_tblspc'), { recursive: true });
  await mkdir(join(folder, 'space', 'PG_15_202209061'), { recursive: true });
  await symlink(join(folder, 'space'), join(folder, name, 'pg_tblspc', '16400'));
}

test('the directory that was replaced is moved away at once and removed in the background', async () => {
  await makeOld('data.pg_sentinel_replaced');
  const { removal } = await discardReplaced(dataDirectory);
  expect(existsSync(`${dataDirectory}.pg_sentinel_replaced`)).toBe(false);
  expect(readdirSync(folder).filter((name) => name.includes('_discarded-'))).toHaveLength(1);
  await removal;
  expect(await readdir(folder)).toEqual(['data', 'space']);
  expect(await readdir(join(folder, 'space'))).toEqual([]);
  expect(await readFile(join(dataDirectory, 'PG_VERSION'), 'utf8')).toBe('15\n');
});

test('what an earlier sentineld had begun to remove is removed, by the next clone at the latest', async () => {
  await makeOld('data.pg_sentinel_discarded-00000001');
  await (
    await discardReplaced(dataDirectory)
  ).removal;
  expect(await readdir(folder)).toEqual(['data', 'space']);
  await makeOld('data.pg_sentinel_discarded-00000002');
  // Nobody answers there.
  const source = { host: '127.0.0.1', port: 1, user: 'nobody', password: '', applicationName: 'test' };
  const options = { dataDirectory, source, user: { owner: undefined }, binaries: { has: {} } };
  await expect(cloneStandby(options as unknown as CloneOptions)).rejects.toThrow(/ECONNREFUSED/);
  expect((await readdir(folder)).filter((name) => name.includes('_discarded-'))).toEqual([]);
  expect(await readdir(join(folder, 'space'))).toEqual([]);
});
