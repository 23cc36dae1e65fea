// A command of the owner's whose file system does not answer must not be started: that would hold sentineld up with it. The rest of it is tested
// with the commands themselves.
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { findOsUser } from '../postgres/os-user.ts';
import { runCommand } from './run-command.ts';

let answer: () => Promise<boolean> = () => Promise.resolve(true);
vi.mock('../postgres/answering.ts', () => ({ answers: () => answer() }));

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'run-command-'));
  await chmod(directory, 0o777);
  await writeFile(join(directory, 'command'), `#!/bin/sh\necho ran; touch ${directory}/ran\n`);
  await chmod(join(directory, 'command'), 0o755);
});
afterEach(() => rm(directory, { recursive: true }));

const run = async (signal = new AbortController().signal) =>
  runCommand(
    { command: [join(directory, 'command')], timeoutMs: 60_000 },
    { user: await findOsUser({ configured: undefined }), environment: {}, signal },
  );
const hasRun = (): boolean => existsSync(join(directory, 'ran'));

test('one on a file system that answers is run', async () => {
  answer = () => Promise.resolve(true);
  expect([await run(), hasRun()]).toEqual([{ kind: 'done', output: 'ran\n' }, true]);
});

test('one on a file system that does not answer has failed, and is not run', async () => {
  answer = () => Promise.resolve(false);
  expect(await run()).toMatchObject({
    kind: 'failed',
    reason: expect.stringMatching(/does not answer$/) as unknown,
  });
  expect(hasRun()).toBe(false);
});

test('one that is called off meanwhile is not run', async () => {
  const abort = new AbortController();
  answer = () => {
    abort.abort();
    return Promise.resolve(true);
  };
  expect((await run(abort.signal)).kind).toBe('failed');
  expect(hasRun()).toBe(false);
});
