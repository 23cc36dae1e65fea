// What a former primary had not archived, archived afterwards: in order, with its own command, and each once.
import { chmod, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { archiveLeftovers, commandFor } from './archive.ts';
import type { Binaries } from './binaries.ts';

const SEGMENTS = ['000000010000000000000004', '000000010000000000000005'];
let root: string;
let status: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'pg-sentinel-archive-'));
  status = join(root, 'pg_wal', 'archive_status');
  await mkdir(status, { recursive: true });
  await mkdir(join(root, 'archive'));
});
afterEach(() => rm(root, { recursive: true }));

/** A `postgres -C` that knows two settings. */
async function archive(
  settings: { mode?: string; command?: string; isRunning?: boolean },
  timeoutMs = 60_000,
) {
  const { mode = 'on', command = 'cp %p archive/%f && echo %f >> order', isRunning = false } = settings;
  await writeFile(join(root, 'command'), command);
  const script = `#!/bin/sh\ncase "$4" in archive_mode) echo ${mode} ;; archive_command) cat ${root}/command ;; *) exit 1 ;; esac\n`;
  await writeFile(join(root, 'postgres'), script);
  await chmod(join(root, 'postgres'), 0o755);
  const user = { name: 'self', uid: 0, gid: 0, owner: undefined };
  return archiveLeftovers({
    binaries: { directory: root } as Binaries,
    user,
    dataDirectory: root,
    isRunning,
    timeoutMs,
  });
}
async function ready(...files: string[]): Promise<void> {
  for (const file of files) {
    await writeFile(join(root, 'pg_wal', file), `content of ${file}`);
    await writeFile(join(status, `${file}.ready`), '');
  }
}
const archived = async (): Promise<string[]> => (await readdir(join(root, 'archive'))).sort();

test('those that wait are archived, histories first, the oldest before the next', async () => {
  await ready(...SEGMENTS.toReversed(), '00000002.history');
  await writeFile(join(status, '000000010000000000000003.done'), '');
  const files = ['00000002.history', ...SEGMENTS];
  expect(await archive({})).toEqual({ kind: 'done', files });
  expect((await readFile(join(root, 'order'), 'utf8')).trim().split('\n')).toEqual(files);
  expect(await readFile(join(root, 'archive', files[1] ?? ''), 'utf8')).toBe(`content of ${files[1]}`);
  expect((await readdir(status)).every((name) => name.endsWith('.done'))).toBe(true);
  expect(await archive({})).toEqual({ kind: 'nothing' });
});

test('the first that fails ends it, and what is left is said', async () => {
  await ready(...SEGMENTS);
  const command = 'case %f in *5) echo the store is full >&2; exit 1 ;; esac; cp %p archive/%f';
  expect(await archive({ command })).toEqual({
    kind: 'failed',
    files: [SEGMENTS[0]],
    left: [SEGMENTS[1]],
    reason: 'archive_command: the store is full',
  });
  expect(await archived()).toEqual([SEGMENTS[0]]);
});

test('one that hangs is ended', async () => {
  await ready(...SEGMENTS);
  expect(await archive({ command: 'sleep 600' }, 1000)).toMatchObject({
    kind: 'failed',
    files: [],
    left: SEGMENTS,
  });
});

test('nothing is done where nothing is archived, and it is said where only PostgreSQL could', async () => {
  await ready(...SEGMENTS);
  expect(await archive({ mode: 'off' })).toEqual({ kind: 'nothing' });
  expect(await archive({ mode: 'always', isRunning: true })).toEqual({ kind: 'nothing' });
  expect(await archive({ command: '' })).toMatchObject({ kind: 'failed', left: SEGMENTS });
});

test('names that PostgreSQL would not archive are left alone, and a file that is gone is no hindrance', async () => {
  await ready('xlogtemp.1', '00000001000000000000000G');
  await writeFile(join(status, `${SEGMENTS[0]}.ready`), '');
  expect(await archive({})).toEqual({ kind: 'done', files: [SEGMENTS[0]] });
  expect(await archived()).toEqual([]);
});

test('a command is filled in as PostgreSQL does', () => {
  expect(commandFor('push %p to %f at 100%%p %x', 'pg_wal/A', 'A')).toBe('push pg_wal/A to A at 100%p %x');
});
