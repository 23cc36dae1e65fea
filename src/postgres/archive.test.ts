// What a former primary had not archived: which of it is on the group's history, and how the server archives it.
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { timeline } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import { archiveKept, commandFor, isOnHistory, readArchiving } from './archive.ts';
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
let root: string;
let directory: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'pg-sentinel-archive-'));
  directory = join(root, 'state', 'unarchived', 'a');
  await mkdir(join(root, 'archive'));
});
afterEach(() => rm(root, { recursive: true }));

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

test('a copy goes once it is in the archive, and stays where the command fails', async () => {
  await mkdir(directory, { recursive: true });
  for (const file of SEGMENTS) await writeFile(join(directory, file), '');
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
