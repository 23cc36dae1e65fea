import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  allGone,
  belongsTo,
  classifyTitle,
  createPostmasterFinder,
  instanceProcesses,
  isAlive,
  isSameProcess,
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
      sharedMemoryId: 32769,
      status: 'ready',
    });
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
  expect(allGone({ dataDirectory: process.cwd(), sharedMemoryId: 2 ** 31 - 1 })).toEqual({ gone: true });
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
