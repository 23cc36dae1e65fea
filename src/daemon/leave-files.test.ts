// What may be removed with the state directory, and what must not.
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { nodeId } from '../base/ids.ts';
import type { NodeConfig } from './config.ts';
import { removableFiles } from './leave-files.ts';

let root: string;
let state: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'leave-files-'));
  state = join(root, 'state');
  for (const name of ['raft', 'postgresql/18/bin']) await mkdir(join(state, name), { recursive: true });
  await writeFile(join(state, 'left.json'), '{}');
});
afterEach(() => rm(root, { recursive: true, force: true }));

async function data(path: string): Promise<NodeConfig> {
  await mkdir(join(path, 'pg_tblspc'), { recursive: true });
  return { name: nodeId('pg1'), dataDirectory: path } as NodeConfig;
}

test('the whole state directory, where PostgreSQL needs nothing in it', async () => {
  const node = await data(join(root, 'data'));
  expect(await removableFiles({ stateDirectory: state, node }, '/usr/bin')).toEqual({
    paths: [state],
    needed: [],
  });
  expect(await removableFiles({ stateDirectory: state, node: undefined }, undefined)).toMatchObject({
    paths: [state],
  });
});

test('only files of ours, where data, WAL, tablespaces or programs lie in it', async () => {
  const inside = await data(join(state, 'data'));
  const rest = ['raft', 'postgresql', 'left.json'].map((name) => join(state, name));
  expect((await removableFiles({ stateDirectory: state, node: inside }, '/usr/bin')).paths).toEqual(rest);

  const node = await data(join(root, 'data'));
  const programs = join(state, 'postgresql/18/bin');
  expect(await removableFiles({ stateDirectory: state, node }, programs)).toEqual({
    paths: [join(state, 'raft'), join(state, 'left.json')],
    needed: [programs],
  });

  for (const [name, target] of [
    ['pg_wal', 'wal'],
    ['pg_tblspc/16400', 'fast'],
  ] as const) {
    await mkdir(join(state, target));
    const link = join(node.dataDirectory, name);
    await symlink(join(state, target), link);
    expect(await removableFiles({ stateDirectory: state, node }, '/usr/bin')).toEqual({
      paths: rest,
      needed: [link],
    });
    await rm(link);
  }
});
