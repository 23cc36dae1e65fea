import { chmod, chown, lstat, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { execFileSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { giveTo, type OsUser } from './os-user.ts';
import { makeDirectory } from './own-directories.ts';
import { copyAsUser } from './user-files.ts';

const isRoot = process.getuid?.() === 0;
const user: OsUser = { name: 'nobody', uid: 65534, gid: 65534, owner: { uid: 65534, gid: 65534 } };

let root: string;
const at = (name: string): string => join(root, name);
const ownerOf = async (name: string): Promise<number> => (await lstat(at(name))).uid;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'pg-sentinel-links-'));
  await chmod(root, 0o755);
});
afterEach(() => rm(root, { recursive: true }));

test.runIf(isRoot)(
  'what is given away is what is named, never what a link leads to (needs root)',
  async () => {
    await mkdir(at('secret'), { mode: 0o700 });
    await symlink(at('secret'), at('link'));
    await expect(makeDirectory(user, at('link'))).rejects.toThrow(
      /link is a symbolic link to a directory that belongs to user 0, not to nobody: it is not given away/,
    );
    await giveTo(user, at('link'));
    expect([await ownerOf('secret'), await ownerOf('link')]).toEqual([0, 65534]);
    // An administrator's own way to put it on another disk.
    await chown(at('secret'), user.uid, user.gid);
    await makeDirectory(user, at('link'));
    await makeDirectory(user, at('made/below'));
    expect([await ownerOf('made'), await ownerOf('made/below')]).toEqual([65534, 65534]);
    await mkdir(at('there'));
    await makeDirectory(user, at('there'));
    expect(await ownerOf('there')).toBe(65534);
    await mkdir(at('open'));
    await chmod(at('open'), 0o1777);
    await makeDirectory(user, at('open'));
    expect(await ownerOf('open')).toBe(0);
  },
);

test.runIf(isRoot)(
  'in a directory of the user nothing is made with more rights than his (needs root)',
  async () => {
    await mkdir(at('secret'), { mode: 0o700 });
    await makeDirectory(user, at('his'));
    await symlink(at('secret'), at('his/link'));
    await expect(makeDirectory(user, at('his/link/below'))).rejects.toThrow(/as nobody: EACCES/);
    expect(await readdir(at('secret'))).toEqual([]);
    await mkdir(at('secret/there'));
    await expect(makeDirectory(user, at('his/link/there'))).rejects.toThrow(
      /there leads by a link to .*secret\/there, which belongs to somebody else than nobody/,
    );
    expect(await ownerOf('secret/there')).toBe(0);
    // Such as the root of a file system that was mounted there.
    await mkdir(at('his/new'));
    await makeDirectory(user, at('his/new'));
    expect(await ownerOf('his/new')).toBe(65534);
    await makeDirectory(user, at('his/own/below'));
    expect(await ownerOf('his/own/below')).toBe(65534);
  },
);

test.runIf(isRoot)(
  'a copy for the user holds nothing that he could not read, and waits for no pipe (needs root)',
  async () => {
    await makeDirectory(user, at('wal'));
    await makeDirectory(user, at('saved'));
    await writeFile(at('secret'), 'root only', { mode: 0o600 });
    await writeFile(at('wal/plain'), 'wal');
    await chmod(at('wal/plain'), 0o644);
    await symlink(at('secret'), at('wal/link'));
    execFileSync('mkfifo', ['-m', '666', at('wal/pipe')]);
    const copy = (name: string): Promise<void> =>
      copyAsUser(user, { directory: at('wal'), names: [name] }, at('saved/copy'), {
        timeoutMs: 30_000,
        signal: new AbortController().signal,
      });
    await expect(copy('link')).rejects.toThrow(/as nobody: EACCES/);
    await expect(copy('pipe')).rejects.toThrow(/pipe is no regular file/);
    await copy('plain');
    expect(await readdir(at('saved/copy'))).toEqual(['plain']);
    expect(await ownerOf('saved/copy/plain')).toBe(65534);
  },
);
