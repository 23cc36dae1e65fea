// That a promotion that failed is told in time, also where the disk hangs: whoever called it has to stop the server. All else: test/integration/postgres.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type * as FileSystem from 'node:fs/promises';
import { copyFile, mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { timeline } from '../base/ids.ts';
import { findOsUser } from './os-user.ts';
import { promotePostgres } from './promote.ts';
import type { Session } from './session.ts';

vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof FileSystem>();
  return {
    ...real,
    rm: (path: string, options?: object) =>
      path.endsWith('/data/promote') ? new Promise(() => undefined) : real.rm(path, options),
  };
});

let root: string;
let server: ChildProcess;
/** A shell by the name of postgres that works in the data directory, and says that it is in recovery for ever. */
beforeEach(async () => {
  root = await realpath(await mkdtemp(join(tmpdir(), 'pg-sentinel-promote-')));
  const data = join(root, 'data');
  await mkdir(join(data, 'pg_wal'), { recursive: true });
  await copyFile('/bin/sh', join(root, 'postgres'));
  server = spawn(join(root, 'postgres'), ['-c', 'echo here; read line'], {
    ...{ cwd: data, stdio: ['pipe', 'pipe', 'inherit'] },
  });
  await once(server.stdout as NonNullable<ChildProcess['stdout']>, 'data');
  await writeFile(join(data, 'postmaster.pid'), `${server.pid}\n${data}\n1700000000\n5433\n`);
});
afterEach(async () => {
  server.kill('SIGKILL');
  await rm(root, { recursive: true });
});

test('where the promote file cannot be taken back because the disk hangs, why it failed is said all the same', async () => {
  const session = { query: () => Promise.resolve([{ value: true }]) } as unknown as Session;
  const promoting = promotePostgres({
    dataDirectory: join(root, 'data'),
    user: await findOsUser({ configured: undefined }),
    session,
    ...{ current: timeline(1), assigned: timeline(2), timeoutMs: 60_000 },
    byCommand: () => Promise.reject(new Error('the promote command failed')),
  });
  await expect(promoting).rejects.toThrow('the promote command failed');
});
