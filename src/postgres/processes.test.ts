import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  allGone,
  belongsTo,
  classifyTitle,
  createPostmasterFinder,
  endProgramsOn,
  instanceProcesses,
  isAlive,
  isSameProcess,
  killRemaining,
  parsePostmasterFile,
  processState,
} from './processes.ts';

describe('postmaster.pid', () => {
  test('is read, with the shared memory and the status', () => {
    const text = '4711\n/data\n1700000000\n5433\n/run/x\n127.0.0.1\n  5432001  32769\nready   \n';
    expect(parsePostmasterFile(text)).toEqual({
      pid: 4711,
      startedAtS: 1_700_000_000,
      dataDirectory: '/data',
      port: 5433,
      socketDirectory: '/run/x',
      listenAddress: '127.0.0.1',
      sharedMemoryId: { key: 5_432_001, id: 32769 },
      status: 'ready',
    });
  });
  test('has a negative key of the shared memory as an unsigned number', () => {
    const text = '4711\n/data\n1700000000\n5433\n/run/x\n*\n 18446744073709551615  7\nready   \n';
    expect(parsePostmasterFile(text)?.sharedMemoryId).toEqual({ key: -1, id: 7 });
  });
  test('may still be half written', () => {
    expect(parsePostmasterFile('')).toBeUndefined();
    expect(parsePostmasterFile('4711\n/data\n')).toMatchObject({
      pid: 4711,
      sharedMemoryId: undefined,
      status: undefined,
    });
  });
});

test.each([
  ['postgres: walreceiver streaming 0/3000148', 'walreceiver'],
  ['postgres: walreceiver', 'walreceiver'],
  ['postgres: 15/main: walreceiver waiting', 'walreceiver'],
  ['postgres: pg1: slotsync worker', 'slotsync'],
  ['postgres: pg1: startup recovering 000000010000000000000003', 'startup'],
  ['postgres: pg1: user db 127.0.0.1(53210) idle', 'other'],
  ['/usr/lib/postgresql/15/bin/postgres -D /data', 'unknown'],
  ['', 'unknown'],
])('the title "%s" is a %s', (title, kind) => {
  expect(classifyTitle(title)).toBe(kind);
});

test('this process lives, is no postgres, and its parent is known', () => {
  expect(isAlive(process.pid)).toBe(true);
  expect(processState(process.pid)?.parent).toBe(process.ppid);
  expect(belongsTo(process.pid, process.cwd())).toBe(false);
  expect(instanceProcesses(process.cwd())).toEqual([]);
  expect(allGone({ dataDirectory: process.cwd(), sharedMemoryId: { key: 1, id: 2 ** 31 - 1 } })).toEqual({
    gone: true,
  });
});

test('a process is the same only with the same start time', () => {
  const startTicks = processState(process.pid)?.startTicks ?? 0;
  expect(isSameProcess(process.pid, startTicks)).toBe(true);
  expect(isSameProcess(process.pid, startTicks + 1)).toBe(false);
  expect(isSameProcess(2 ** 22 + 1, startTicks)).toBe(false);
});

test('a postmaster.pid that names another process, as after a reboot, is no postmaster', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'pg-sentinel-processes-'));
  try {
    const find = createPostmasterFinder(directory);
    expect(find()).toBeUndefined();
    await writeFile(
      join(directory, 'postmaster.pid'),
      `${process.pid}\n${directory}\n1700000000\n5433\n/run/x\n*\n 1 1\nready   \n`,
    );
    expect(find()).toBeUndefined();
  } finally {
    await rm(directory, { recursive: true });
  }
});

describe.skipIf(process.getuid?.() !== 0)(
  'a container with another directory at the same path (needs root)',
  () => {
    let root: string;
    let children: ChildProcess[];
    beforeEach(async () => {
      root = await realpath(await mkdtemp(join(tmpdir(), 'pg-sentinel-mounts-')));
      await mkdir(join(root, 'data'));
      children = [];
    });
    afterEach(async () => {
      for (const child of children) child.kill('SIGKILL');
      await rm(root, { recursive: true });
    });

    /** Works in the directory and waits: a shell by that name. `mount` is run first, in a mount namespace of its own. */
    async function start(name: string, mount?: string): Promise<ChildProcess> {
      const data = join(root, 'data');
      const program = join(await mkdtemp(join(root, 'bin-')), name);
      await copyFile('/bin/sh', program);
      const enter = `${mount === undefined ? '' : `${mount} && `}cd '${data}' && exec '${program}' -c 'echo here; read line' '${name}' '--pgdata=${data}'`;
      const [command, ...before] = mount === undefined ? ['/bin/sh'] : ['unshare', '--mount', '/bin/sh'];
      const child = spawn(command ?? '', [...before, '-c', enter], {
        stdio: ['pipe', 'pipe', 'inherit'],
        detached: true,
      });
      children.push(child);
      await once(child.stdout, 'data');
      return child;
    }
    const isRunning = ({ pid }: ChildProcess): boolean => isAlive(pid ?? 0);

    test('its PostgreSQL is none of this host’s, and is not ended', async () => {
      const data = join(root, 'data');
      const theirs = await start('postgres', `mount -t tmpfs none '${data}'`);
      expect([belongsTo(theirs.pid ?? 0, data), instanceProcesses(data), killRemaining(data)]).toEqual([
        false,
        [],
        [],
      ]);
      const ours = await start('postgres');
      // A namespace alone is no container: a service has one of its own, and sees the same directory.
      const shared = await start('postgres', 'true');
      expect(new Set(killRemaining(data))).toEqual(new Set([ours.pid, shared.pid]));
      expect(isRunning(theirs)).toBe(true);
    });

    test('its copying program is left alone, and those of this host are ended', async () => {
      const data = join(root, 'data');
      const theirs = await start('pg_basebackup', `mount -t tmpfs none '${data}'`);
      const ours = await start('pg_basebackup');
      const shared = await start('pg_basebackup', 'true');
      await endProgramsOn(data);
      expect([theirs, ours, shared].map(isRunning)).toEqual([true, false, false]);
    });
  },
);
