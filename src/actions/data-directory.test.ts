import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { nodeId } from '../base/ids.ts';
import { MEMBER_FILE } from '../postgres/member.ts';
import { inspectDataDirectory } from './data-directory.ts';

let directory: string;
beforeEach(async () => void (directory = await mkdtemp(join(tmpdir(), 'pg-sentinel-data-'))));
afterEach(() => rm(directory, { recursive: true }));

const inspect = () => inspectDataDirectory(directory, nodeId('pg1'));

test('missing or empty is absent', async () => {
  expect(await inspect()).toEqual({ kind: 'absent' });
  expect(await inspectDataDirectory(join(directory, 'none'), nodeId('pg1'))).toEqual({ kind: 'absent' });
});

test('what holds no PG_VERSION is foreign', async () => {
  await writeFile(join(directory, 'cat.jpg'), 'miaow');
  expect(await inspect()).toMatchObject({
    kind: 'foreign',
    reason: expect.stringContaining('holds files (cat.jpg) but no PostgreSQL'),
  });
});

test('without a readable pg_control it is ours to replace only with a member file: it may be a backup that is being unpacked', async () => {
  await writeFile(join(directory, 'PG_VERSION'), '15\n');
  await mkdir(join(directory, 'global'));
  expect(await inspect()).toMatchObject({
    kind: 'foreign',
    reason: expect.stringContaining('restore it or move it away'),
  });
  await writeFile(join(directory, MEMBER_FILE), '{}');
  expect(await inspect()).toMatchObject({ kind: 'unfit' });
});
