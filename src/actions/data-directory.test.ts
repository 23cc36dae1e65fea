import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { nodeId } from '../base/ids.ts';
import { MEMBER_FILE } from '../postgres/member.ts';
import { createInspection, type DataDirectory, inspectDataDirectory } from './data-directory.ts';

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

describe('an inspection', () => {
  function example() {
    const host: { pid: number | undefined; nowMs: number; count: number } = { pid: 7, nowMs: 0, count: 0 };
    const inspect = (): Promise<DataDirectory> => {
      host.count += 1;
      return Promise.resolve({ kind: 'unfit', reason: `look ${host.count}` });
    };
    const inspection = createInspection({
      inspect,
      postmasterPid: () => host.pid,
      nowMs: () => host.nowMs,
    });
    return { host, inspection };
  }

  test('serves for two seconds while the same PostgreSQL runs', async () => {
    const { host, inspection } = example();
    const found = await inspection.recent();
    host.nowMs = 2000;
    expect(await inspection.recent()).toBe(found);
    host.nowMs = 2001;
    expect(await inspection.recent()).not.toBe(found);
    expect(host.count).toBe(2);
  });

  test('is made anew when another PostgreSQL runs, and each time while none does', async () => {
    const { host, inspection } = example();
    await inspection.recent();
    host.pid = 8;
    await inspection.recent();
    expect(host.count).toBe(2);
    host.pid = undefined;
    await inspection.recent();
    await inspection.recent();
    expect(host.count).toBe(4);
  });

  test('is made anew when that is asked for, and serves from then on', async () => {
    const { host, inspection } = example();
    await inspection.recent();
    const found = await inspection.fresh();
    expect(host.count).toBe(2);
    expect(await inspection.recent()).toBe(found);
  });

  test('is not kept when PostgreSQL ended or began meanwhile', async () => {
    const { host, inspection } = example();
    const looking = inspection.recent();
    host.pid = 8;
    await looking;
    await inspection.recent();
    expect(host.count).toBe(2);
  });
});
