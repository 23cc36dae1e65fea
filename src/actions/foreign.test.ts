// Which server is somebody else's, and where ours is reached that has not been started again since its place was changed.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { PostmasterFile } from '../postgres/processes.ts';
import { isForeignServer, movedSocketOf, socketOf } from './foreign.ts';

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'pg-sentinel-foreign-'));
  for (const name of ['data', 'ours', 'before']) mkdirSync(join(root, name));
});
afterAll(() => rmSync(root, { recursive: true }));

const ours = () => ({ socketDirectory: join(root, 'ours'), dataDirectory: join(root, 'data') });
const postmaster = (more: Partial<PostmasterFile>): PostmasterFile => ({
  ...{ pid: 7, dataDirectory: '', port: 5432, listenAddress: undefined, sharedMemoryId: undefined },
  ...{ status: 'ready', socketDirectory: '/var/run/postgresql', ...more },
});
const isForeign = (more: Partial<PostmasterFile>, wasStartedByUs = false): boolean =>
  isForeignServer(postmaster(more), ours(), () => wasStartedByUs);

describe('a server is somebody else’s', () => {
  test('by its socket', () => {
    expect(isForeign({})).toBe(true);
    expect(isForeign({ socketDirectory: join(root, 'ours') })).toBe(false);
    expect(isForeignServer(undefined, ours())).toBe(false);
  });

  test('where it has no socket at all, and not while it has yet to say', () => {
    expect(isForeign({ socketDirectory: undefined })).toBe(true);
    expect(isForeign({ socketDirectory: undefined, status: undefined })).toBe(false);
  });

  test('but not where we have started it before our socket was moved', () => {
    expect(isForeign({ socketDirectory: join(root, 'before') }, true)).toBe(false);
  });

  test('nor where it runs with our settings, whoever has started it', () => {
    const moved = { socketDirectory: join(root, 'before') };
    expect(isForeign(moved)).toBe(true);
    writeFileSync(join(root, 'data', 'pg_sentinel.conf'), `unix_socket_directories = '${root}/before'\n`);
    expect(isForeign(moved)).toBe(false);
    expect(isForeign({})).toBe(true);
  });
});

test('ours is asked through the socket that it has, somebody else’s as its own user', () => {
  const moved = postmaster({ socketDirectory: join(root, 'before') });
  expect(movedSocketOf(moved, ours())).toEqual({ socketDirectory: join(root, 'before'), port: 5432 });
  expect(movedSocketOf(postmaster({ socketDirectory: join(root, 'ours') }), ours())).toBeUndefined();
  const user = { name: 'me', uid: 1, gid: 1, owner: undefined };
  expect(socketOf(moved, user)?.stream).toBeTypeOf('function');
  expect(socketOf(postmaster({ socketDirectory: undefined }), user)).toBeUndefined();
});
