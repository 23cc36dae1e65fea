// What is put aside of a former primary's WAL: copied where somebody may still read it, moved where nobody does, and named where it is lost.
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, readdir, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { timeline } from '../base/ids.ts';
import { type Lsn, lsn } from '../base/lsn.ts';
import { keptFiles } from './archive.ts';
import { keepUnarchived } from './keep-unarchived.ts';

/** Segments of 4 kB, of which the last one ends long before timeline 1 does. */
const SEGMENT_BYTES = 4096;
const SEGMENTS = [1, 2, 3, 4, 5, 6].map((number) => `00000001000000000000000${number}`);
const [FIRST = '', SECOND = '', THIRD = '', FOURTH = '', FIFTH = '', SIXTH = ''] = SEGMENTS;
const HISTORY_FILE = '00000003.history';
const HISTORY = {
  group: { timeline: timeline(3), from: { timeline: timeline(1), position: lsn(1n << 30n) } },
  branches: [],
};
const user = { name: 'self', uid: process.getuid?.() ?? 0, gid: 0, owner: undefined };
const MIB = 1 << 20;
let root: string;
let status: string;
let directory: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'pg-sentinel-keep-'));
  status = join(root, 'pg_wal', 'archive_status');
  directory = join(root, 'state', 'unarchived', 'a');
  await mkdir(status, { recursive: true });
});
afterEach(() => rm(root, { recursive: true }));

async function ready(...files: string[]): Promise<void> {
  for (const file of files) {
    await writeFile(join(root, 'pg_wal', file), file.padEnd(SEGMENT_BYTES));
    await writeFile(join(status, `${file}.ready`), '');
  }
}
const keep = (more: Partial<Parameters<typeof keepUnarchived>[0]> = {}) =>
  keepUnarchived({
    ...{ user, dataDirectory: root, directory, history: HISTORY, segmentBytes: SEGMENT_BYTES },
    ...{ neededFrom: lsn(0n), usefulFrom: lsn(0n), ...more },
  });
const beginOf = (segment: string): Lsn => lsn(BigInt(SEGMENTS.indexOf(segment) + 1) * BigInt(SEGMENT_BYTES));
const room = (freeBytes: number, totalBytes = 0) => ({
  room: () => Promise.resolve({ freeBytes, totalBytes }),
});
const marks = async (): Promise<string[]> => (await readdir(status)).sort();
const inWal = async (): Promise<string[]> =>
  (await readdir(join(root, 'pg_wal'))).filter((name) => name !== 'archive_status').sort();

test('what recovery or pg_rewind may read is copied, and nobody else archives it', async () => {
  const ofOthers = ['000000010000000000FFFFFF', '00000004.history', 'xlogtemp.1'];
  await ready(FIRST, SECOND, HISTORY_FILE, ...ofOthers);
  const files = [HISTORY_FILE, FIRST, SECOND];
  expect(await keep()).toEqual({ files, lost: [] });
  expect(await keptFiles(directory)).toEqual(files);
  expect(await readFile(join(directory, FIRST), 'utf8')).toBe(FIRST.padEnd(SEGMENT_BYTES));
  expect(await inWal()).toEqual([...files, ...ofOthers].sort());
  expect(await marks()).toEqual(
    [...files.map((file) => `${file}.done`), ...ofOthers.map((file) => `${file}.ready`)].sort(),
  );
  expect(await keep()).toEqual({ files: [], lost: [] });
});

test('a segment that was cut short, and a link in the place of one, are no WAL of ours', async () => {
  await ready(FIRST, SECOND, THIRD);
  await truncate(join(root, 'pg_wal', FIRST), 4000);
  await rm(join(root, 'pg_wal', SECOND));
  await symlink(join(root, 'pg_wal', THIRD), join(root, 'pg_wal', SECOND));
  expect(await keep()).toEqual({ files: [THIRD], lost: [] });
});

test('what may be read and has no room is named and stays as it is, but for histories', async () => {
  await ready(FIRST, SECOND, HISTORY_FILE);
  const free = [0, 257 * MIB, 256 * MIB];
  const shrinking = () => Promise.resolve({ freeBytes: free.shift() ?? 0, totalBytes: 0 });
  expect(await keep({ room: shrinking })).toEqual({ files: [HISTORY_FILE, FIRST], lost: [SECOND] });
  expect(await marks()).toEqual([`${FIRST}.done`, `${SECOND}.ready`, `${HISTORY_FILE}.done`]);
});

test('what nobody reads any more is moved with its mark, which takes no room', async () => {
  await ready(FIRST, SECOND, THIRD);
  const { ino } = await stat(join(root, 'pg_wal', FIRST));
  // In the midst of the third one.
  const from = lsn(beginOf(THIRD) + 1n);
  expect(await keep({ ...room(0), neededFrom: from, usefulFrom: from })).toEqual({
    files: [FIRST, SECOND],
    lost: [THIRD],
  });
  expect((await stat(join(directory, FIRST))).ino).toBe(ino);
  expect(await inWal()).toEqual([THIRD]);
  expect(await marks()).toEqual([`${THIRD}.ready`]);
});

test('what is of use is copied from the newest on while there is ample room, and moved otherwise', async () => {
  await ready(...SEGMENTS);
  const free = [300, 300, 300, 269].map((mib) => mib * MIB);
  const shrinking = () => Promise.resolve({ freeBytes: free.shift() ?? 0, totalBytes: 260 * MIB });
  const positions = { usefulFrom: beginOf(SECOND), neededFrom: beginOf(SIXTH) };
  expect(await keep({ room: shrinking, ...positions })).toEqual({ files: SEGMENTS, lost: [] });
  expect(await keptFiles(directory)).toEqual(SEGMENTS);
  expect(await inWal()).toEqual([FOURTH, FIFTH, SIXTH]);
});

describe.runIf(existsSync('/dev/shm'))('on another file system (needs /dev/shm)', () => {
  let elsewhere: string;
  beforeEach(async () => {
    elsewhere = await mkdtemp('/dev/shm/pg-sentinel-keep-');
  });
  afterEach(() => rm(elsewhere, { recursive: true }));

  test.each([
    ['with', THIRD, SIXTH],
    ['without', FIRST, SIXTH],
  ])('all of it is copied, %s what nobody reads any more', async (_, usefulFrom, neededFrom) => {
    await ready(...SEGMENTS);
    const positions = { usefulFrom: beginOf(usefulFrom), neededFrom: beginOf(neededFrom) };
    const kept = await keep({ directory: elsewhere, ...room(300 * MIB, 2 ** 40), ...positions });
    expect(kept).toEqual({ files: SEGMENTS, lost: [] });
    expect(await readFile(join(elsewhere, THIRD), 'utf8')).toBe(THIRD.padEnd(SEGMENT_BYTES));
    expect(await inWal()).toEqual(SEGMENTS);
  });

  test('what comes after the first that has no room is named', async () => {
    await ready(...SEGMENTS.slice(0, 4));
    const free = [300, 300, 256, 300].map((mib) => mib * MIB);
    const shrinking = () => Promise.resolve({ freeBytes: free.shift() ?? 0, totalBytes: 2 ** 40 });
    const positions = { usefulFrom: beginOf(SECOND), neededFrom: beginOf(FOURTH) };
    const kept = await keep({ directory: elsewhere, room: shrinking, ...positions });
    expect(kept).toEqual({ files: [FIRST, SECOND], lost: [THIRD, FOURTH] });
  });
});

test('what cannot be copied does not keep the rest from being put aside, and is told in the end', async () => {
  await ready(...SEGMENTS, HISTORY_FILE);
  // In the place of the copies that are being made.
  for (const file of [HISTORY_FILE, FIFTH])
    await mkdir(join(directory, `${file}.new`, 'x'), { recursive: true });
  const positions = { usefulFrom: beginOf(SECOND), neededFrom: beginOf(FIFTH) };
  await expect(keep({ ...room(300 * MIB, 2 ** 40), ...positions })).rejects.toThrow(/00000003.history.new/);
  expect(await inWal()).toEqual([FIFTH, SIXTH, HISTORY_FILE]);
  expect(await marks()).toEqual([`${FIFTH}.ready`, `${SIXTH}.done`, `${HISTORY_FILE}.ready`]);
});

test('a move that was interrupted before its mark was taken away is no loss', async () => {
  await ready(FIRST, SECOND);
  const from = beginOf(SECOND);
  await keep({ neededFrom: from, usefulFrom: from });
  await writeFile(join(status, `${FIRST}.ready`), '');
  expect(await keep({ neededFrom: from, usefulFrom: from })).toEqual({ files: [], lost: [] });
  expect(await marks()).toEqual([`${SECOND}.done`]);
});

test('nothing is made where there is nothing, and a file that is gone is no hindrance', async () => {
  await writeFile(join(status, `${FIRST}.ready`), '');
  expect(await keep()).toEqual({ files: [], lost: [] });
  await expect(stat(directory)).rejects.toThrow('ENOENT');
});

test('root is not led into a directory that is not the user’s', async () => {
  await ready(FIRST);
  const owner = { uid: user.uid + 1, gid: 0 };
  await expect(keep({ user: { ...user, owner } })).rejects.toThrow(/pg_wal belongs to the user with number/);
  expect(await inWal()).toEqual([FIRST]);
});
