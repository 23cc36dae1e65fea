import { expect, test } from 'vitest';
import { createRecentIds, isRecent, rememberId } from './recent.ts';

test('the latest ids are known, and no more than twice 8192 are kept', () => {
  const ids = createRecentIds();
  for (let count = 0; count < 50_000; count += 1) {
    rememberId(ids, `id-${count}`);
    expect(isRecent(ids, `id-${Math.max(0, count - 8191)}`)).toBe(true);
  }
  expect(ids.young.size + ids.old.size).toBeLessThanOrEqual(2 * 8192);
  expect(isRecent(ids, 'id-0')).toBe(false);
  expect(isRecent(ids, 'id-50000')).toBe(false);
});
