import { afterEach, expect, test, vi } from 'vitest';
import { delay } from '../../src/base/clock.ts';
import { runLoad } from './load.ts';

afterEach(() => {
  vi.useRealTimers();
});

const common = {
  valueBytes: 32,
  warmUpMs: 20,
  windowMs: 200,
  signal: new AbortController().signal,
};

test('a load keeps as many proposals in flight as there are clients, and no more', async () => {
  let inFlight = 0;
  let most = 0;
  const propose = async (value: Buffer): Promise<void> => {
    expect(value.length).toBe(32);
    inFlight += 1;
    most = Math.max(most, inFlight);
    await delay(5);
    inFlight -= 1;
  };
  const { perSecond, latenciesMs } = await runLoad({ ...common, propose, clientCount: 8 });
  expect(most).toBe(8);
  expect(inFlight).toBe(0);
  expect(perSecond).toBe(latenciesMs.length * 5);
  expect(Math.min(...latenciesMs)).toBeGreaterThan(3);
});

test('what is answered in the warm-up or after the end is not counted', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  const load = runLoad({
    ...common,
    propose: () => delay(30),
    clientCount: 1,
    warmUpMs: 100,
    windowMs: 100,
  });
  await vi.advanceTimersByTimeAsync(1000);
  // Answered after 30, 60, 90, then 120, 150, 180, then 210 ms.
  const { latenciesMs, perSecond } = await load;
  expect(latenciesMs).toEqual([30, 30, 30]);
  expect(perSecond).toBe(30);
});

test('a failure ends the load', async () => {
  let count = 0;
  const propose = async (): Promise<void> => {
    count += 1;
    await delay(1);
    if (count > 10) throw new Error('no leader');
  };
  await expect(runLoad({ ...common, propose, clientCount: 4, windowMs: 60_000 })).rejects.toThrow(
    'no leader',
  );
});

test('an interruption ends the load', async () => {
  const controller = new AbortController();
  const load = runLoad({
    ...common,
    propose: () => delay(1),
    clientCount: 2,
    windowMs: 60_000,
    signal: controller.signal,
  });
  controller.abort(new Error('interrupted'));
  await expect(load).rejects.toThrow('interrupted');
});
