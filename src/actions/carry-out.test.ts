// What is looked after beside a duty's pass, whatever comes of that.
import { expect, test } from 'vitest';
import { thenLook } from './carry-out.ts';

const looking = (pass: () => Promise<void>, aborting = new AbortController()) => {
  const looked: string[] = [];
  const look = (name: string) => () => {
    looked.push(name);
    return Promise.resolve();
  };
  const ended = thenLook({ pass, looks: [look('parameters'), look('hba')], signal: aborting.signal });
  return { looked, ended };
};

test('settings are looked after where the pass fails, which is said all the same', async () => {
  const { looked, ended } = looking(() => Promise.reject(new Error('streaming from b: too late')));
  await expect(ended).rejects.toThrow('too late');
  expect(looked).toEqual(['parameters', 'hba']);
});

test('nothing more is looked at once the duty has changed', async () => {
  const aborting = new AbortController();
  const { looked, ended } = looking(() => {
    aborting.abort(new Error('the duty has changed'));
    return Promise.reject(aborting.signal.reason as Error);
  }, aborting);
  await expect(ended).rejects.toThrow('the duty has changed');
  expect(looked).toEqual([]);
});
