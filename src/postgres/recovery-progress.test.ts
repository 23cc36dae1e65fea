// How far a standby has come before it takes connections, from what can be seen from outside.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { lsn } from '../base/lsn.ts';
import { furtherProgress, readRecoveryProgress } from './recovery-progress.ts';

let dataDirectory: string;
const children: ChildProcess[] = [];

beforeEach(async () => {
  dataDirectory = await mkdtemp(join(tmpdir(), 'pg-sentinel-progress-'));
  await mkdir(join(dataDirectory, 'pg_wal'));
  for (const [name, atS] of [
    ['0000000200000001000000FE', 7],
    ['0000000200000001000000FF', 5],
    ['00000002.history', 9],
  ] as const) {
    await writeFile(join(dataDirectory, 'pg_wal', name), '');
    await utimes(join(dataDirectory, 'pg_wal', name), atS, atS);
  }
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await rm(dataDirectory, { recursive: true });
});

async function run(title: string): Promise<number | undefined> {
  const child = spawn('sleep', ['60'], { argv0: `postgres: ${title}`, stdio: 'ignore' });
  children.push(child);
  await once(child, 'spawn');
  return child.pid;
}
const read = () => readRecoveryProgress({ dataDirectory, postmasterPid: process.pid });

test('the segment of the startup process and the position of the walreceiver are read', async () => {
  const startupPid = await run('a: startup recovering 0000000200000001000000FE');
  const segment = '00000001000000FE';
  expect(await read()).toEqual({ startupPid, segment, received: 0n, writtenMs: 0 });
  await run('a: walreceiver streaming 1/FE000148');
  expect(await read()).toEqual({ startupPid, segment, received: 0x1_fe00_0148n, writtenMs: 0 });
});

test('where the titles tell nothing, the newest WAL is looked at', async () => {
  const startupPid = await run('a: startup');
  await run('a: walreceiver');
  expect(await read()).toEqual({ startupPid, segment: '', received: 0n, writtenMs: 7000 });
});

test('it goes on with a later segment, a later position, newer WAL or a new startup process, and not by turns', () => {
  const before = { startupPid: 1, segment: '0000000000000005', received: lsn(70n), writtenMs: 1000 };
  expect(furtherProgress(before, before)).toBeUndefined();
  expect(furtherProgress(before, { ...before, segment: '0000000000000004' })).toBeUndefined();
  expect(furtherProgress(before, { ...before, segment: '' })).toBeUndefined();
  expect(furtherProgress(before, { ...before, received: lsn(64n) })).toBeUndefined();
  expect(furtherProgress(before, { ...before, segment: '0000000100000000' })?.segment).toBe(
    '0000000100000000',
  );
  const silent = { startupPid: 1, segment: '', received: lsn(0n), writtenMs: 1001 };
  expect(furtherProgress(before, silent)).toEqual({ ...before, writtenMs: 1001 });
  const received = { ...silent, received: lsn(71n), writtenMs: 0 };
  expect(furtherProgress(before, received)).toEqual({ ...before, received: 71n });
  const anew = { startupPid: 2, segment: '0000000000000001', received: lsn(0n), writtenMs: 1000 };
  expect(furtherProgress(before, anew)).toEqual(anew);
});
