// What is kept of the logical slots of a data directory over a restart of sentineld.
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { memberId } from '../base/ids.ts';
import { openSlotMemory } from './logical-slot-memory.ts';

const [HERE, NEW] = [memberId('pg1_00000001'), memberId('pg1_00000002')];
const CDC = { name: 'cdc', setAt: 7, standing: 'unready' } as const;

let root: string;
let path: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'pg-sentinel-slot-memory-'));
  path = join(root, 'slots.json');
});
afterEach(() => rm(root, { recursive: true }));

test('it is of one data directory, and outlives the process', async () => {
  const memory = openSlotMemory(path);
  await memory.note(HERE, CDC);
  await memory.note(HERE, { ...CDC, name: 'other', standing: 'own' });
  await memory.note(HERE, { ...CDC, standing: 'ready' });
  await memory.forget(HERE, 'other');
  const again = openSlotMemory(path);
  expect(await again.all(HERE)).toEqual([{ ...CDC, standing: 'ready' }]);
  expect(await again.all(NEW)).toEqual([]);
  await again.note(NEW, CDC);
  expect(await openSlotMemory(path).all(HERE)).toEqual([]);
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
  '{"member":"pg1_00000001","slots":[{"name":1,"setAt":7,"standing":"ready"}]}',
])('what is not readable knows of no slot: %s', async (text) => {
  await writeFile(path, text);
  expect(await openSlotMemory(path).all(HERE)).toEqual([]);
});
