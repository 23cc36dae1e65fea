// Waiting that somebody else may end.
import { expect, test } from 'vitest';
import { unlessAborted } from './clock.ts';

test('work is waited for until it is done, or until nobody wants it any more', async () => {
  const ending = new AbortController();
  expect(await unlessAborted(ending.signal, Promise.resolve(7))).toBe(7);
  await expect(unlessAborted(ending.signal, Promise.reject(new Error('refused')))).rejects.toThrow('refused');
  const endless = unlessAborted(ending.signal, new Promise<never>(() => undefined));
  ending.abort(new Error('another duty'));
  await expect(endless).rejects.toThrow('another duty');
  await expect(unlessAborted(ending.signal, Promise.resolve(7))).rejects.toThrow('another duty');
});
