// What becomes of a data directory that is being restored: what stands against it, when it is given up, and when that is tried again. With PostgreSQL
// itself: test/integration/restore.
import { access, mkdir, mkdtemp, readdir, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { epoch, groupId } from '../base/ids.ts';
import { RESTORE_FEATURE_LEVEL } from '../cluster/features.ts';
import { StartError } from '../postgres/lifecycle.ts';
import { writeRestoreMarker } from '../postgres/restore-marker.ts';
import type { DataDirectory } from './data-directory.ts';
import type { Bootstrap } from './instance-options.ts';
import { carryOutRestore, retryRestore } from './restore-duty.ts';
import { type CreateDuty, recoveryOf } from './restore-recovery.ts';
import { type FakeContext, fakeContext } from './testing/context.ts';
import { IN_ARCHIVE_RECOVERY, writeControl } from '../postgres/testing/control-file.ts';

const DUTY: CreateDuty = {
  kind: 'create',
  group: groupId('main'),
  incarnation: 1,
  epoch: epoch(3),
  restore: { reached: undefined },
} as CreateDuty;
const ABSENT: DataDirectory = { kind: 'absent' };
const RESTORING: DataDirectory = { kind: 'unfit', reason: 'not finished', isRestoring: true };
const USER = { name: 'self', uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, owner: undefined };

let root: string;
let context: FakeContext;
let bootstrap: Bootstrap;
beforeEach(async () => {
  root = await realpath(await mkdtemp(join(tmpdir(), 'pg-sentinel-restore-duty-')));
  bootstrap = {
    command: ['/bin/sh', '-c', `touch ${root}/was-run; exit 3`],
    timeoutMs: 60_000,
    restoreCommand: undefined,
    target: { at: undefined, inclusive: true, timeline: 'latest' },
  };
  const instance = { bootstrap, user: USER, restoreLogFile: join(root, 'restore.log') };
  context = fakeContext({ dataDirectory: join(root, 'data'), instance });
  context.isRunning = false;
});
afterEach(() => rm(root, { recursive: true }));

const carryOut = (data: DataDirectory): Promise<boolean> =>
  carryOutRestore(context, DUTY, data, new AbortController().signal);
const wasRun = (): Promise<boolean> =>
  access(join(root, 'was-run')).then(
    () => true,
    () => false,
  );
/** As it is once PostgreSQL was started on it. */
async function restored(): Promise<void> {
  await mkdir(join(root, 'data', 'pg_tblspc'), { recursive: true });
  await mkdir(join(root, 'data', 'pg_wal'));
  await writeControl(join(root, 'data'), IN_ARCHIVE_RECOVERY, 16 << 20);
  const recovery = recoveryOf(context, bootstrap);
  await writeRestoreMarker(join(root, 'data'), { recovery, isStarted: true, parts: [] }, USER);
}

test('nothing is run before every peer understands what it leads to', async () => {
  Object.assign(context, { featureLevel: () => RESTORE_FEATURE_LEVEL - 1 });
  await expect(carryOut(ABSENT)).rejects.toThrow('not every peer understands that yet');
  expect(await wasRun()).toBe(false);
  Object.assign(context, { featureLevel: () => RESTORE_FEATURE_LEVEL });
  await expect(carryOut(ABSENT)).rejects.toThrow(/exit code 3.*; it is tried again at/);
  expect(await wasRun()).toBe(true);
});

test('what is of no use is given up, and restored anew only after a pause', async () => {
  await restored();
  await expect(carryOut(RESTORING)).rejects.toThrow(
    /its recovery had ended before the log could say on which timeline; it is restored anew at/,
  );
  expect(await readdir(root)).toEqual([]);
  expect(await carryOut(ABSENT)).toBe(false);
  expect(await wasRun()).toBe(false);
  retryRestore(context);
  await expect(carryOut(ABSENT)).rejects.toThrow('exit code 3');
});

test('what PostgreSQL does not start on is started again by itself, and restored anew where a person asks for it', async () => {
  await restored();
  await writeFile(join(root, 'data', 'standby.signal'), '');
  let startCount = 0;
  Object.assign(context.instance, {
    startAs: () => {
      startCount += 1;
      return Promise.reject(new StartError('no valid checkpoint'));
    },
  });
  await expect(carryOut(RESTORING)).rejects.toThrow(
    /no valid checkpoint; it is started again at .*, or restored anew from the backup at once by/,
  );
  expect(await carryOut(RESTORING)).toBe(false);
  expect([startCount, await wasRun()]).toEqual([1, false]);
  retryRestore(context);
  expect(await carryOut(RESTORING)).toBe(false);
  expect(await readdir(root)).toEqual([]);
  await expect(carryOut(ABSENT)).rejects.toThrow('exit code 3');
});

test("a tablespace that WAL has made in another's place stops it, also in a pause", async () => {
  await restored();
  await mkdir(join(root, 'others', 'PG_15_1'), { recursive: true });
  await symlink(join(root, 'others'), join(root, 'data', 'pg_tblspc', '16400'));
  context.isRunning = true;
  await expect(carryOut(RESTORING)).rejects.toThrow(/it has a tablespace at .*others/);
  expect(context.stops).toEqual([0]);
  context.isRunning = true;
  await expect(carryOut(RESTORING)).rejects.toThrow(/it has a tablespace at .*others/);
  expect(context.stops).toEqual([0, 0]);
  expect(await readdir(join(root, 'others'))).toEqual(['PG_15_1']);
});

test('a PostgreSQL that ends while it recovers is started again only after a pause', async () => {
  await restored();
  await writeFile(join(root, 'data', 'standby.signal'), '');
  let startCount = 0;
  Object.assign(context.instance, {
    startAs: () => {
      startCount += 1;
      context.isRunning = true;
      return Promise.resolve();
    },
    readRole: () => {
      context.isRunning = false;
      return Promise.reject(new Error('it does not answer'));
    },
  });
  await expect(carryOut(RESTORING)).rejects.toThrow('it does not answer');
  await expect(carryOut(RESTORING)).rejects.toThrow(/has ended while it recovered; .*; it is tried again at/);
  expect(await carryOut(RESTORING)).toBe(false);
  expect(startCount).toBe(1);
  retryRestore(context);
  await expect(carryOut(RESTORING)).rejects.toThrow('it does not answer');
  expect(startCount).toBe(2);
});
