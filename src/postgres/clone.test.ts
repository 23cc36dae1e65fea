// What a clone has replaced: out of the way at once, gone later, whoever began to remove it.
import { existsSync, readdirSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { cloneStandby, finishInterruptedClone, type CloneOptions } from './clone.ts';
import { discardInterrupted, discardReplaced, moveDirectory, takePlace } from './replaced.ts';
import { isRewindInterrupted, rewindMarker } from './rewind-marker.ts';

const user = { name: 'me', uid: 0, gid: 0, owner: undefined };
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
  await writeFile(join(folder, name, 'PG_VERSION'), '15\n');
  await mkdir(join(folder, 'space', 'PG_15_202209061'), { recursive: true });
  await symlink(join(folder, 'space'), join(folder, name, 'pg_tblspc', '16400'));
}

test('the directory that was replaced is moved away at once and removed in the background', async () => {
  await makeOld('data.pg_sentinel_replaced');
  const { removal } = await discardReplaced(dataDirectory, user);
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
    await discardReplaced(dataDirectory, user)
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
  expect(await discardInterrupted({ dataDirectory, user })).toBe(false);
  expect(await readFile(join(dataDirectory, 'PG_VERSION'), 'utf8')).toBe('15\n');
  await writeFile(rewindMarker(dataDirectory), '');
  expect(await discardInterrupted({ dataDirectory, user })).toBe(true);
  expect(await readdir(folder)).toEqual(['space']);
  expect(await readdir(join(folder, 'space'))).toEqual([]);
});

test('what a clone of doubtful use has replaced is removed for room only where its own rewind was interrupted', async () => {
  const old = `${dataDirectory}.pg_sentinel_replaced`;
  await mkdir(old);
  expect(await discardInterrupted({ dataDirectory, user })).toBe(false);
  await writeFile(rewindMarker(old), '');
  expect(await discardInterrupted({ dataDirectory, user })).toBe(true);
  expect(await readdir(folder)).toEqual(['data']);
});

describe('whatever a crash interrupts', () => {
  const old = (): string => `${dataDirectory}.pg_sentinel_replaced`;
  const makeClone = async (): Promise<string> => {
    const fresh = `${dataDirectory}.clone-00000001`;
    await mkdir(fresh);
    await writeFile(join(fresh, 'standby.signal'), '');
    return fresh;
  };

  test('a clone that came to its place afterwards is fit, though what it replaced was not', async () => {
    await makeClone();
    await writeFile(rewindMarker(dataDirectory), '');
    await moveDirectory(dataDirectory, old());
    await writeFile(rewindMarker(dataDirectory), '');
    await finishInterruptedClone({ dataDirectory, user });
    expect(await readdir(dataDirectory)).toEqual(['standby.signal']);
    expect(await isRewindInterrupted(dataDirectory)).toBe(false);
    expect(await isRewindInterrupted(old())).toBe(true);
  });

  test('a fit directory that comes back does not get the marker of one that made room', async () => {
    // Between the move of what had to make room and the removal of its marker.
    await rename(dataDirectory, old());
    await writeFile(rewindMarker(dataDirectory), '');
    await finishInterruptedClone({ dataDirectory, user });
    expect(await readdir(dataDirectory)).toEqual(['PG_VERSION']);
    expect(await isRewindInterrupted(dataDirectory)).toBe(false);
  });

  test('one that is unfit keeps its marker when it comes back', async () => {
    await rename(dataDirectory, old());
    await writeFile(rewindMarker(old()), '');
    await finishInterruptedClone({ dataDirectory, user });
    expect(await isRewindInterrupted(dataDirectory)).toBe(true);
    expect(await readdir(folder)).toEqual(['data', 'data.rewinding']);
  });

  test('a fit directory that is replaced does not get the marker of the one that was replaced before', async () => {
    // Between the move of that and the removal of its marker.
    await writeFile(rewindMarker(old()), '');
    await takePlace(dataDirectory, await makeClone());
    expect(await isRewindInterrupted(old())).toBe(false);
    expect(await discardInterrupted({ dataDirectory, user })).toBe(false);
    expect(await readdir(old())).toEqual(['PG_VERSION']);
  });

  test('no marker stays of what was moved away to be removed: neither beside the data directory nor in its place', async () => {
    await writeFile(rewindMarker(old()), '');
    await finishInterruptedClone({ dataDirectory, user });
    expect(await readdir(folder)).toEqual(['data']);
    await rename(dataDirectory, `${dataDirectory}.pg_sentinel_discarded-00000001`);
    await writeFile(rewindMarker(dataDirectory), '');
    await finishInterruptedClone({ dataDirectory, user });
    expect(await readdir(folder)).toEqual(['data.pg_sentinel_discarded-00000001']);
  });

  test('a link to what cannot be reached now keeps its marker', async () => {
    await rename(dataDirectory, join(folder, 'elsewhere'));
    await symlink(join(folder, 'unmounted', 'data'), dataDirectory);
    await writeFile(rewindMarker(dataDirectory), '');
    await finishInterruptedClone({ dataDirectory, user });
    expect(await isRewindInterrupted(dataDirectory)).toBe(true);
  });

  test('a clone that is replaced is under a name that nobody starts before any of it is removed', async () => {
    await mkdir(old());
    await takePlace(dataDirectory, await makeClone());
    expect(await readdir(dataDirectory)).toEqual(['standby.signal']);
    const discarded = (await readdir(folder)).filter((name) => name.includes('_discarded-'));
    expect(await readdir(join(folder, discarded[0] ?? ''))).toEqual(['PG_VERSION']);
  });
});
