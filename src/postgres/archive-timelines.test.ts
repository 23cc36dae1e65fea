// What an archive knows beyond the place where recovery stands: "not there" is believed only of an archive that answers.
import { mkdir, mkdtemp, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { timeline } from '../base/ids.ts';
import { lsn, parseLsn } from '../base/lsn.ts';
import type { ArchiveQuestion } from './archive-questions.ts';
import { type ArchivedTimelines, archivedTimelines, walBeyond } from './archive-timelines.ts';
import { RestoreError } from './restore-command.ts';

const START = '000000010000000000000002';
let root: string;
let archive: string;
let dataDirectory: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'pg-sentinel-archive-timelines-'));
  archive = join(root, 'archive');
  dataDirectory = join(root, 'data');
  await mkdir(archive);
  await mkdir(join(dataDirectory, 'pg_wal'), { recursive: true });
  await writeFile(
    join(dataDirectory, 'backup_label.old'),
    `START WAL LOCATION: 0/2000028 (file ${START})\nCHECKPOINT LOCATION: 0/2000060\n`,
  );
});
afterEach(() => rm(root, { recursive: true }));

const put = (...names: readonly string[]): Promise<unknown> =>
  Promise.all(names.map((name) => writeFile(join(archive, name), '')));
const question = (more: Partial<ArchiveQuestion> = {}): ArchiveQuestion => ({
  dataDirectory,
  user: { name: 'self', uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, owner: undefined },
  restoreCommand: `cp ${archive}/%f %p`,
  timeline: timeline(1),
  position: lsn(0x4000100n),
  walSegmentBytes: 16 << 20,
  signal: new AbortController().signal,
  ...more,
});
const ask = async (restoreCommand: string | null = `cp ${archive}/%f %p`, on = 1): Promise<number> =>
  (await archivedTimelines(question({ restoreCommand: restoreCommand ?? undefined, timeline: timeline(on) })))
    .highest;

test('the highest that has a history file, across numbers that are missing; nothing is left behind', async () => {
  await put(START);
  expect(await ask()).toBe(1);
  await put('00000003.history', '0000000A.history');
  expect(await ask()).toBe(10);
  expect(await readdir(join(dataDirectory, 'pg_wal'))).toEqual([]);
});

test('any file that it must have is a witness: the history of its timeline, or where recovery stands', async () => {
  await put('00000003.history', '00000005.history');
  expect(await ask(null, 3)).toBe(3);
  expect(await ask(`cp ${archive}/%f %p`, 3)).toBe(5);
  await rm(join(archive, '00000003.history'));
  await put('000000030000000000000003');
  expect(await ask(`cp ${archive}/%f %p`, 3)).toBe(5);
});

test('an archive that cannot be reached, is lost meanwhile, or says that all is well and brings nothing, is not believed', async () => {
  await put(START, '00000002.history');
  await rename(archive, `${archive}.away`);
  await expect(ask()).rejects.toThrow(/gives none of 000000010000000000000002, .* cannot be reached/);
  await expect(ask()).rejects.toThrow(RestoreError);
  await rename(`${archive}.away`, archive);
  expect(await ask()).toBe(2);
  await expect(ask('true')).rejects.toThrow('cannot be reached');
  const once = `cp ${archive}/%f %p && [ %f != ${START} ] || { mv ${archive} ${archive}.away; test -f %p; }`;
  await expect(ask(once)).rejects.toThrow('cannot be reached');
});

test('a command that itself failed is no answer', async () => {
  await expect(ask('exit 126')).rejects.toThrow('restore_command ended with 126');
  await expect(ask(join(root, 'no-such-program'))).rejects.toThrow('ended with 127');
});

const history = (of: string, text: string): Promise<void> => writeFile(join(archive, `${of}.history`), text);
const newest = async (more: Partial<ArchiveQuestion> = {}): Promise<ArchivedTimelines['newest']> =>
  (await archivedTimelines(question(more))).newest;

test('the newest is the highest with a history, across numbers of promotions that were given up; empty ones only fill gaps', async () => {
  await put(START, '00000005.history');
  expect(await newest()).toEqual({ timeline: 1, history: [] });
  await history('00000003', '1\t0/5000000\tno recovery target specified\n');
  expect(await newest()).toMatchObject({
    timeline: 3,
    history: [{ timeline: 1, switchLsn: parseLsn('0/5000000') }],
  });
  // A filler of the data directory does not hide what the archive has under its number; one that is no regular file there is not taken.
  await writeFile(join(dataDirectory, 'pg_wal', '00000007.history'), '');
  await history('00000007', '1\t0/5000000\t\n3\t0/6000000\t\n');
  expect((await newest()).timeline).toBe(7);
  await history('00000046', '1\t0/5000000\t\n');
  expect((await newest()).timeline).toBe(70);
  await history('00000008', 'nonsense');
  await expect(newest()).rejects.toThrow('00000008.history of the archive is damaged');
  await expect(newest()).rejects.toThrow(RestoreError);
});

/** A segment as a server has written it, or, `from` another one, as it keeps it for later use. */
async function putSegment(name: string, from = name): Promise<void> {
  const page = Buffer.alloc(64);
  const address =
    BigInt(`0x${from.slice(8, 16)}`) * 0x100000000n + BigInt(`0x${from.slice(16)}`) * 0x1000000n;
  page.writeBigUInt64LE(address, 8);
  await writeFile(join(archive, name), page);
}
const beyond = async (more: Partial<ArchiveQuestion> = {}): Promise<string | undefined> =>
  walBeyond(question(more), await newest(more));

test('WAL after the segment that recovery waits for is a hole; none after it is the end', async () => {
  await put(START);
  await putSegment('000000010000000000000004');
  expect(await beyond()).toBeUndefined();
  // Kept for later use, with the content of an older one; or nothing in it.
  await putSegment('000000010000000000000005', '000000010000000000000001');
  await put('000000010000000000000006');
  expect(await beyond()).toBeUndefined();
  await putSegment('000000010000000000000006');
  expect(await beyond()).toBe(
    '000000010000000000000005 is missing or damaged, though there is WAL after it (000000010000000000000006)',
  );
  await putSegment('000000010000000000000005');
  expect(await beyond()).toContain('000000010000000000000004 is missing or damaged');
  expect(await beyond({ restoreCommand: undefined })).toBeUndefined();
  expect(await readdir(join(dataDirectory, 'pg_wal'))).toEqual([]);
});

test('a segment of which nothing was read yet, and that is there, is not the end', async () => {
  await put(START);
  const more = { position: lsn(0x4000000n) };
  expect(await beyond(more)).toBeUndefined();
  await putSegment('000000010000000000000004');
  expect(await beyond(more)).toContain('000000010000000000000004 is there');
});

test('a hole before the place where a later timeline of the line begins is found there', async () => {
  await put(START);
  await history('00000003', '1\t0/50000100\tno recovery target specified\n');
  await history('00000005', '1\t0/50000100\t\n3\t0/70000100\t\n');
  expect(await beyond()).toBeUndefined();
  await putSegment('000000030000000000000050');
  expect(await beyond()).toContain(
    'the WAL up to 0/50000100, where timeline 3 begins, is missing or damaged',
  );
  await rm(join(archive, '000000030000000000000050'));
  await putSegment('000000050000000000000071');
  expect(await beyond()).toContain('the WAL up to 0/70000100, where timeline 5 begins');
});

test('an archive that is out of reach is not at its end', async () => {
  await rename(archive, `${archive}.away`);
  await expect(walBeyond(question(), { timeline: timeline(1), history: [] })).rejects.toThrow(
    'cannot be reached',
  );
});

test('a backup_label that is a link to what the user may not read, or is not there, says nothing', async () => {
  await put(START);
  await rm(join(dataDirectory, 'backup_label.old'));
  await symlink(join(root, 'nowhere'), join(dataDirectory, 'backup_label'));
  await expect(ask()).rejects.toThrow('gives none of 000000010000000000000004, 000000010000000000000003');
});
