import { describe, expect, test } from 'vitest';
import { createBackground } from './background.ts';

describe('work in the background', () => {
  test('runs one piece after the other, and is settled when the pieces that these added have ended', async () => {
    const done: string[] = [];
    const background = createBackground((error) => done.push(String(error)));
    background.run(async () => {
      await new Promise((resolve) => setImmediate(resolve));
      done.push('first');
      background.run(() => Promise.resolve(void done.push('added')));
    });
    background.run(() => Promise.resolve(void done.push('second')));
    await background.settled();
    expect(done).toEqual(['first', 'second', 'added']);
  });

  test('ends with the first failure, which is told once', async () => {
    const told: string[] = [];
    const background = createBackground((error) => told.push(String(error)));
    background.run(() => Promise.reject(new Error('disk full')));
    background.run(() => Promise.resolve(void told.push('never')));
    background.run(() => Promise.reject(new Error('again')));
    await background.settled();
    expect(told).toEqual(['Error: disk full']);
  });
});
