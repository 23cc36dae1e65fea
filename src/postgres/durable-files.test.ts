// Files in a directory of somebody else's: only regular ones of his own are read.
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readOwnFile, readOwnFileSync } from './durable-files.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'own-file-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const own = { uid: process.getuid?.() ?? -1, gid: process.getgid?.() ?? -1 };

test('a regular file of the owner is read; one that is not there is undefined', async () => {
  const path = join(directory, 'a.conf');
  expect(await readOwnFile(path, own)).toBeUndefined();
  await writeFile(path, 'text');
  expect(await readOwnFile(path, own)).toBe('text');
  expect(await readOwnFile(path, undefined)).toBe('text');
  expect(readOwnFileSync(path, own, 4)).toBe('text');
  expect(readOwnFileSync(join(directory, 'none'), own)).toBeUndefined();
});

test('a link, something that is no file, and a file of another user are not', async () => {
  const path = join(directory, 'a.conf');
  await writeFile(path, 'secret');
  const link = join(directory, 'link');
  await symlink(path, link);
  await expect(readOwnFile(link, undefined)).rejects.toThrow(/link is a symbolic link/);
  await expect(readOwnFile(directory, undefined)).rejects.toThrow(/is no regular file/);
  await expect(readOwnFile(path, { ...own, uid: own.uid + 1 })).rejects.toThrow(/belongs to user/);
});

test(
  'nor is a pipe, which would be waited for, or a file that is too large',
  { timeout: 20_000 },
  async () => {
    const pipe = join(directory, 'pipe');
    execFileSync('mkfifo', [pipe]);
    const path = join(directory, 'a.conf');
    await writeFile(path, 'text');
    await expect(readOwnFile(pipe, undefined)).rejects.toThrow(/is no regular file/);
    expect(() => readOwnFileSync(pipe, undefined)).toThrow(/is no regular file/);
    await expect(readOwnFile(path, undefined, 3)).rejects.toThrow(
      /has 4 bytes, where 3 are expected at most/,
    );
    expect(() => readOwnFileSync(path, undefined, 3)).toThrow(/has 4 bytes/);
  },
);
