// What spawn does where no descriptor is left: it returns a child without pipes and says why a moment later.
import { EventEmitter } from 'node:events';
import { expect, test, vi } from 'vitest';
import { runProgram } from './os-user.ts';

vi.mock('node:child_process', () => ({
  spawn: () => {
    const child = Object.assign(new EventEmitter(), { unref: () => undefined, exitCode: null });
    process.nextTick(() => child.emit('error', new Error('spawn /bin/true EMFILE')));
    return child;
  },
}));

test('a program for which no descriptor is left is one that cannot be started, and ends nothing else', async () => {
  const user = { name: 'me', uid: 1, gid: 1, owner: undefined };
  const running = runProgram({ user, program: '/bin/true', arguments: [], cwd: '/', timeoutMs: 1000 });
  await expect(running).rejects.toThrow('cannot start /bin/true as me: spawn /bin/true EMFILE');
});
