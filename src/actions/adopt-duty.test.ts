// The pass over a primary that goes on as it is: what comes first, and what ends it.
import { expect, test } from 'vitest';
import { timeline } from '../base/ids.ts';
import { carryOutUnprotected } from './adopt-duty.ts';
import type { AgentContext } from './context.ts';
import { PRIMARY, fakeContext } from './testing/context.ts';

const DUTY = { ...PRIMARY, isUnprotected: true } as const;
const { signal } = new AbortController();

function scene(role: object) {
  const steps: string[] = [];
  const context = fakeContext({ dataDirectory: '/nowhere' });
  Object.assign(context.instance, {
    readRole: () => Promise.resolve({ timeline: timeline(1), ...role }),
    session: {
      query: () => {
        steps.push('files');
        return Promise.reject(new Error('its files cannot be read'));
      },
    },
  });
  Object.assign(context, {
    clearUnexpectedEnd: () => undefined,
    once: (_: string, work: () => Promise<void>) => work(),
    dataDirectory: () => {
      steps.push('member');
      return Promise.reject(new Error('too early'));
    },
  });
  return { context, steps, pass: () => carryOutUnprotected(context as AgentContext, DUTY, signal) };
}

test('it gets no member id, by which it may be switched over, before its files are taken over', async () => {
  const { steps, pass } = scene({ kind: 'primary' });
  await expect(pass()).rejects.toThrow('its files cannot be read');
  expect(steps).toEqual(['files']);
});

test('one that was handed over and got its group back runs as a standby of nobody: it is started again', async () => {
  const { context, pass } = scene({ kind: 'standby', walReceiver: undefined });
  context.isConfirmed = false;
  await expect(pass()).rejects.toThrow(/runs as a standby/);
  expect(context.stops).toEqual([]);
  context.isConfirmed = true;
  await pass();
  expect(context.stops).toEqual([5000]);
});

test('one that its owner has made a standby of something is left to him', async () => {
  const { context, pass } = scene({ kind: 'standby', walReceiver: { status: 'streaming' } });
  await expect(pass()).rejects.toThrow(/runs as a standby/);
  expect(context.stops).toEqual([]);
});
