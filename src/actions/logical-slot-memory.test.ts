// What is kept of the logical slots of a data directory over a restart of sentineld, and for how long it counts.
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rename, rm, rmdir, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { memberId } from '../base/ids.ts';
import { type KnownSlot, isFitAfter, isFitOn, openSlotMemory } from './logical-slot-memory.ts';

const [HERE, NEW] = [memberId('pg1_00000001'), memberId('pg1_00000002')];
const CDC = {
  ...{ name: 'cdc', setAt: 7, text: 'app:pgoutput', standing: 'unfit', timeline: 1 },
  ...{ incarnation: 1, isOurs: true },
} as const satisfies KnownSlot;

let root: string;
let path: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'pg-sentinel-slot-memory-'));
  path = join(root, 'slots.json');
});
afterEach(() => rm(root, { recursive: true }));

test('it is of one data directory, and outlives the process', async () => {
  const memory = openSlotMemory(path);
  await memory.note(HERE, CDC, { ...CDC, name: 'other', standing: 'fit' });
  await memory.note(HERE, { ...CDC, standing: 'fit', stream: '5 6' });
  await memory.forget(HERE, 'other');
  const again = openSlotMemory(path);
  expect(await again.all(HERE)).toEqual([{ ...CDC, standing: 'fit', stream: '5 6' }]);
  // A rewind or a clone makes it another one: nothing that was found fit before counts.
  expect(await again.all(NEW)).toEqual([]);
  await again.note(NEW, CDC);
  expect(await openSlotMemory(path).all(HERE)).toEqual([]);
});

test('who has made a slot, under which primary it was found fit: each change is durable', async () => {
  for (const change of [
    { isOurs: false },
    { text: 'app:test_decoding' },
    { formerAt: '0/70' },
    { timeline: 2 },
    { incarnation: 2 },
    { stream: '7 8' },
    { standing: 'gone' },
  ] as const) {
    await openSlotMemory(path).note(HERE, CDC);
    await openSlotMemory(path).note(HERE, { ...CDC, ...change });
    expect(await openSlotMemory(path).all(HERE)).toEqual([{ ...CDC, ...change }]);
  }
});

test('changes that come at once do not undo each other', async () => {
  const memory = openSlotMemory(path);
  await Promise.all(['a', 'b', 'c'].map((name) => memory.note(HERE, { ...CDC, name })));
  expect((await openSlotMemory(path).all(HERE)).map(({ name }) => name).sort()).toEqual(['a', 'b', 'c']);
});

test('a file that cannot be read at present is not taken for an empty one', async () => {
  await openSlotMemory(path).note(HERE, CDC);
  await rename(path, `${path}.aside`);
  await mkdir(path);
  const memory = openSlotMemory(path);
  await expect(memory.all(HERE)).rejects.toThrow(/is no regular file/);
  await expect(memory.note(HERE, { ...CDC, name: 'other' })).rejects.toThrow(/is no regular file/);
  await rmdir(path);
  await rename(`${path}.aside`, path);
  expect(await memory.all(HERE)).toEqual([CDC]);
});

test('a link there is not followed, and a pipe is not waited for: the directory is not its own', async () => {
  const elsewhere = join(root, 'elsewhere.json');
  await openSlotMemory(elsewhere).note(HERE, CDC);
  await symlink(elsewhere, path);
  await expect(openSlotMemory(path).all(HERE)).rejects.toThrow(/is a symbolic link/);
  await rm(path);
  execFileSync('mkfifo', [path]);
  await expect(openSlotMemory(path).all(HERE)).rejects.toThrow(/is no regular file/);
  await rm(path);
  await writeFile(path, ' '.repeat(2 << 20));
  await expect(openSlotMemory(path).all(HERE)).rejects.toThrow(/are expected at most/);
});

test('what was judged counts at once, and goes to the file as soon as that can be written', async () => {
  const memory = openSlotMemory(path);
  const fit = { ...CDC, standing: 'fit' } as const;
  await memory.note(HERE, fit, { ...fit, name: 'other' });
  await rename(root, `${root}.aside`);
  const unfit = { ...fit, name: 'other', standing: 'unfit' } as const;
  try {
    expect(await memory.judge(HERE, (slot) => (slot.name === 'other' ? unfit : slot))).toEqual([fit, unfit]);
    await expect(memory.keep()).rejects.toThrow(/ENOENT/);
    expect(await memory.all(HERE)).toEqual([fit, unfit]);
    // Though nothing about it is new, it is not durable yet.
    await expect(memory.note(HERE, fit)).rejects.toThrow(/ENOENT/);
  } finally {
    await rename(`${root}.aside`, root);
  }
  await memory.note(HERE, fit);
  expect(await openSlotMemory(path).all(HERE)).toEqual(expect.arrayContaining([fit, unfit]));
});

test('nothing is written where nothing has changed', async () => {
  const memory = openSlotMemory(path);
  await memory.note(HERE, CDC);
  const { ino } = await stat(path);
  await memory.note(HERE, { ...CDC });
  await memory.forget(HERE, 'other');
  expect((await stat(path)).ino).toBe(ino);
});

test.each([
  '',
  '{',
  '{"member":"pg1_00000001"}',
  '{"member":"pg1_00000001","slots":[{"name":1,"text":"a:b","setAt":7,"standing":"fit","timeline":1,"incarnation":1,"isOurs":true}]}',
  '{"member":"pg1_00000001","slots":[{"name":"cdc","setAt":7,"standing":"fit"}]}',
  '{"member":"pg1_00000001","slots":[{"name":"cdc","text":"a:b","setAt":7,"standing":"fit","timeline":1,"isOurs":true}]}',
  '{"member":"pg1_00000001","slots":[{"name":"cdc","setAt":7,"standing":"fit","timeline":1,"incarnation":1,"isOurs":true}]}',
])('what is not readable knows of no slot: %s', async (text) => {
  await writeFile(path, text);
  expect(await openSlotMemory(path).all(HERE)).toEqual([]);
});

describe('what was found fit under a primary is so', () => {
  const fit = { ...CDC, standing: 'fit', timeline: 3 } as const;

  test('on that primary, and on the one that takes over from it', () => {
    expect(isFitAfter(fit, { timeline: 3, parent: 2, opened: [2, 3] })).toBe(true);
    expect(isFitAfter(fit, { timeline: 4, parent: 3, opened: [2, 3] })).toBe(true);
    expect(isFitAfter(fit, { timeline: 4, parent: 3, opened: [2, 3, 4] })).toBe(true);
    // It had followed the primary of 3, and had no record of that timeline yet.
    expect(isFitAfter(fit, { timeline: 5, parent: 2, opened: [2, 3] })).toBe(true);
    // 4 was assigned, and never opened.
    expect(isFitAfter(fit, { timeline: 5, parent: 3, opened: [2, 3] })).toBe(true);
  });

  test('not once another primary has reigned in between, also where its writes were given up', () => {
    expect(isFitAfter(fit, { timeline: 5, parent: 4, opened: [2, 3, 4] })).toBe(false);
    expect(isFitAfter(fit, { timeline: 5, parent: 3, opened: [2, 3, 4, 5] })).toBe(false);
    expect(isFitAfter(fit, { timeline: 5, parent: 4, opened: [2, 3] })).toBe(false);
  });

  test('and what was not, or is not known, never is', () => {
    const reign = { timeline: 3, parent: 2, opened: [3] };
    expect(isFitAfter({ ...fit, standing: 'unfit' }, reign)).toBe(false);
    expect(isFitAfter({ ...fit, standing: 'gone' }, reign)).toBe(false);
    expect(isFitAfter({ ...fit, timeline: 9 }, reign)).toBe(false);
  });

  test('and on a primary nothing is but what was found so there, or by its promotion', () => {
    expect(isFitOn(fit, 3)).toBe(true);
    expect(isFitOn(fit, 4)).toBe(false);
    expect(isFitOn({ ...fit, standing: 'unfit' }, 3)).toBe(false);
    expect(isFitOn(undefined, 3)).toBe(false);
  });
});
