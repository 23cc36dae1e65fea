// How far a standby has come before it takes connections, from what can be seen from outside.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { furtherProgress, readRecoveryProgress } from './recovery-progress.ts';

test('the segment of the startup process and the newest WAL are read', async () => {
  const dataDirectory = await mkdtemp(join(tmpdir(), 'pg-sentinel-progress-'));
  const title = 'postgres: a: startup recovering 0000000200000001000000FE';
  const startup = spawn('sleep', ['60'], { argv0: title, stdio: 'ignore' });
  try {
    await once(startup, 'spawn');
    await mkdir(join(dataDirectory, 'pg_wal'));
    for (const [name, atS] of [
      ['0000000200000001000000FE', 7],
      ['0000000200000001000000FF', 5],
      ['00000002.history', 9],
    ] as const) {
      await writeFile(join(dataDirectory, 'pg_wal', name), '');
      await utimes(join(dataDirectory, 'pg_wal', name), atS, atS);
    }
    expect(await readRecoveryProgress({ dataDirectory, postmasterPid: process.pid })).toEqual({
      startupPid: startup.pid,
      segment: '00000001000000FE',
      writtenMs: 7000,
    });
  } finally {
    startup.kill('SIGKILL');
    await rm(dataDirectory, { recursive: true });
  }
});

test('it goes on with a later segment, newer WAL or a new startup process, and not by turns', () => {
  const before = { startupPid: 1, segment: '0000000000000005', writtenMs: 1000 };
  expect(furtherProgress(before, before)).toBeUndefined();
  expect(furtherProgress(before, { ...before, segment: '0000000000000004' })).toBeUndefined();
  expect(furtherProgress(before, { ...before, segment: '' })).toBeUndefined();
  expect(furtherProgress(before, { ...before, segment: '0000000100000000' })?.segment).toBe(
    '0000000100000000',
  );
  expect(furtherProgress(before, { startupPid: 1, segment: '', writtenMs: 1001 })).toEqual({
    ...before,
    writtenMs: 1001,
  });
  const anew = { startupPid: 2, segment: '0000000000000001', writtenMs: 1000 };
  expect(furtherProgress(before, anew)).toEqual(anew);
});
