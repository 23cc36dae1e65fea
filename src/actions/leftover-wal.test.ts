// What a former primary had not archived: put aside once for each epoch, and archived from there for as long as it takes, also after a restart.
import { chmod, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { until } from '../base/clock.ts';
import { epoch, timeline } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import type { Binaries } from '../postgres/binaries.ts';
import { keptFiles } from '../postgres/archive.ts';
import { isAlive } from '../postgres/processes.ts';
import { rewindMarker } from '../postgres/rewind-marker.ts';
import { type LeftoverArchiver, startLeftoverArchiver } from './leftover-archiver.ts';
import { forgetSourceArchiving, keepLeftovers } from './leftover-wal.ts';
import { type FakeContext, fakeContext, FOLLOW } from './testing/context.ts';
import { IN_PRODUCTION, writeControl } from '../postgres/testing/control-file.ts';

const SEGMENT = '000000010000000000000004';
const SEGMENT_BYTES = 4096;
const DUTY = {
  ...FOLLOW,
  upstream: {
    ...FOLLOW.upstream,
    timeline: timeline(2),
    from: { timeline: timeline(1), position: lsn(1n << 40n) },
  },
};
let root: string;
let context: FakeContext;
let archiver: LeftoverArchiver | undefined;
const never = new AbortController().signal;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'pg-sentinel-leftover-'));
  await mkdir(join(root, 'pg_wal', 'archive_status'), { recursive: true });
  await mkdir(join(root, 'archive'));
  await writeControl(root, IN_PRODUCTION, SEGMENT_BYTES);
  await answers({});
  const binaries = { directory: root, version: 15 } as Binaries;
  context = fakeContext({ dataDirectory: root, instance: { binaries } });
});
afterEach(async () => {
  await archiver?.close();
  await rm(root, { recursive: true });
  await rm(`${root}.unarchived`, { recursive: true, force: true });
});

/** What `postgres -D DIRECTORY -C NAME` says. */
async function answers(settings: { mode?: string; library?: string; command?: string }): Promise<void> {
  const { mode = 'on', library = '', command = 'test ! -e broken && cp %p archive/' } = settings;
  await writeFile(join(root, 'command'), command);
  const script = `#!/bin/sh\ncase "$4" in archive_mode) echo ${mode} ;; archive_library) echo ${library} ;; *) cat ${root}/command ;; esac\n`;
  await writeFile(join(root, 'postgres'), script);
  await chmod(join(root, 'postgres'), 0o755);
}
async function leave(): Promise<void> {
  await writeFile(join(root, 'pg_wal', SEGMENT), Buffer.alloc(SEGMENT_BYTES));
  await writeFile(join(root, 'pg_wal', 'archive_status', `${SEGMENT}.ready`), '');
}
function start(): void {
  const { announce, withdraw, log } = context;
  archiver = startLeftoverArchiver({ ...context.instance.options, announce, withdraw, log, retryMs: 1 });
}
const archived = () => readdir(join(root, 'archive'));
const kept = () => keptFiles(`${root}.unarchived`);
const eventually = (what: string, condition: () => boolean | Promise<boolean>) =>
  until({ what, timeoutMs: 10_000, everyMs: 5 }, condition);

test('it is put aside without the archive, and not looked for again at that epoch', async () => {
  await leave();
  await writeFile(join(root, 'broken'), '');
  await keepLeftovers(context, DUTY, never);
  expect(await kept()).toEqual([SEGMENT]);
  await rm(join(`${root}.unarchived`, SEGMENT));
  await leave();
  await keepLeftovers(context, DUTY, never);
  expect(await kept()).toEqual([]);
  await keepLeftovers(context, { ...DUTY, epoch: epoch(DUTY.epoch + 1) }, never);
  expect(await kept()).toEqual([SEGMENT]);
  expect(context.announced).toEqual([]);
});

test.each([
  ['archive_mode is off', { mode: 'off' }, []],
  ['a running standby archives it itself', { mode: 'always' }, []],
  [
    'only PostgreSQL could',
    { library: 'basic_archive' },
    [expect.stringMatching(/^1 WAL files .* 0{7}1\d+ to .*: archive_library works within PostgreSQL only/)],
  ],
])('it is left alone where %s', async (_, settings, announced) => {
  await leave();
  await answers(settings);
  await keepLeftovers(context, DUTY, never);
  expect(await kept()).toEqual([]);
  expect(context.announced).toEqual(announced);
});

test('what a running standby archives itself is looked at again before a rewind or a clone', async () => {
  await leave();
  await answers({ mode: 'always' });
  await keepLeftovers(context, DUTY, never);
  expect(await kept()).toEqual([]);
  context.isRunning = false;
  await keepLeftovers(context, DUTY, never);
  expect(await kept()).toEqual([SEGMENT]);
});

test.each([
  ['on', 'done'],
  ['always', 'ready'],
])('with archive_mode %s what a rewind brought from its source counts as %s', async (mode, mark) => {
  await leave();
  await answers({ mode });
  await forgetSourceArchiving(context);
  expect(await readdir(join(root, 'pg_wal', 'archive_status'))).toEqual([`${SEGMENT}.${mark}`]);
});

test('that it could not be put aside is said, with the files, once it was tried again', async () => {
  await leave();
  await writeFile(`${root}.unarchived`, 'in the way');
  for (let pass = 1; pass < 3; pass += 1)
    await expect(keepLeftovers(context, DUTY, never)).rejects.toThrow(/EEXIST|ENOTDIR/);
  expect(context.announced).toEqual([]);
  await keepLeftovers(context, DUTY, never);
  expect(context.announced).toEqual([expect.stringMatching(/^1 WAL files .*could not be put into/)]);
});

test('an archive that fails is said once, and when it is done', async () => {
  await leave();
  await answers({ command: 'test -e mended || { echo x >> tries; echo full >&2; exit 1; }; cp %p archive/' });
  await keepLeftovers(context, DUTY, never);
  start();
  await eventually('tries', async () => (await readdir(root)).includes('tries'));
  await eventually('it to be said', () => context.announced.length > 0);
  await writeFile(join(root, 'mended'), '');
  await eventually('the archive', async () => (await archived()).length > 0);
  await eventually('the end', () => context.announced.length > 1);
  expect(await kept()).toEqual([]);
  expect(context.announced).toEqual([
    'WAL files that a wrote as primary could not be archived: archive_command: full',
    'the WAL files that a wrote as primary are archived now',
  ]);
});

test('it is woken by what comes later, and says nothing where all is well', async () => {
  start();
  await leave();
  await keepLeftovers(Object.assign(context, { archiveLeftovers: () => archiver?.wake() }), DUTY, never);
  await eventually('the archive', async () => (await kept()).length === 0);
  expect(await archived()).toEqual([SEGMENT]);
  expect(context.announced).toEqual([]);
});

test('closing ends its command, and the next one begins anew', async () => {
  await leave();
  await keepLeftovers(context, DUTY, never);
  let pid = 0;
  await answers({ command: `echo $$ > pid; cp %p archive/half; exec sleep 600` });
  start();
  await eventually('the command', async () => {
    pid = Number(await readFile(join(root, 'pid'), 'utf8').catch(() => ''));
    return pid > 0;
  });
  await archiver?.close();
  expect(isAlive(pid)).toBe(false);
  expect(await kept()).toEqual([SEGMENT]);
  await answers({});
  start();
  await eventually('the archive', async () => (await archived()).includes(SEGMENT));
});

test('after a rewind that was interrupted what is marked is the source’s, and left alone', async () => {
  await leave();
  await writeFile(rewindMarker(root), '');
  await keepLeftovers(context, DUTY, never);
  await rm(rewindMarker(root));
  expect(await kept()).toEqual([]);
  await keepLeftovers(context, DUTY, never);
  expect(await kept()).toEqual([SEGMENT]);
});
