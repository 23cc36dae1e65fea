// What a former primary had not archived: tried until it succeeds where nothing takes it away, said where it does not, and once for each epoch.
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { epoch } from '../base/ids.ts';
import type { Binaries } from '../postgres/binaries.ts';
import { archiveBefore, archiveBeside } from './leftover-wal.ts';
import { type FakeContext, fakeContext, FOLLOW } from './testing/context.ts';

const SEGMENT = '000000010000000000000004';
let root: string;
let context: FakeContext;
const never = new AbortController().signal;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'pg-sentinel-leftover-'));
  await mkdir(join(root, 'pg_wal', 'archive_status'), { recursive: true });
  await mkdir(join(root, 'archive'));
  // Answers `postgres -D DIRECTORY -C NAME`.
  const script = `#!/bin/sh\ncase "$4" in archive_mode) echo on ;; *) echo 'test ! -e broken && cp %p archive/' ;; esac\n`;
  await writeFile(join(root, 'postgres'), script);
  await chmod(join(root, 'postgres'), 0o755);
  const binaries = { directory: root } as Binaries;
  context = Object.assign(fakeContext({ dataDirectory: root, instance: { binaries } }), {
    once: (_: string, work: () => Promise<void>) => work(),
  });
});
afterEach(() => rm(root, { recursive: true }));

async function leave(): Promise<void> {
  await writeFile(join(root, 'pg_wal', SEGMENT), '');
  await writeFile(join(root, 'pg_wal', 'archive_status', `${SEGMENT}.ready`), '');
}
const archived = () => readdir(join(root, 'archive'));

test('is archived before a rewind or a clone, and not looked for again at that epoch', async () => {
  await leave();
  await archiveBefore(context, FOLLOW, never);
  expect(await archived()).toEqual([SEGMENT]);
  await rm(join(root, 'archive', SEGMENT));
  await leave();
  await archiveBefore(context, FOLLOW, never);
  expect(await archived()).toEqual([]);
  await archiveBefore(context, { epoch: epoch(FOLLOW.epoch + 1) }, never);
  expect(await archived()).toEqual([SEGMENT]);
  expect(context.announced).toEqual([]);
});

test('is waited for where the archive does not answer, but not when the duty ends', async () => {
  await leave();
  await writeFile(join(root, 'broken'), '');
  const abort = new AbortController();
  const over = archiveBefore(context, FOLLOW, abort.signal);
  abort.abort(new Error('another duty'));
  await expect(over).rejects.toThrow('another duty');
  const archiving = archiveBefore(context, FOLLOW, never);
  await rm(join(root, 'broken'));
  await archiving;
  expect(await archived()).toEqual([SEGMENT]);
  expect(context.announced).toEqual([]);
});

test('beside a standby it is said that it failed, and tried until it succeeds', async () => {
  await leave();
  await writeFile(join(root, 'broken'), '');
  await archiveBeside(context, FOLLOW, never);
  expect(context.announced).toEqual([
    expect.stringMatching(
      /^1 WAL files that a wrote as primary could not be archived, 0{7}1.*: .*tried again/,
    ),
  ]);
  expect(context.notes.archivedAt).toBeUndefined();
  await rm(join(root, 'broken'));
  await archiveBeside(context, FOLLOW, never);
  expect(await archived()).toEqual([SEGMENT]);
  expect(context.notes.archivedAt).toBe(FOLLOW.epoch);
});
