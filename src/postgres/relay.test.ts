// A connection by a process of another user: what becomes of it where that process cannot be had.
import { EventEmitter } from 'node:events';
import { PassThrough } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import type { spawn } from 'node:child_process';
import { expect, test } from 'vitest';
import { relayedSocket } from './relay.ts';

const USER = { name: 'somebody', uid: 1, gid: 1, owner: undefined };
const child = (stdio: readonly unknown[] | undefined) =>
  Object.assign(new EventEmitter(), { stdio, kill: () => true, unref: () => undefined });
const relay = (of: ReturnType<typeof child>) =>
  relayedSocket(USER, '/socket', (() => of) as unknown as typeof spawn);

test.each([
  ['no pipes at all', undefined],
  ['no pipe of its own', [null, null, null]],
])('a process with %s is refused, and its error later ends nothing', (_, stdio) => {
  const failed = child(stdio);
  expect(() => relay(failed)).toThrow(/cannot start a process as somebody that connects to \/socket/);
  expect(() => failed.emit('error', new Error('EMFILE'))).not.toThrow();
});

test('a process that ends, or fails, closes the connection, and nobody has to listen', async () => {
  for (const event of ['exit', 'error'] as const) {
    const pipe = new PassThrough();
    const started = child([null, null, null, pipe]);
    relay(started);
    started.emit(event, new Error('gone'));
    await turn();
    expect(pipe.destroyed).toBe(true);
  }
});
