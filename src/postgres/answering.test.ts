import { expect, test, vi } from 'vitest';
import { answers } from './answering.ts';

const asked: string[] = [];
let answer: () => void = () => undefined;
vi.mock('node:fs/promises', async (original) => ({
  ...(await original<object>()),
  stat: (path: string) => {
    asked.push(path);
    if (path === '/hung') return new Promise<void>((resolve) => (answer = resolve));
    return path === '/missing' ? Promise.reject(new Error('ENOENT')) : Promise.resolve();
  },
}));

test('what is there answers, and what is not', async () => {
  expect(await answers('/there')).toBe(true);
  expect(await answers('/missing')).toBe(true);
});

test('a volume that hangs does not, and is not asked again before it does', async () => {
  expect(await answers('/hung', 10)).toBe(false);
  expect(await answers('/hung', 10)).toBe(false);
  expect(asked.filter((path) => path === '/hung')).toHaveLength(1);
  answer();
  expect(await answers('/hung', 60_000)).toBe(true);
});
