// Files that a server names: read by the server, and written with no more rights than its user has.
import { chmod, chown, mkdtemp, readFile, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { OsUser } from './os-user.ts';
import { readServerFile, writeAsUser } from './server-files.ts';
import type { Session } from './session.ts';

const NOBODY = 65_534;
const isRoot = process.getuid?.() === 0;
const self: OsUser = {
  name: 'me',
  uid: process.getuid?.() ?? 0,
  gid: process.getgid?.() ?? 0,
  owner: undefined,
};
const nobody: OsUser = { name: 'nobody', uid: NOBODY, gid: NOBODY, owner: { uid: NOBODY, gid: NOBODY } };
let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'pg-sentinel-server-files-'));
});
afterEach(() => rm(directory, { recursive: true }));

describe('a file is written as the user', () => {
  test('and keeps its mode; nothing else is left', async () => {
    const path = join(directory, 'pg_hba.conf');
    await writeFile(path, 'a much longer text than before', { mode: 0o640 });
    await writeAsUser(self, path, 'new\n');
    expect(await readFile(path, 'utf8')).toBe('new\n');
    expect((await stat(path)).mode & 0o777).toBe(0o640);
    expect(await readdir(directory)).toEqual(['pg_hba.conf']);
  });

  test('never through a link', async () => {
    const target = join(directory, 'theirs');
    await writeFile(target, 'secret');
    await symlink(target, join(directory, 'link'));
    await expect(writeAsUser(self, join(directory, 'link'), 'new')).rejects.toThrow(/no regular file/);
    await expect(writeAsUser(self, join(directory, 'none'), 'new')).rejects.toThrow(/ENOENT/);
    expect(await readFile(target, 'utf8')).toBe('secret');
  });

  test.skipIf(!isRoot)('only where it is its own (needs root, to give a file away)', async () => {
    await chmod(directory, 0o777);
    const path = join(directory, 'shadow');
    await writeFile(path, 'secret', { mode: 0o644 });
    await expect(writeAsUser(nobody, path, 'new')).rejects.toThrow(/belongs to another user/);
    expect(await readFile(path, 'utf8')).toBe('secret');
    await chown(path, NOBODY, NOBODY);
    await writeAsUser(nobody, path, 'new');
    expect((await stat(path)).uid).toBe(NOBODY);
  });

  test.skipIf(!isRoot)(
    'in a directory of somebody else’s too (needs root, to give a file away)',
    async () => {
      await chmod(directory, 0o755);
      const path = join(directory, 'pg_hba.conf');
      await writeFile(path, 'a longer text', { mode: 0o640 });
      await chown(path, NOBODY, NOBODY);
      await writeAsUser(nobody, path, 'new');
      expect(await readFile(path, 'utf8')).toBe('new');
    },
  );
});

describe('a file is read by the server', () => {
  const session = (bytes: Uint8Array | null): Pick<Session, 'query'> => ({
    query: <Row extends object>(text: string) => {
      expect(text).toContain('pg_read_binary_file');
      return Promise.resolve([{ bytes }] as unknown as Row[]);
    },
  });
  const read = (bytes: Uint8Array | null) => readServerFile(session(bytes), '/etc/x', { timeoutMs: 1 });

  test('where there is one', async () => {
    expect(await read(Buffer.from('text'))).toBe('text');
    expect(await read(null)).toBeUndefined();
  });

  test('and not where it is too large', async () => {
    await expect(read(Buffer.alloc((1 << 20) + 1))).rejects.toThrow(/more than 1048576 bytes/);
  });
});
