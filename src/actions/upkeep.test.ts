// Upkeep: read in the background and seldom, what cannot be read is left out, and nobody waits for it.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { until } from '../base/clock.ts';
import type { Duty } from '../failover/duties.ts';
import { FOLLOW } from './testing/context.ts';
import { SLOT } from './testing/logical-slot.ts';
import { createUpkeepWatch } from './upkeep.ts';

let dataDirectory: string;
beforeAll(async () => {
  dataDirectory = await mkdtemp(join(tmpdir(), 'upkeep-'));
  await mkdir(join(dataDirectory, 'pg_wal', 'archive_status'), { recursive: true });
  for (const name of ['1.ready', '2.ready', '3.done'])
    await writeFile(join(dataDirectory, 'pg_wal', 'archive_status', name), '');
});
afterAll(() => rm(dataDirectory, { recursive: true }));

const CUT: Duty = { ...FOLLOW, kind: 'cut', wasPrimary: false };
const ROW = {
  slot: { name: 'pg3_00000001', kept_bytes: 4711 },
  safe: 99,
  unreserved: [],
  lost: ['pg2_00000001'],
  idle: [] as string[],
  archives: true,
  failing: true,
  pending_restart: ['max_connections'],
};
const SAID = {
  slots: { keptBytes: 4711, most: 'pg3_00000001', safeBytes: 99, lost: ['pg2_00000001'] },
  archiver: { isOn: true, isFailing: true },
  pendingRestart: ['max_connections'],
};
const UNSAID = { slots: undefined, archiver: undefined, pendingRestart: undefined };

function example(directory = dataDirectory) {
  const scene = {
    nowMs: 0,
    pid: 7 as number | undefined,
    duty: FOLLOW as Duty,
    connected: true,
    askedCount: 0,
    named: [] as string[],
    idle: [] as string[],
    answer: () => Promise.resolve([{ upkeep: { ...ROW, idle: scene.idle } }]) as Promise<object[]>,
  };
  const watch = createUpkeepWatch({
    instance: {
      postmaster: () =>
        scene.pid === undefined ? undefined : { pid: scene.pid, sharedMemoryId: undefined, status: 'ready' },
      options: {
        dataDirectory: directory,
        logicalSlots: () => scene.named.map((name) => ({ ...SLOT, name })),
      },
      session: {
        get connected() {
          return scene.connected;
        },
        query: <Row extends object>() => {
          scene.askedCount += 1;
          return scene.answer() as Promise<Row[]>;
        },
      },
    } as Parameters<typeof createUpkeepWatch>[0]['instance'],
    duty: () => scene.duty,
    nowMs: () => scene.nowMs,
  });
  const read = () =>
    until({ what: 'the figures', timeoutMs: 10_000, everyMs: 5 }, () => {
      const { slots, dataDisk, walDisk, readyCount } = watch.latest();
      return [slots, dataDisk, walDisk, readyCount].every((figure) => figure !== undefined);
    });
  return { scene, watch, read };
}

test('is there a moment after it was first asked for, and is then left alone for ten seconds', async () => {
  const { scene, watch, read } = example();
  expect(watch.latest()).toMatchObject(UNSAID);
  await read();
  expect(watch.latest()).toMatchObject({ ...SAID, readyCount: 2 });
  const { dataDisk, walDisk } = watch.latest();
  expect(dataDisk?.totalBytes).toBeGreaterThan(dataDisk?.freeBytes ?? Infinity);
  // One disk, one reading: two would differ by what is written in between.
  expect(walDisk).toBe(dataDisk);
  scene.nowMs = 9_999;
  watch.latest();
  expect(scene.askedCount).toBe(1);
  scene.nowMs = 10_000;
  watch.latest();
  expect(scene.askedCount).toBe(2);
});

test.each<[string, Partial<ReturnType<typeof example>['scene']>]>([
  ['a cut has the session for itself', { duty: CUT }],
  ['a session that is not connected would have to be waited for', { connected: false }],
])('%s', async (_why, change) => {
  const { scene, watch } = example();
  Object.assign(scene, change);
  watch.latest();
  await until(
    { what: 'the disk', timeoutMs: 10_000, everyMs: 5 },
    () => watch.latest().dataDisk !== undefined,
  );
  expect(scene.askedCount).toBe(0);
});

test('a logical slot of a standby that nobody reads from is told the second time, unless a setting names it', async () => {
  const { scene, watch, read } = example();
  scene.idle = ['cdc', 'theirs'];
  scene.named = ['cdc'];
  const readAgain = async () => {
    scene.nowMs += 10_000;
    const { askedCount } = scene;
    await until({ what: 'another look', timeoutMs: 10_000, everyMs: 5 }, async () => {
      await read();
      return scene.askedCount > askedCount;
    });
    // The answer is there with the next turn of the loop.
    await new Promise((resolve) => setImmediate(resolve));
    return watch.latest().slots;
  };
  await read();
  expect(watch.latest().slots).not.toHaveProperty('leftLogical');
  expect(await readAgain()).toMatchObject({ leftLogical: ['theirs'] });
  scene.idle = ['cdc'];
  expect(await readAgain()).not.toHaveProperty('leftLogical');
  scene.idle = ['cdc', 'theirs'];
  expect(await readAgain()).not.toHaveProperty('leftLogical');
});

test('what another PostgreSQL said is not told, and the new one is asked at once; nor is what is old', async () => {
  const { scene, watch, read } = example();
  await read();
  scene.pid = 8;
  expect(watch.latest()).toMatchObject(UNSAID);
  await read();
  expect(watch.latest()).toMatchObject(SAID);
  expect(scene.askedCount).toBe(2);
  scene.answer = () => new Promise(() => undefined);
  scene.nowMs = 30_000;
  expect(watch.latest()).toMatchObject(SAID);
  scene.nowMs = 60_000;
  expect(watch.latest()).toMatchObject(UNSAID);
  expect(scene.askedCount).toBe(3);
});

test('what cannot be read is left out', async () => {
  const { scene, watch } = example(join(dataDirectory, 'nowhere'));
  scene.answer = () => Promise.reject(new Error('down'));
  watch.latest();
  await until({ what: 'the question', timeoutMs: 10_000, everyMs: 5 }, () => scene.askedCount === 1);
  expect(watch.latest()).toEqual({
    ...UNSAID,
    dataDisk: undefined,
    walDisk: undefined,
    readyCount: undefined,
  });
});

test('files that could not be read are tried again after a second, a statement that failed after ten', async () => {
  const directory = join(dataDirectory, 'cloned');
  const { scene, watch } = example(directory);
  scene.answer = () => Promise.reject(new Error('down'));
  watch.latest();
  await until({ what: 'the question', timeoutMs: 10_000, everyMs: 5 }, () => scene.askedCount === 1);
  await mkdir(join(directory, 'pg_wal', 'archive_status'), { recursive: true });
  scene.nowMs = 1000;
  await until({ what: 'the files', timeoutMs: 10_000, everyMs: 5 }, () => {
    const { dataDisk, walDisk, readyCount } = watch.latest();
    return dataDisk !== undefined && walDisk === dataDisk && readyCount === 0;
  });
  scene.answer = () => Promise.resolve([{ upkeep: ROW }]);
  scene.nowMs = 9_999;
  expect(watch.latest()).toMatchObject(UNSAID);
  expect(scene.askedCount).toBe(1);
  scene.nowMs = 10_000;
  await until(
    { what: 'its figures', timeoutMs: 10_000, everyMs: 5 },
    () => watch.latest().slots !== undefined,
  );
  expect(watch.latest()).toMatchObject(SAID);
});
