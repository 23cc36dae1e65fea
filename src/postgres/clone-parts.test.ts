// What a copy has made outside of its own directory is found again after a kill, and nothing else is.
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { beginParts, makeParts, partsFile } from './clone-parts.ts';
import { finishInterruptedClone } from './clone.ts';
import { removeInterruptedInit } from './initdb.ts';
import type { OsUser } from './os-user.ts';

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
  await makeParts(user, copy, [join(folder, 'space'), join(folder, 'pg_sentinel-00000001')]);
  await mkdir(join(folder, 'space', 'PG_15_202209061'));
  await writeFile(join(folder, 'space', 'PG_15_202209061', 'rows'), '');
  await writeFile(join(folder, 'pg_sentinel-00000001', 'segment'), '');
  await finishInterruptedClone({ dataDirectory: join(folder, 'data'), user });
  expect(await readdir(folder)).toEqual([]);
});

test('what was there before stays, whoever made it', async () => {
  await beginParts(copy);
  await mkdir(join(folder, 'theirs'));
  await expect(makeParts(user, copy, [join(folder, 'ours'), join(folder, 'theirs')])).rejects.toThrow(
    'EEXIST',
  );
  await finishInterruptedClone({ dataDirectory: join(folder, 'data'), user });
  expect(await readdir(folder)).toEqual(['theirs']);
});

test.each(['init', 'clone'])('a list that a kill kept from being written is removed: %s', async (kind) => {
  const [unmade, begun] = [1, 2].map((at) => join(folder, `data.${kind}-0000000${at}`)) as [string, string];
  await writeFile(`${unmade}.parts.new`, '');
  await beginParts(begun);
  await mkdir(begun);
  await writeFile(`${begun}.parts.new`, '{"ma');
  await writeFile(join(folder, 'data.parts.new'), 'not ours');
  const tidyUp = kind === 'init' ? removeInterruptedInit : finishInterruptedClone;
  await tidyUp({ dataDirectory: join(folder, 'data'), user });
  expect(await readdir(folder)).toEqual(['data.parts.new']);
});

test('a whole copy comes into its place where there is none', async () => {
  await mkdir(copy);
  await writeFile(join(copy, 'standby.signal'), '');
  await finishInterruptedClone({ dataDirectory: join(folder, 'data'), user });
  expect(await readdir(folder)).toEqual(['data']);
  expect(existsSync(partsFile(copy))).toBe(false);
});

describe('a list that may be forged', () => {
  const notes: string[] = [];
  const tidyUp = (as: OsUser): Promise<void> =>
    finishInterruptedClone({
      dataDirectory: join(folder, 'data'),
      user: as,
      onNote: (message) => void notes.push(message),
    });
  beforeEach(async () => {
    notes.length = 0;
    await mkdir(join(folder, 'theirs'));
    await writeFile(join(folder, 'theirs', 'passwd'), '');
  });

  test('removes nothing that is not named as what is made for a copy', async () => {
    const made = [join(folder, 'theirs')];
    await writeFile(partsFile(copy), JSON.stringify({ made, next: made[0] }));
    await tidyUp(user);
    expect(await readdir(folder)).toEqual(['theirs']);
    expect(await readdir(join(folder, 'theirs'))).toEqual(['passwd']);
  });

  test.skipIf(process.getuid?.() !== 0)(
    'removes nothing that the user could not (needs root, for another user)',
    async () => {
      await chmod(folder, 0o755);
      const nobody = { name: 'nobody', uid: 65_534, gid: 65_534, owner: { uid: 65_534, gid: 65_534 } };
      const named = join(folder, 'pg_sentinel-00000001');
      await mkdir(join(named, 'PG_15_1'), { recursive: true });
      await writeFile(join(named, 'PG_15_1', 'rows'), '');
      await writeFile(partsFile(copy), JSON.stringify({ made: [named] }));
      await tidyUp(nobody);
      expect(await readdir(join(named, 'PG_15_1'))).toEqual(['rows']);
      expect(notes).toEqual([expect.stringContaining('could not be removed')]);
    },
  );

  test.skipIf(process.getuid?.() !== 0)(
    'and one that was never written are removed where only root may (needs root, for another user)',
    async () => {
      await chmod(folder, 0o755);
      const nobody = { name: 'nobody', uid: 65_534, gid: 65_534, owner: { uid: 65_534, gid: 65_534 } };
      await writeFile(partsFile(copy), JSON.stringify({ made: [] }));
      await writeFile(`${partsFile(copy)}.new`, '{"ma');
      await tidyUp(nobody);
      expect([await readdir(folder), notes]).toEqual([['theirs'], []]);
    },
  );

  test.each([
    ['no JSON', (path: string) => writeFile(path, '{"made":')],
    ['a relative path', (path: string) => writeFile(path, '{"made":["../theirs"]}')],
    ['a link', (path: string) => symlink(join(folder, 'theirs', 'passwd'), path)],
    ['a pipe, which nobody writes to', (path: string) => promisify(execFile)('mkfifo', [path])],
  ])('is reported, and removes nothing: %s', async (_, make) => {
    await mkdir(copy);
    await make(partsFile(copy));
    await tidyUp(user);
    expect(notes).toEqual([expect.stringContaining('could not be removed')]);
    expect((await readdir(folder)).toSorted()).toEqual([
      'data.clone-00000001',
      'data.clone-00000001.parts',
      'theirs',
    ]);
  });
});
