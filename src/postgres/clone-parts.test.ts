// What a copy has made outside of its own directory is found again after a kill, and nothing else is.
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { beginParts, makeParts, partsFile } from './clone-parts.ts';
import { finishInterruptedClone } from './clone.ts';

const user = { name: 'x', uid: 1, gid: 1, owner: undefined };
let folder: string;
let copy: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pg-sentinel-parts-'));
  copy = join(folder, 'data.clone-00000001');
});
afterEach(() => rm(folder, { recursive: true }));

test('the parts of a copy that never became whole are removed with it, though it has no links to them yet', async () => {
  await beginParts(copy);
  await mkdir(copy);
  // Of a standby: it says nothing about the copy.
  await writeFile(join(copy, 'standby.signal'), '');
  await makeParts(user, copy, [join(folder, 'space'), join(folder, 'wal')]);
  await writeFile(join(folder, 'space', 'rows'), '');
  await finishInterruptedClone(join(folder, 'data'));
  expect(await readdir(folder)).toEqual([]);
});

test('what was there before stays, whoever made it', async () => {
  await beginParts(copy);
  await mkdir(join(folder, 'theirs'));
  await expect(makeParts(user, copy, [join(folder, 'ours'), join(folder, 'theirs')])).rejects.toThrow(
    'EEXIST',
  );
  await finishInterruptedClone(join(folder, 'data'));
  expect(await readdir(folder)).toEqual(['theirs']);
});

test('a whole copy comes into its place where there is none', async () => {
  await mkdir(copy);
  await writeFile(join(copy, 'standby.signal'), '');
  await finishInterruptedClone(join(folder, 'data'));
  expect(await readdir(folder)).toEqual(['data']);
  expect(existsSync(partsFile(copy))).toBe(false);
});
