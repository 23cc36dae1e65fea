// What a clone has replaced: out of the way at once, gone later, whoever began to remove it.
import { existsSync, readdirSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { cloneStandby, finishInterruptedClone, type CloneOptions } from './clone.ts';
import { discardInterrupted, discardReplaced } from './replaced.ts';
import { isRewindInterrupted, rewindMarker } from './rewind-marker.ts';

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

test('what an interrupted rewind left is removed for room, with its tablespaces and its marker; a fit one stays', async () => {
  await makeOld('data');
  expect(await discardInterrupted({ dataDirectory })).toBe(false);
  expect(await readFile(join(dataDirectory, 'PG_VERSION'), 'utf8')).toBe('15\n');
  await writeFile(rewindMarker(dataDirectory), '');
  expect(await discardInterrupted({ dataDirectory })).toBe(true);
  expect(await readdir(folder)).toEqual(['space']);
  expect(await readdir(join(folder, 'space'))).toEqual([]);
});

test('what a clone of doubtful use has replaced is removed for room only where its own rewind was interrupted', async () => {
  const old = `${dataDirectory}.pg_sentinel_replaced`;
  await mkdir(old);
  expect(await discardInterrupted({ dataDirectory })).toBe(false);
  await writeFile(rewindMarker(old), '');
  expect(await discardInterrupted({ dataDirectory })).toBe(true);
  expect(await readdir(folder)).toEqual(['data']);
});

test('a clone that came to its place after a crash is fit, though what it replaced was not', async () => {
  // Between the move of the old directory and that of its marker.
  const fresh = `${dataDirectory}.clone-00000001`;
  await mkdir(fresh);
  await writeFile(join(fresh, 'standby.signal'), '');
  await rename(dataDirectory, `${dataDirectory}.pg_sentinel_replaced`);
  await writeFile(rewindMarker(dataDirectory), '');
  await finishInterruptedClone(dataDirectory);
  expect(await readdir(dataDirectory)).toEqual(['standby.signal']);
  expect(await isRewindInterrupted(dataDirectory)).toBe(false);
  expect(await isRewindInterrupted(`${dataDirectory}.pg_sentinel_replaced`)).toBe(true);
});
