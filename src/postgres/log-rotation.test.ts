import { mkdtemp, open, readFile, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { rotateLog } from './log-rotation.ts';

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pg-sentinel-log-'));
  path = join(folder, 'pg1.log');
});
afterEach(() => rm(folder, { recursive: true }));

const rotate = (bytesMax = 10) => rotateLog({ path, rotation: { bytesMax, fileCount: 2 }, owner: undefined });

test('a file that is too large is emptied, for whoever has it open as well; so many older ones are kept', async () => {
  const writer = await open(path, 'a');
  for (const text of ['first file, long', 'second file, long', 'third file, long']) {
    await writer.write(text);
    expect(await rotate()).toBe(true);
  }
  await writer.write('now');
  await writer.close();
  expect(await rotate()).toBe(false);
  expect((await readdir(folder)).toSorted()).toEqual(['pg1.log', 'pg1.log.1', 'pg1.log.2']);
  const texts = ['pg1.log', 'pg1.log.1', 'pg1.log.2'].map((name) => readFile(join(folder, name), 'utf8'));
  expect(await Promise.all(texts)).toEqual(['now', 'third file, long', 'second file, long']);
  expect((await stat(`${path}.1`)).mode & 0o777).toBe(0o600);
});

test('one that is not there, or small enough, is left alone', async () => {
  expect(await rotate()).toBe(false);
  await writeFile(path, '0123456789');
  expect(await rotate()).toBe(false);
});

test('a link is not followed', async () => {
  await writeFile(join(folder, 'precious'), 'more than ten bytes');
  await symlink(join(folder, 'precious'), path);
  await expect(rotate()).rejects.toThrow(/ELOOP/);
  expect(await readFile(join(folder, 'precious'), 'utf8')).toBe('more than ten bytes');
});
