// Between the beginning of a copy and its end somebody may put a directory of his own into the place.
import { mkdir, mkdtemp, readFile, readdir, rename, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ChangedPlaceError, lookAtPlace, mustBeEmpty, putIntoPlace } from './clone-place.ts';

let folder: string;
let dataDirectory: string;
let fresh: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pg-sentinel-place-'));
  dataDirectory = join(folder, 'data');
  fresh = join(folder, 'data.clone-00000001');
  await mkdir(fresh);
  await writeFile(join(fresh, 'standby.signal'), '');
});
afterEach(() => rm(folder, { recursive: true }));

async function makeDatabase(path: string, text = 'of somebody'): Promise<void> {
  await mkdir(join(path, 'global'), { recursive: true });
  await writeFile(join(path, 'PG_VERSION'), text);
  await writeFile(join(path, 'global/pg_control'), text);
}

const versionIn = (path: string): Promise<string> => readFile(join(path, 'PG_VERSION'), 'utf8');

async function isRefused(before: Awaited<ReturnType<typeof lookAtPlace>>): Promise<void> {
  const entries = await readdir(folder);
  const error: unknown = await putIntoPlace(dataDirectory, fresh, before).catch((each: unknown) => each);
  expect(error).toBeInstanceOf(ChangedPlaceError);
  expect((error as Error).message).toMatch(
    /somebody has put something else there while it was copied \(.*move it away first/,
  );
  expect(await readdir(folder)).toEqual(entries);
}

describe('a place that was missing or empty', () => {
  test.each(['missing', 'empty'])('is taken where it is so yet: %s', async (kind) => {
    if (kind === 'empty') await mkdir(dataDirectory);
    const before = await lookAtPlace(dataDirectory);
    await mustBeEmpty(dataDirectory);
    await putIntoPlace(dataDirectory, fresh, before);
    expect(await readdir(folder)).toEqual(['data']);
    expect(await readdir(dataDirectory)).toEqual(['standby.signal']);
  });

  test.each(['missing', 'empty'])(
    'is left to whoever has put a database there meanwhile: %s',
    async (kind) => {
      if (kind === 'empty') await mkdir(dataDirectory);
      const before = await lookAtPlace(dataDirectory);
      await makeDatabase(dataDirectory);
      await isRefused(before);
      expect(await versionIn(dataDirectory)).toBe('of somebody');
      await expect(mustBeEmpty(dataDirectory)).rejects.toThrow(/holds files by now \(PG_VERSION, global\)/);
    },
  );

  test('is left to somebody whose directory comes at the very last moment', async () => {
    await makeDatabase(join(folder, 'aside'));
    const before = await lookAtPlace(dataDirectory);
    const done = putIntoPlace(dataDirectory, fresh, before);
    await rename(join(folder, 'aside'), dataDirectory).catch(() => undefined);
    // Whoever was first has it whole; nothing is moved away.
    const isPut = await done.then(
      () => true,
      () => false,
    );
    const kept = isPut ? join(folder, 'aside') : dataDirectory;
    expect(await versionIn(kept)).toBe('of somebody');
    expect((await readdir(folder)).filter((name) => name.includes('replaced'))).toEqual([]);
  });

  test('a link to an empty directory gives way, and what it leads to stays', async () => {
    await mkdir(join(folder, 'elsewhere'));
    await symlink(join(folder, 'elsewhere'), dataDirectory);
    await putIntoPlace(dataDirectory, fresh, await lookAtPlace(dataDirectory));
    expect(await readdir(folder)).toEqual(['data', 'data.pg_sentinel_replaced', 'elsewhere']);
    expect(await readdir(dataDirectory)).toEqual(['standby.signal']);
  });

  test('a link that leads nowhere is said before anything is copied', async () => {
    await symlink(join(folder, 'unmounted'), dataDirectory);
    await expect(lookAtPlace(dataDirectory)).rejects.toThrow(/symbolic link that leads nowhere/);
  });
});

describe('a place with a directory that the clone is to replace', () => {
  beforeEach(async () => {
    await makeDatabase(dataDirectory, 'the old one');
    const then = new Date('2026-01-01');
    await utimes(join(dataDirectory, 'global/pg_control'), then, then);
  });

  test('is taken, and the directory kept beside it', async () => {
    await putIntoPlace(dataDirectory, fresh, await lookAtPlace(dataDirectory));
    expect(await versionIn(join(folder, 'data.pg_sentinel_replaced'))).toBe('the old one');
    expect(await readdir(dataDirectory)).toEqual(['standby.signal']);
  });

  test('is taken where somebody has emptied or removed it meanwhile', async () => {
    const before = await lookAtPlace(dataDirectory);
    await rm(dataDirectory, { recursive: true });
    await mkdir(dataDirectory);
    await putIntoPlace(dataDirectory, fresh, before);
    expect(await readdir(folder)).toEqual(['data']);
    expect(await readdir(dataDirectory)).toEqual(['standby.signal']);
  });

  test('is left to another directory that has come there', async () => {
    const before = await lookAtPlace(dataDirectory);
    await rename(dataDirectory, join(folder, 'aside'));
    await makeDatabase(dataDirectory);
    await isRefused(before);
    expect(await versionIn(dataDirectory)).toBe('of somebody');
  });

  test('is left to what was restored into the same directory', async () => {
    const before = await lookAtPlace(dataDirectory);
    await rm(join(dataDirectory, 'PG_VERSION'));
    await rm(join(dataDirectory, 'global'), { recursive: true });
    await makeDatabase(dataDirectory);
    await isRefused(before);
    expect(await versionIn(dataDirectory)).toBe('of somebody');
  });

  test('is left where another member came into it, or PostgreSQL has run on it', async () => {
    const before = await lookAtPlace(dataDirectory);
    await writeFile(join(dataDirectory, 'pg_sentinel_member.json'), '{}');
    await isRefused(before);
    const later = await lookAtPlace(dataDirectory);
    await writeFile(join(dataDirectory, 'global/pg_control'), 'written again');
    await isRefused(later);
  });
});
