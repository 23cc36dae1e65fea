// What is reported of a server that nobody has looked at yet: no group may be made of its data meanwhile.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { PostmasterFile } from '../postgres/processes.ts';
import { createFoundWatch } from './found-server.ts';
import { isTakenOver, writeTakenOver } from './taken-over.ts';
import { fakeContext } from './testing/context.ts';

function watch(options: {
  readonly postmaster: Partial<PostmasterFile> | undefined;
  readonly isForeign: boolean;
  readonly hasGroup?: boolean;
  readonly dataDirectory?: string;
}) {
  const context = fakeContext({ dataDirectory: options.dataDirectory ?? '/nowhere' });
  Object.assign(context.instance.options.user, { name: 'postgres' });
  Object.assign(context.instance, {
    postmaster: () => options.postmaster,
    isForeign: () => options.isForeign,
    readRole: () => Promise.reject(new Error('refused')),
  });
  if (options.hasGroup !== true) Object.assign(context, { group: () => undefined });
  return createFoundWatch(context);
}

const READY = { pid: 1, status: 'ready', socketDirectory: '/run' };

test('a foreign server is there from the first report on', async () => {
  const found = watch({ postmaster: READY, isForeign: true });
  expect(found.latest()?.problems).toEqual([expect.stringMatching(/not looked at yet/)]);
  await found.look(new AbortController().signal);
  expect(found.latest()?.problems).toEqual([expect.stringMatching(/refused/)]);
});

test('so is one that has yet to say whose it is', () => {
  expect(watch({ postmaster: { pid: 1 }, isForeign: false }).latest()).toBeDefined();
});

test('one without a socket is told to get one', () => {
  const postmaster = { ...READY, socketDirectory: undefined };
  expect(watch({ postmaster, isForeign: true }).latest()?.problems).toEqual([
    expect.stringMatching(/has no Unix socket.*set unix_socket_directories/),
  ]);
});

test('what is ours, nothing, and what is in a group are not found', () => {
  expect(watch({ postmaster: READY, isForeign: false }).latest()).toBeUndefined();
  expect(watch({ postmaster: undefined, isForeign: false }).latest()).toBeUndefined();
  expect(watch({ postmaster: READY, isForeign: true, hasGroup: true }).latest()).toBeUndefined();
});

test('before one is adopted, what an earlier adoption has left counts as taken over no more', async () => {
  const root = await mkdtemp(join(tmpdir(), 'pg-sentinel-found-'));
  const dataDirectory = join(root, 'data');
  const path = `${dataDirectory}.adopted-hba`;
  await writeTakenOver(path, ['host app app all md5']);
  const look = (hasGroup: boolean) =>
    watch({ postmaster: READY, isForeign: true, hasGroup, dataDirectory }).look(new AbortController().signal);
  await look(true);
  expect(isTakenOver(path)).toBe(true);
  await look(false);
  expect(isTakenOver(path)).toBe(false);
  await rm(root, { recursive: true });
});
