// Which timelines an archive knows: "not there" is believed only of an archive that answers.
import { mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { timeline } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import { highestArchivedTimeline } from './archive-timelines.ts';
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
  Promise.all(names.map((name) => writeFile(join(archive, name), 'x')));
const ask = (restoreCommand: string | null = `cp ${archive}/%f %p`, on = 1): Promise<number> =>
  highestArchivedTimeline({
    dataDirectory,
    user: { name: 'self', uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, owner: undefined },
    restoreCommand: restoreCommand ?? undefined,
    timeline: timeline(on),
    position: lsn(0x4000100n),
    walSegmentBytes: 16 << 20,
    signal: new AbortController().signal,
  });

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
