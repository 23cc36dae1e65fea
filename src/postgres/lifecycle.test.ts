import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { essence, stopPostgres } from './lifecycle.ts';
import { isAlive } from './processes.ts';

test('of a server that did not start, errors and hints are kept, without times and process ids', () => {
  const log = [
    '2026-11-21 05:36:38.349 UTC [28628] LOG:  starting PostgreSQL 15.18 on x86_64-pc-linux-gnu',
    '2026-11-21 05:36:38.349 UTC [28628] LOG:  could not bind IPv4 address "127.0.0.1": Address already in use',
    '2026-11-21 05:36:38.349 UTC [28628] HINT:  Is another postmaster already running on port 5432?',
    '2026-11-21 05:36:38.349 UTC [28628] FATAL:  could not create any TCP/IP sockets',
    '2026-11-21 05:36:38.357 UTC [28628] LOG:  database system is shut down',
  ].join('\n');
  expect(essence(log)).toBe(
    'could not bind IPv4 address "127.0.0.1": Address already in use; Is another postmaster already running on port 5432?; could not create any TCP/IP sockets',
  );
});

test('a text of another kind is kept as it is', () => {
  expect(essence('postgres: error while loading shared libraries: libicu.so')).toBe(
    'postgres: error while loading shared libraries: libicu.so',
  );
});

test('a stop that is meant for one postmaster ends what it left, and no postmaster that begins or runs since', async () => {
  const dataDirectory = await mkdtemp(join(tmpdir(), 'pg-sentinel-stop-'));
  const program = join(dataDirectory, 'postgres');
  await copyFile('/bin/sleep', program);
  const started: ChildProcess[] = [];
  const run = async (argv0: string): Promise<ChildProcess> => {
    const child = spawn(program, ['600'], { cwd: dataDirectory, argv0 });
    started.push(child);
    await once(child, 'spawn');
    return child;
  };
  const orphan = await run('postgres: user db [local] COMMIT');
  const next = await run('/usr/lib/postgresql/15/bin/postgres');
  const onlyPid = process.pid + 1_000_000;
  const stopOld = () => stopPostgres({ dataDirectory, fastMs: 0, immediateMs: 0, killMs: 500, onlyPid });
  const ended = once(orphan, 'exit');
  await expect(stopOld()).rejects.toThrow(`1 processes (${next.pid}) survive`);
  expect(await ended).toEqual([null, 'SIGKILL']);
  await writeFile(join(dataDirectory, 'postmaster.pid'), `${next.pid}\n${dataDirectory}\n`);
  expect(await stopOld()).toMatchObject({ how: 'was stopped' });
  expect(isAlive(next.pid ?? 0)).toBe(true);
  for (const child of started) child.kill('SIGKILL');
  await rm(dataDirectory, { recursive: true });
});
