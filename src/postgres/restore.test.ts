// A restore that fails, is late, or was killed leaves nothing behind, touches nothing of anybody else, and says what was wrong.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { isAlive } from './processes.ts';
import { RestoreError } from './restore-command.ts';
import {
  RESTORE_MARKER,
  type RestoreOptions,
  discardRestored,
  removeHalfRestored,
  restoreDataDirectory,
} from './restore.ts';

let root: string;
const notes: string[] = [];
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'pg-sentinel-restore-'));
  notes.length = 0;
});
afterEach(() => rm(root, { recursive: true, force: true }));

const options = (script: string, more: Partial<RestoreOptions> = {}): RestoreOptions => ({
  dataDirectory: join(root, 'data'),
  user: { name: 'self', uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, owner: undefined },
  places: { tablespaces: [join(root, 'fast')], walDirectory: undefined },
  onNote: (text) => notes.push(text),
  binaries: { version: 15, directory: '/nowhere', has: {} } as RestoreOptions['binaries'],
  recovery: '{}',
  command: ['/bin/sh', '-c', script],
  timeoutMs: 60_000,
  environment: {},
  logFile: join(root, 'postgresql', 'pg1.restore.log'),
  signal: new AbortController().signal,
  ...more,
});
const left = async (): Promise<string[]> => (await readdir(root)).filter((name) => name.startsWith('data'));
const failure = async (script: string, more: Partial<RestoreOptions> = {}): Promise<string> => {
  const error: unknown = await restoreDataDirectory(options(script, more)).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(RestoreError);
  return (error as Error).message;
};

describe('a command that fails', () => {
  test.each([
    ['echo no such backup >&2; exit 4', '(exit code 4): no such backup; all it said is in'],
    ['kill -9 $$', '(ended by SIGKILL): it said nothing'],
    ['true', 'there is no PG_VERSION'],
    ['echo 12 > "$PG_SENTINEL_DATA_DIRECTORY/PG_VERSION"', 'of PostgreSQL 12, here is 15'],
    ['echo 15 > "$PG_SENTINEL_DATA_DIRECTORY/PG_VERSION"', 'restored is damaged'],
  ])('%s', async (script, reason) => {
    expect(await failure(script)).toContain(reason);
    expect(await left()).toEqual([]);
  });

  test('or is late is ended, and what it has started with it', async () => {
    const script = `(setsid sleep 300 & echo $! > ${root}/pid); sleep 300`;
    expect(await failure(script, { timeoutMs: 1000 })).toContain('it was not done within 1.0s, its timeout');
    const pid = Number(await readFile(join(root, 'pid'), 'utf8'));
    expect(pid).toBeGreaterThan(0);
    expect(isAlive(pid)).toBe(false);
    expect(await left()).toEqual([]);
    expect(notes).toEqual([]);
  });

  test('or that cannot be started is said', async () => {
    expect(await failure('', { command: ['/nowhere/restore'] })).toContain('cannot start /nowhere/restore');
  });
});

test('a directory that cannot be replaced is told before the command is run', async () => {
  const script = `touch ${root}/was-run`;
  await mkdir(join(root, 'data'));
  await writeFile(join(root, 'data', 'precious'), 'x');
  expect(await failure(script)).toContain('it holds files (precious)');
  await rm(join(root, 'data'), { recursive: true });
  await mkdir(join(root, 'elsewhere'));
  await symlink(join(root, 'elsewhere'), join(root, 'data'));
  expect(await failure(script)).toContain('it is a symbolic link');
  expect(await readdir(root)).not.toContain('was-run');
});

test('what a killed run left is removed, with its processes and what is in tablespaces of ours; nothing else is', async () => {
  const work = join(root, 'data.restore-0a1b2c3d');
  const place = options('');
  for (const name of ['data/pg_tblspc', 'fast/PG_15_1', 'others/PG_15_1']) {
    const [first = ''] = name.split('/');
    await mkdir(join(first === 'data' ? work : root, name), { recursive: true });
  }
  await symlink(join(root, 'fast'), join(work, 'data', 'pg_tblspc', '1'));
  await symlink(join(root, 'others'), join(work, 'data', 'pg_tblspc', '2'));
  await symlink(join(root, 'others'), join(work, 'data', 'pg_wal'));
  await writeFile(join(root, 'others', '000000010000000000000001'), 'x');
  // Somebody's, without the marker.
  await mkdir(join(root, 'data.restore-ffffffff', 'precious'), { recursive: true });
  await mkdir(join(root, 'data.restore-later'));
  const child = spawn('/bin/sleep', ['300'], { env: { PG_SENTINEL_DATA_DIRECTORY: join(work, 'data') } });
  const ended = once(child, 'exit');
  await writeFile(join(work, 'pg_sentinel_restore'), '');
  await removeHalfRestored(place);
  expect(await ended).toEqual([null, 'SIGKILL']);
  expect((await left()).sort()).toEqual(['data.restore-ffffffff', 'data.restore-later']);
  expect(await readdir(join(root, 'fast'))).toEqual([]);
  expect((await readdir(join(root, 'others'))).sort()).toEqual(['000000010000000000000001', 'PG_15_1']);
});

test('only a directory with the marker is ever given up', async () => {
  await mkdir(join(root, 'data'));
  await writeFile(join(root, 'data', 'precious'), 'x');
  await expect(discardRestored(options(''))).rejects.toThrow('left as it is');
  expect(await readdir(join(root, 'data'))).toEqual(['precious']);
  await writeFile(join(root, 'data', RESTORE_MARKER), '{}');
  await discardRestored(options(''));
  expect(await left()).toEqual([]);
});
