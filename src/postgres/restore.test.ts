// A restore that fails, is late, or was killed leaves nothing behind, touches nothing of anybody else, and says what was wrong.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  mkdir,
  mkdtemp,
  readFile,
  readdir,
  realpath,
  rename,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { crc32c } from './crc32c.ts';
import { isAlive } from './processes.ts';
import { removeDiscarded } from './replaced.ts';
import { RestoreError } from './restore-command.ts';
import { RESTORE_MARKER, readRestoreMarker, writeRestoreMarker } from './restore-marker.ts';
import { type RestoreOptions, discardRestored, removeHalfRestored, restoreDataDirectory } from './restore.ts';

let root: string;
const notes: string[] = [];
beforeEach(async () => {
  root = await realpath(await mkdtemp(join(tmpdir(), 'pg-sentinel-restore-')));
  notes.length = 0;
});
afterEach(() => rm(root, { recursive: true, force: true }));

const options = (script: string, more: Partial<RestoreOptions> = {}): RestoreOptions => ({
  dataDirectory: join(root, 'data'),
  user: { name: 'self', uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, owner: undefined },
  places: { tablespaces: new Map([['fast', join(root, 'fast')]]), walDirectory: join(root, 'wal') },
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

/** What a restored data directory has at the least. */
const WHOLE =
  'cd "$PG_SENTINEL_DATA_DIRECTORY" && mkdir global pg_wal pg_tblspc && echo 15 > PG_VERSION && cp ../../control global/pg_control';
async function makeControl(): Promise<void> {
  const bytes = Buffer.alloc(8192);
  bytes.writeUInt32LE(1300, 8);
  bytes.writeUInt32LE(5, 16);
  bytes.writeUInt32LE(1, 48);
  bytes.writeUInt32LE(crc32c(bytes.subarray(0, 288)), 288);
  await writeFile(join(root, 'control'), bytes);
}

describe('what somebody has set aside', () => {
  const aside = 'fast/pg_sentinel-aabbccdd/PG_15_1';
  beforeEach(async () => {
    await makeControl();
    await mkdir(join(root, aside), { recursive: true });
    await mkdir(join(root, 'wal', 'pg_sentinel-aabbccdd'), { recursive: true });
    await writeFile(join(root, 'wal', 'pg_sentinel-aabbccdd', '000000010000000000000001'), 'x');
  });
  const untouched = async (): Promise<void> => {
    expect(await readdir(join(root, 'fast'))).toEqual(['pg_sentinel-aabbccdd']);
    expect(await readdir(join(root, 'fast', 'pg_sentinel-aabbccdd'))).toEqual(['PG_15_1']);
    expect(await readdir(join(root, 'wal'))).toEqual(['pg_sentinel-aabbccdd']);
    expect(await readdir(join(root, 'wal', 'pg_sentinel-aabbccdd'))).toHaveLength(1);
    expect(await left()).toEqual([]);
  };
  const tablespace = 'ln -s $ROOT/fast/pg_sentinel-aabbccdd pg_tblspc/16400';
  const wal = 'rmdir pg_wal && ln -s $ROOT/wal/pg_sentinel-aabbccdd pg_wal';

  test.each([
    ['its tablespace, of a command that fails', `${tablespace} && exit 3`, '(exit code 3)'],
    ['its tablespace, of a backup that leads there', tablespace, 'which may be another server'],
    ['its WAL', wal, 'its pg_wal is a link to'],
  ])('in a directory of this node is left as it is: %s', async (_, script, reason) => {
    const environment = { ROOT: root };
    expect(await failure(`${WHOLE} && ${script}`, { environment })).toContain(reason);
    await untouched();
  });

  test('stays when a restore is given up, though its WAL has linked to it', async () => {
    await restoreDataDirectory(options(WHOLE));
    await symlink(join(root, 'fast', 'pg_sentinel-aabbccdd'), join(root, 'data', 'pg_tblspc', '16400'));
    await discardRestored(options(''));
    await untouched();
  });

  test('stays when a clone has replaced a restore that was not finished', async () => {
    await restoreDataDirectory(options(WHOLE));
    await symlink(join(root, 'fast', 'pg_sentinel-aabbccdd'), join(root, 'data', 'pg_tblspc', '16400'));
    await rename(join(root, 'data'), join(root, 'data.pg_sentinel_discarded-00000001'));
    await removeDiscarded(join(root, 'data'), options('').user);
    await untouched();
  });
});

test('tablespaces and WAL have new directories of their own, which go with what was restored; those that nothing is in go at once', async () => {
  await makeControl();
  const more = {
    places: {
      tablespaces: new Map([
        ['fast', join(root, 'fast')],
        ['/old/slow', join(root, 'slow')],
      ]),
      walDirectory: join(root, 'wal'),
    },
  };
  const script = `${WHOLE} && mkdir "$PG_SENTINEL_TABLESPACE_fast/PG_15_1" && test -d "$PG_SENTINEL_TABLESPACE__old_slow"
    rmdir pg_wal && ln -s "$PG_SENTINEL_WAL_DIRECTORY" pg_wal && echo "16400 $PG_SENTINEL_TABLESPACE_fast" > tablespace_map`;
  await restoreDataDirectory(options(script, more));
  const { parts } = await readRestoreMarker(join(root, 'data'), options('').user);
  expect(parts).toEqual([
    expect.stringMatching(/\/fast\/pg_sentinel-[0-9a-f]{8}$/),
    expect.stringMatching(/\/wal\/pg_sentinel-[0-9a-f]{8}$/),
  ]);
  expect(await realpath(join(root, 'data', 'pg_wal'))).toBe(parts[1]);
  expect(await readdir(parts[0] ?? '')).toEqual(['PG_15_1']);
  expect(await readdir(join(root, 'slow'))).toEqual([]);
  expect(await left()).toEqual(['data']);
  await discardRestored(options(''));
  expect([await left(), await readdir(join(root, 'fast')), await readdir(join(root, 'wal'))]).toEqual([
    ...[[], [], []],
  ]);
  const unlinked = `${WHOLE} && mkdir "$PG_SENTINEL_TABLESPACE_fast/PG_15_1"`;
  expect(await failure(unlinked, more)).toContain('nothing of what it restored leads there');
  expect(await readdir(join(root, 'fast'))).toEqual([]);
});

test('a command that puts a link in the place of the directory, or leaves something running that writes, has failed', async () => {
  await makeControl();
  await mkdir(join(root, 'elsewhere'));
  const link = `${WHOLE} && mv "$PG_SENTINEL_DATA_DIRECTORY" ${root}/elsewhere/data && ln -s ${root}/elsewhere/data "$PG_SENTINEL_DATA_DIRECTORY"`;
  expect(await failure(link)).toContain("left no directory of self's");
  expect(await readdir(join(root, 'elsewhere'))).toEqual(['data']);
  const running = `${WHOLE} && (setsid sleep 300 > /dev/null 2>&1 & echo $! > ${root}/pid)`;
  expect(await failure(running, { leftRunningMs: 200 })).toContain('left processes running');
  expect(isAlive(Number(await readFile(join(root, 'pid'), 'utf8')))).toBe(false);
  expect(await left()).toEqual([]);
  // What ends in time is waited for.
  const late = `${WHOLE} && (setsid sh -c 'sleep 0.5; touch late' > /dev/null 2>&1 &)`;
  await restoreDataDirectory(options(late));
  expect(await readdir(join(root, 'data'))).toContain('late');
});

test('what the command says is not written to a pipe, nor through a link', async () => {
  await mkdir(join(root, 'postgresql'));
  const log = join(root, 'postgresql', 'pg1.restore.log');
  expect(spawnSync('mkfifo', [log]).status).toBe(0);
  expect(await failure('true')).toContain('cannot write what the bootstrap command says');
  await rm(log);
  await symlink(join(root, 'precious'), log);
  expect(await failure('true')).toContain('cannot write what the bootstrap command says');
  expect(await readdir(root)).not.toContain('precious');
});

test('what a killed run left is removed, with its processes and the directories that were made for it; nothing else is', async () => {
  const work = join(root, 'data.restore-0a1b2c3d');
  const place = options('');
  const own = 'fast/pg_sentinel-00000001';
  for (const name of [`${own}/PG_15_1`, 'fast/PG_15_1', 'others/PG_15_1'])
    await mkdir(join(root, name), { recursive: true });
  await mkdir(join(work, 'data', 'pg_tblspc'), { recursive: true });
  await writeFile(join(work, 'data.parts'), JSON.stringify({ made: [join(root, own)] }));
  await symlink(join(root, 'fast'), join(work, 'data', 'pg_tblspc', '1'));
  await symlink(join(root, 'others'), join(work, 'data', 'pg_tblspc', '2'));
  await symlink(join(root, 'others'), join(work, 'data', 'pg_wal'));
  // Of a backup that was made of such a directory.
  const marker = { recovery: '', isStarted: true, parts: [join(root, 'others', 'pg_sentinel-00000002')] };
  await mkdir(marker.parts[0] ?? '');
  await writeRestoreMarker(join(work, 'data'), marker, place.user);
  await writeFile(join(root, 'others', '000000010000000000000001'), 'x');
  // Somebody's, without the marker.
  await mkdir(join(root, 'data.restore-ffffffff', 'precious'), { recursive: true });
  await mkdir(join(root, 'data.restore-later'));
  // Killed while its marker was written.
  await mkdir(join(root, 'data.restore-0000000a'));
  await writeFile(join(root, 'data.restore-0000000a', 'pg_sentinel_restore.new'), '');
  const child = spawn('/bin/sleep', ['300'], { env: { PG_SENTINEL_DATA_DIRECTORY: join(work, 'data') } });
  const ended = once(child, 'exit');
  await writeFile(join(work, 'pg_sentinel_restore'), '');
  await removeHalfRestored(place);
  expect(await ended).toEqual([null, 'SIGKILL']);
  expect((await left()).sort()).toEqual(['data.restore-ffffffff', 'data.restore-later']);
  expect(await readdir(join(root, 'fast'))).toEqual(['PG_15_1']);
  expect((await readdir(join(root, 'others'))).sort()).toEqual([
    ...['000000010000000000000001', 'PG_15_1', 'pg_sentinel-00000002'],
  ]);
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
