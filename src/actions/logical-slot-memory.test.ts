// What is kept of the logical slots of a data directory over a restart of sentineld, and for how long it counts.
import { mkdir, mkdtemp, rename, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { memberId } from '../base/ids.ts';
import { isFitAfter, openSlotMemory } from './logical-slot-memory.ts';

const [HERE, NEW] = [memberId('pg1_00000001'), memberId('pg1_00000002')];
const CDC = { name: 'cdc', setAt: 7, standing: 'unfit', timeline: 1, incarnation: 1, isOurs: true } as const;

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
  await expect(memory.all(HERE)).rejects.toThrow(/EISDIR/);
  await expect(memory.note(HERE, { ...CDC, name: 'other' })).rejects.toThrow(/EISDIR/);
  await rmdir(path);
  await rename(`${path}.aside`, path);
  expect(await memory.all(HERE)).toEqual([CDC]);
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
  '{"member":"pg1_00000001","slots":[{"name":1,"setAt":7,"standing":"fit","timeline":1,"incarnation":1,"isOurs":true}]}',
  '{"member":"pg1_00000001","slots":[{"name":"cdc","setAt":7,"standing":"fit"}]}',
  '{"member":"pg1_00000001","slots":[{"name":"cdc","setAt":7,"standing":"fit","timeline":1,"isOurs":true}]}',
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
    expect(isFitAfter(fit, { timeline: 4, parent: undefined, opened: [] })).toBe(false);
  });

  test('and what was not, or is not known, never is', () => {
    const reign = { timeline: 3, parent: 2, opened: [3] };
    expect(isFitAfter(undefined, reign)).toBe(false);
    expect(isFitAfter({ ...fit, standing: 'unfit' }, reign)).toBe(false);
    expect(isFitAfter({ ...fit, standing: 'gone' }, reign)).toBe(false);
    expect(isFitAfter({ ...fit, timeline: 9 }, reign)).toBe(false);
  });
});
