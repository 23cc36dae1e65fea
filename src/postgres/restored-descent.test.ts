// Which data directories are of a restored group, and which are of the cluster that its backup was made of.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { timeline } from '../base/ids.ts';
import { parseLsn } from '../base/lsn.ts';
import { beganAt, isStranger } from './restored-descent.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'pg-sentinel-descent-'));
  await mkdir(join(directory, 'pg_wal'));
});
afterEach(() => rm(directory, { recursive: true }));

const BEGINNING = { timeline: timeline(1), position: parseLsn('0/3000110'), assigned: timeline(4) };
const history = (of: number, text: string): Promise<void> =>
  writeFile(join(directory, 'pg_wal', `0000000${of}.history`), text);
const at = (checkpoint: number, minRecovery?: number) => ({
  checkpointTimeline: timeline(checkpoint),
  minRecoveryTimeline: minRecovery === undefined ? undefined : timeline(minRecovery),
});
const stranger = (checkpoint: number, minRecovery?: number): Promise<boolean> =>
  isStranger(directory, at(checkpoint, minRecovery), BEGINNING);

test('its first primary, also before its first checkpoint, and what follows it on later timelines', async () => {
  await history(2, '');
  await history(4, '1\t0/3000110\tassigned\n');
  expect(await beganAt(directory, BEGINNING)).toBe(true);
  expect(await stranger(1)).toBe(false);
  await rm(join(directory, 'pg_wal', '00000004.history'));
  await history(5, '1\t0/3000110\tx\n4\t0/5000000\tx\n');
  expect(await stranger(5)).toBe(false);
});

test('a clone that was never started is told by its control file', async () => {
  expect(await beganAt(directory, BEGINNING)).toBeUndefined();
  expect(await stranger(4)).toBe(false);
  expect(await stranger(1, 4)).toBe(false);
});

test.each([
  ['which went on where the backup was made', 1, undefined, ''],
  ['promoted to timelines below', 3, 3, '1\t0/2000000\tx\n'],
  ['promoted to the same number elsewhere', 4, 4, '1\t0/4000000\tx\n'],
  ['promoted beyond it without passing it', 5, 5, '1\t0/3000110\tx\n3\t0/4000000\tx\n'],
])('an old server %s is a stranger', async (_, checkpoint, of, text) => {
  if (of !== undefined) await history(of, text);
  expect(await stranger(checkpoint)).toBe(true);
  expect(await beganAt(directory, BEGINNING)).not.toBe(true);
});
