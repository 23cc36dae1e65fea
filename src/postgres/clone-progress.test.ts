// What a person reads while a node is cloned.
import { expect, test } from 'vitest';
import { createProgressText } from './clone-progress.ts';

const MB = 1 << 20;

test('bytes, speed and the time left, at most once a second', () => {
  let nowMs = 5000;
  const text = createProgressText(() => nowMs);
  expect(text({ bytes: 10 * MB, totalBytes: undefined })).toBe('10 MB');
  nowMs += 999;
  expect(text({ bytes: 20 * MB, totalBytes: 500 * MB })).toBeUndefined();
  nowMs += 1;
  expect(text({ bytes: 30 * MB, totalBytes: 500 * MB })).toBe(
    '30 MB of about 500 MB (6 %), 20.0 MB/s, 23.5s left',
  );
  nowMs += 1000;
  expect(text({ bytes: 40 * MB, totalBytes: 500 * MB })).toBe(
    '40 MB of about 500 MB (8 %), 15.0 MB/s, 30.7s left',
  );
});

test('the speed is that of the last ten seconds: a stall shows', () => {
  let nowMs = 0;
  const text = createProgressText(() => nowMs);
  for (; nowMs <= 5000; nowMs += 1000) text({ bytes: nowMs * MB, totalBytes: 10_000 * MB });
  nowMs = 14_000;
  expect(text({ bytes: 5000 * MB, totalBytes: 10_000 * MB })).toMatch(/\(50 %\), 100.0 MB\/s, 50.0s left$/);
  nowMs = 26_000;
  expect(text({ bytes: 5000 * MB, totalBytes: 10_000 * MB })).toBe('5000 MB of about 10000 MB (50 %)');
});

test('more than was estimated is as much as is known, never all of it, and has no time left', () => {
  let nowMs = 0;
  const text = createProgressText(() => nowMs);
  text({ bytes: 0, totalBytes: 10 * MB });
  nowMs = 2000;
  expect(text({ bytes: 12 * MB, totalBytes: 10 * MB })).toBe('12 MB of about 12 MB (99 %), 6.0 MB/s');
});
