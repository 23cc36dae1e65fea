// Requests to the agent: one at a time, carried out once, and whoever asked hears how it ended.
import { expect, test } from 'vitest';
import { createRequests } from './requests.ts';

const LONG = { timeoutMs: 60_000, signal: new AbortController().signal };

function example(busyWith?: string) {
  const requests = createRequests<string>(() => busyWith);
  const carriedOut: string[] = [];
  const carryOut = (): Promise<boolean> =>
    requests.carryOut(
      (request) => {
        carriedOut.push(request);
        return request === 'bad'
          ? Promise.reject(new Error('it failed'))
          : Promise.resolve(`${request} is done`);
      },
      () => false,
    );
  return { requests, carriedOut, carryOut };
}

test('what waits is carried out once', async () => {
  const { requests, carriedOut, carryOut } = example();
  const asked = requests.ask('restart', LONG);
  expect(await carryOut()).toBe(true);
  expect(await asked).toBe('restart is done');
  expect(await carryOut()).toBe(false);
  expect(carriedOut).toEqual(['restart']);
});

test('who asks beside another is told so, and may ask again after it', async () => {
  const { requests, carryOut } = example();
  const first = requests.ask('restart', LONG);
  await expect(requests.ask('reload', LONG)).rejects.toThrow('another request');
  await carryOut();
  await first;
  const second = requests.ask('reload', LONG);
  await carryOut();
  expect(await second).toBe('reload is done');
});

test('why it failed is for whoever asked; the pass goes on', async () => {
  const { requests, carryOut } = example();
  const asked = requests.ask('bad', LONG);
  asked.catch(() => undefined);
  expect(await carryOut()).toBe(true);
  await expect(asked).rejects.toThrow('it failed');
});

test('a caller that is gone before it began, or waited too long, has had nothing done', async () => {
  const { requests, carriedOut, carryOut } = example('cloning from pg1');
  const gone = new AbortController();
  const asked = requests.ask('restart', { ...LONG, signal: gone.signal });
  gone.abort();
  await expect(asked).rejects.toThrow('nothing was done');
  const late = requests.ask('restart', { ...LONG, timeoutMs: 1 });
  await expect(late).rejects.toThrow('its agent is busy (cloning from pg1); nothing was done');
  expect(await carryOut()).toBe(false);
  expect(carriedOut).toEqual([]);
});

test('a caller that is gone while it is at work does not break it off', async () => {
  const requests = createRequests<string>(() => undefined);
  const gone = new AbortController();
  const asked = requests.ask('restart', { ...LONG, signal: gone.signal });
  let end = (_detail: string): void => undefined;
  const carriedOut = requests.carryOut(
    () => new Promise((resolve) => (end = resolve)),
    () => false,
  );
  gone.abort();
  await expect(requests.ask('reload', LONG)).rejects.toThrow('another request');
  end('done all the same');
  await carriedOut;
  expect(await asked).toBe('done all the same');
});

test('what a pass leaves because the duty has changed is carried out by the next one', async () => {
  const { requests, carriedOut, carryOut } = example();
  const asked = requests.ask('restart', LONG);
  const brokenOff = (): Promise<string> => Promise.reject(new Error('the duty has changed'));
  expect(await requests.carryOut(brokenOff, () => true)).toBe(true);
  expect(await carryOut()).toBe(true);
  expect(await asked).toBe('restart is done');
  expect(carriedOut).toEqual(['restart']);
});

test('what a pass leaves is given up where nobody waits for it any more, by time or otherwise', async () => {
  for (const ending of ['time', 'caller'] as const) {
    const { requests, carriedOut, carryOut } = example();
    const gone = new AbortController();
    const asked = requests.ask('restart', {
      timeoutMs: ending === 'time' ? 1 : LONG.timeoutMs,
      signal: gone.signal,
    });
    asked.catch(() => undefined);
    const brokenOff = async (): Promise<string> => {
      if (ending === 'caller') gone.abort();
      await new Promise((resolve) => setTimeout(resolve, 5));
      throw new Error('the duty has changed');
    };
    await requests.carryOut(brokenOff, () => true);
    await expect(asked).rejects.toThrow('the duty has changed');
    expect(await carryOut()).toBe(false);
    expect(carriedOut).toEqual([]);
  }
});
