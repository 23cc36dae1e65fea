// What is done with the rights of PostgreSQL's user: nothing that he could not do himself, whatever paths and links he has made.
import { execFile } from 'node:child_process';
import {
  chmod,
  chown,
  lstat,
  mkdir,
  mkdtemp,
  readFile,
  readdir,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { UnreadableError } from './config-files.ts';
import {
  checkMayMake,
  configReaderOf,
  makeFileAsUser,
  readAsUser,
  removeAsUser,
  removeWithinAsUser,
  replaceFileAsUser,
} from './user-files.ts';

const NOBODY = 65_534;
const isRoot = process.getuid?.() === 0;
const self = { name: 'me', uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, owner: undefined };
const nobody = { name: 'nobody', uid: NOBODY, gid: NOBODY, owner: { uid: NOBODY, gid: NOBODY } };
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pg-sentinel-user-files-'));
  await chmod(folder, 0o755);
});
afterEach(() => rm(folder, { recursive: true }));

test('a link is removed, what it leads to stays', async () => {
  await mkdir(join(folder, 'theirs', 'deep'), { recursive: true });
  await symlink(join(folder, 'theirs'), join(folder, 'link'));
  await removeAsUser(self, join(folder, 'link'));
  await removeAsUser(self, join(folder, 'none'));
  expect(await readdir(folder)).toEqual(['theirs']);
  await removeAsUser(self, join(folder, 'theirs'));
  expect(await readdir(folder)).toEqual([]);
});

test('within a directory only what has such a name is removed', async () => {
  await mkdir(join(folder, 'PG_15_1', 'deep'), { recursive: true });
  await writeFile(join(folder, 'other'), '');
  await removeWithinAsUser(self, folder, /^PG_\d+_\d+$/);
  expect(await readdir(folder)).toEqual(['other']);
});

test('a pipe is not waited for, and nothing is read that is no file', async () => {
  const pipe = join(folder, 'pipe');
  await promisify(execFile)('mkfifo', [pipe]);
  await expect(readAsUser(self, pipe)).rejects.toThrow(/no regular file/);
  await expect(readAsUser(self, folder)).rejects.toThrow(/no regular file/);
  expect(await readAsUser(self, join(folder, 'none'))).toBeUndefined();
});

test('a new file never takes the place of another one', async () => {
  const path = join(folder, 'new', 'a.conf');
  await makeFileAsUser(self, path, 'one');
  await expect(makeFileAsUser(self, path, 'two')).rejects.toThrow(/EEXIST/);
  expect(await readFile(path, 'utf8')).toBe('one');
  await replaceFileAsUser(self, path, 'two');
  expect(await readFile(path, 'utf8')).toBe('two');
  expect(await readdir(join(folder, 'new'))).toEqual(['a.conf']);
});

describe.skipIf(!isRoot)('of another user (needs root)', () => {
  test('what only root may read is not read', async () => {
    const shadow = join(folder, 'shadow');
    await writeFile(shadow, 'secret', { mode: 0o600 });
    await symlink(shadow, join(folder, 'pg_ident.conf'));
    await expect(readAsUser(nobody, join(folder, 'pg_ident.conf'))).rejects.toThrow(/EACCES/);
    await expect(configReaderOf(nobody).read(shadow)).rejects.toThrow(UnreadableError);
  });

  test('what only root may write is not written, and that is known before', async () => {
    const path = join(folder, 'cron.conf');
    await expect(checkMayMake(nobody, join(folder, 'a', 'b.conf'))).rejects.toThrow(/as nobody: EACCES/);
    await expect(makeFileAsUser(nobody, path, '')).rejects.toThrow(/EACCES/);
    expect(await readdir(folder)).toEqual([]);
  });

  test('what is not his is not removed', async () => {
    await mkdir(join(folder, 'etc', 'deep'), { recursive: true });
    await expect(removeAsUser(nobody, join(folder, 'etc'))).rejects.toThrow(/EACCES/);
    expect(await readdir(join(folder, 'etc'))).toEqual(['deep']);
  });

  test('his own directory goes, also out of one that is not his', async () => {
    const own = join(folder, 'own');
    await mkdir(own);
    await writeFile(join(own, 'rows'), '');
    await chown(own, NOBODY, NOBODY);
    await removeAsUser(nobody, own);
    await expect(lstat(own)).rejects.toThrow(/ENOENT/);
  });
});
