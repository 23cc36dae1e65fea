// A wait that ends when PostgreSQL does.
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { delay } from '../base/clock.ts';
import { whileRunning } from './while-running.ts';

const HOUR_MS = 3_600_000;

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test('it ends once PostgreSQL has, and says so', async () => {
  let isRunning = true;
  const waiting = whileRunning(
    () => isRunning,
    undefined,
    async (signal) => {
      await delay(HOUR_MS, signal);
      signal.throwIfAborted();
    },
  );
  const failed = expect(waiting).rejects.toThrow('PostgreSQL has ended meanwhile');
  await vi.advanceTimersByTimeAsync(60_000);
  isRunning = false;
  await vi.advanceTimersByTimeAsync(1000);
  await failed;
  expect(vi.getTimerCount()).toBe(0);
});

test('it ends with the signal of whoever asked, and with what the work comes to', async () => {
  const asked = new AbortController();
  const aborted = whileRunning(
    () => true,
    asked.signal,
    async (signal) => {
      await delay(HOUR_MS, signal);
      signal.throwIfAborted();
    },
  );
  const failed = expect(aborted).rejects.toThrow('no longer wanted');
  asked.abort(new Error('no longer wanted'));
  await failed;
  expect(
    await whileRunning(
      () => true,
      undefined,
      () => Promise.resolve(7),
    ),
  ).toBe(7);
  expect(vi.getTimerCount()).toBe(0);
});
