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
  const failed = waiting.catch((error: unknown) => (error as Error).message);
  await vi.advanceTimersByTimeAsync(60_000);
  isRunning = false;
  await vi.advanceTimersByTimeAsync(1000);
  expect(await failed).toBe('PostgreSQL has ended meanwhile');
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
  const failed = aborted.catch((error: unknown) => (error as Error).message);
  asked.abort(new Error('no longer wanted'));
  expect(await failed).toBe('no longer wanted');
  expect(
    await whileRunning(
      () => true,
      undefined,
      () => Promise.resolve(7),
    ),
  ).toBe(7);
  expect(vi.getTimerCount()).toBe(0);
});
