// What a former primary had not archived: put aside where it is on the group's history, and archived from there with the server's command.
import { existsSync } from 'node:fs';
import {
  chmod,
  mkdir,
  mkdtemp,
  readFile,
  readdir,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { timeline } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import { archiveKept, commandFor, isOnHistory, keepUnarchived, keptFiles, readArchiving } from './archive.ts';
import type { Binaries } from './binaries.ts';

const MIB = 1n << 20n;
const SEGMENT_BYTES = Number(16n * MIB);
const SEGMENTS = ['000000010000000000000004', '000000010000000000000005'] as const;
/** Timeline 1 to 6 MiB into segment 6, then 3 to 1/04800000, then 5. 2 and 4 were never the group's. */
const HISTORY = {
  group: { timeline: timeline(5), from: { timeline: timeline(3), position: lsn((1n << 32n) + 72n * MIB) } },
  branches: [{ timeline: timeline(3), parent: timeline(1), switchLsn: lsn(102n * MIB) }],
};
const user = { name: 'self', uid: 0, gid: 0, owner: undefined };
const PLENTY = { freeBytes: 2 ** 40, totalBytes: 2 ** 40 };
let root: string;
let status: string;
let directory: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'pg-sentinel-archive-'));
  status = join(root, 'pg_wal', 'archive_status');
  directory = join(root, 'state', 'unarchived', 'a');
  await mkdir(status, { recursive: true });
  await mkdir(join(root, 'archive'));
});
afterEach(() => rm(root, { recursive: true }));

async function ready(...files: string[]): Promise<void> {
  for (const file of files) {
    await writeFile(join(root, 'pg_wal', file), file.padEnd(4096));
    await writeFile(join(status, `${file}.ready`), '');
  }
}
/** Segments of 4 kB are nearer to the beginning: what belongs to which part is tested with real sizes below. */
const keep = (more: Partial<Parameters<typeof keepUnarchived>[0]> = {}) =>
  keepUnarchived({
    ...{ user, dataDirectory: root, directory, history: HISTORY, segmentBytes: 4096, neededFrom: lsn(0n) },
    ...more,
  });
const marks = async (): Promise<string[]> => (await readdir(status)).sort();

test('a segment that was cut short, and a link in the place of one, are no WAL of ours', async () => {
  const [short, linked, whole] = [1, 2, 3].map((n) => `00000001000000000000000${n}`);
  await ready(short ?? '', linked ?? '', whole ?? '');
  await truncate(join(root, 'pg_wal', short ?? ''), 4000);
  await rm(join(root, 'pg_wal', linked ?? ''));
  await symlink(join(root, 'pg_wal', whole ?? ''), join(root, 'pg_wal', linked ?? ''));
  expect(await keep()).toEqual({ files: [whole], withoutRoom: [] });
});

describe('only what lies on the group’s history is archived', () => {
  test.each([
    ['000000010000000000000005', true, 'ends where timeline 1 still was the group’s'],
    ['000000010000000000000006', false, 'holds the point where timeline 1 was left'],
    ['000000010000000000000007', false, 'lies beyond it'],
    ['000000020000000000000004', false, 'is of a timeline that was never the group’s'],
    ['000000030000000100000003', true, 'ends before timeline 3 was left'],
    ['000000030000000100000004', false, 'holds the point where timeline 3 was left'],
    ['0000000300000000000000FF', true, 'ends at a multiple of 4 GiB'],
    ['000000050000000000000001', false, 'is of the present timeline, which is the primary’s'],
    ['00000003.history', true, 'tells how timeline 3 began'],
    ['00000005.history', true, 'tells how the present one began'],
    ['00000004.history', false, 'tells of a timeline that was never the group’s'],
    ['000000010000000000000005.partial', false, 'is a part'],
  ])('%s: %s, it %s', (file, expected) => {
    expect(isOnHistory(file, SEGMENT_BYTES, HISTORY)).toBe(expected);
  });

  test('also the segment that ends at the very point', () => {
    const at = (position: bigint) => ({
      group: { timeline: timeline(3), from: { timeline: timeline(1), position: lsn(position) } },
      branches: [],
    });
    expect(isOnHistory(SEGMENTS[0], SEGMENT_BYTES, at(80n * MIB))).toBe(true);
    expect(isOnHistory(SEGMENTS[0], SEGMENT_BYTES, at(80n * MIB - 1n))).toBe(false);
  });
});

test('it is put aside, and nobody else archives it', async () => {
  await ready(...SEGMENTS, '000000010000000000FFFFFF', '00000003.history', '00000004.history', 'xlogtemp.1');
  const files = ['00000003.history', ...SEGMENTS];
  expect(await keep()).toEqual({ files, withoutRoom: [] });
  expect(await keptFiles(directory)).toEqual(files);
  expect(await readFile(join(directory, SEGMENTS[0]), 'utf8')).toBe(SEGMENTS[0].padEnd(4096));
  const left = ['000000010000000000FFFFFF', '00000004.history', 'xlogtemp.1'];
  expect(await marks()).toEqual(
    [...files.map((file) => `${file}.done`), ...left.map((file) => `${file}.ready`)].sort(),
  );
  expect(await keep()).toEqual({ files: [], withoutRoom: [] });
});

test('what has no room is named and stays as it is', async () => {
  await ready(...SEGMENTS);
  const free = [258 << 20, 257 << 20];
  const room = () => Promise.resolve({ freeBytes: free.shift() ?? 0, totalBytes: 36 << 20 });
  expect(await keep({ room })).toEqual({ files: [SEGMENTS[0]], withoutRoom: [SEGMENTS[1]] });
  expect(await marks()).toEqual([`${SEGMENTS[0]}.done`, `${SEGMENTS[1]}.ready`]);
});

test('what is not needed any more is moved, which takes no room', async () => {
  await ready(...SEGMENTS, '00000003.history');
  const inodes = await Promise.all(
    SEGMENTS.map(async (file) => (await stat(join(root, 'pg_wal', file))).ino),
  );
  const room = () => Promise.resolve({ freeBytes: 0, totalBytes: 1 << 30 });
  // In the midst of the second one.
  const neededFrom = lsn(5n * 4096n + 1n);
  expect(await keep({ room, neededFrom })).toEqual({
    files: [SEGMENTS[0]],
    withoutRoom: ['00000003.history', SEGMENTS[1]],
  });
  expect((await stat(join(directory, SEGMENTS[0]))).ino).toBe(inodes[0]);
  expect((await readdir(join(root, 'pg_wal'))).sort()).toEqual([
    SEGMENTS[1],
    '00000003.history',
    'archive_status',
  ]);
  expect(await keep({ neededFrom })).toEqual({
    files: ['00000003.history', SEGMENTS[1]],
    withoutRoom: [],
  });
  expect((await stat(join(root, 'pg_wal', SEGMENTS[1]))).ino).toBe(inodes[1]);
  expect(await marks()).toEqual([...SEGMENTS, '00000003.history'].map((file) => `${file}.done`));
});

test.runIf(existsSync('/dev/shm'))('from another file system it is copied', async () => {
  await ready(SEGMENTS[0]);
  const elsewhere = await mkdtemp('/dev/shm/pg-sentinel-archive-');
  try {
    const kept = await keep({
      directory: elsewhere,
      neededFrom: lsn(1n << 40n),
      room: () => Promise.resolve(PLENTY),
    });
    expect(kept).toEqual({ files: [SEGMENTS[0]], withoutRoom: [] });
    expect(await readFile(join(elsewhere, SEGMENTS[0]), 'utf8')).toBe(SEGMENTS[0].padEnd(4096));
    expect(await readdir(join(root, 'pg_wal'))).toContain(SEGMENTS[0]);
  } finally {
    await rm(elsewhere, { recursive: true });
  }
});

test('nothing is made where there is nothing, and a file that is gone is no hindrance', async () => {
  await writeFile(join(status, `${SEGMENTS[0]}.ready`), '');
  expect(await keep()).toEqual({ files: [], withoutRoom: [] });
  await expect(stat(directory)).rejects.toThrow('ENOENT');
});

test('a copy goes once it is in the archive, and stays where the command fails', async () => {
  await ready(...SEGMENTS);
  await keep();
  const command = 'case %f in *5) echo trying; echo the store is full >&2; exit 1 ;; esac; cp %p archive/%f';
  const archive = (file: string) => archiveKept({ user, dataDirectory: root, directory, file, command });
  expect(await archive(SEGMENTS[0])).toBeUndefined();
  expect(await archive(SEGMENTS[1])).toBe('the store is full');
  expect(await readdir(join(root, 'archive'))).toEqual([SEGMENTS[0]]);
  expect(await readdir(directory)).toEqual([SEGMENTS[1]]);
});

test.each([
  [14, ''],
  [15, 'basic_archive'],
])('the settings are read from what version %i prints on stdout alone', async (version, library) => {
  const script = `#!/bin/sh\necho "WARNING: something" >&2\ncase "$4" in archive_mode) echo on ;; archive_command) echo 'cp %%p x' ;; archive_library) echo basic_archive ;; esac\n`;
  await writeFile(join(root, 'postgres'), script.replaceAll('%%', '%'));
  await chmod(join(root, 'postgres'), 0o755);
  const binaries = { directory: root, version } as Binaries;
  expect(await readArchiving({ binaries, user, dataDirectory: root })).toEqual({
    mode: 'on',
    command: 'cp %p x',
    library,
  });
});

test('a command is filled in as PostgreSQL does', () => {
  expect(commandFor('push %p to %f at 100%%p %x', '/kept/A', 'A')).toBe('push /kept/A to A at 100%p %x');
});
