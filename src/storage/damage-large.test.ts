// Larger stores whose bytes changed behind their back: one of tens of kilobytes, one of megabytes. They open with all that was
// acknowledged, or not at all.
import { describe, expect, test } from 'vitest';
import { cuts, deletions, drops, flips, totalBytes, tryAll } from './testing/damage.ts';
import { largeStore, mediumStore } from './testing/damaged-stores.ts';

/** One byte in so many of the middle-sized store; STORE_FLIP_STRIDE=1 takes them all, in about five minutes. */
const STRIDE = Number(process.env['STORE_FLIP_STRIDE'] ?? 29);
const LARGE_CHANGE_COUNT = 150;

describe('a store of tens of kilobytes opens whole or is refused', { timeout: 1_800_000 }, () => {
  test.each([
    ['one bit flipped', flips],
    ['a file cut short', cuts],
    ['bytes dropped from a file', drops],
  ])('with %s', async (_, changes) => {
    const store = await mediumStore();
    expect(totalBytes(store)).toBeGreaterThan(48 << 10);
    expect(totalBytes(store)).toBeLessThan(64 << 10);
    const { refused } = await tryAll(store, changes(store, STRIDE));
    expect(refused).toBeGreaterThan(500 / STRIDE);
  });
});

describe('a store of megabytes opens whole or is refused', { timeout: 600_000 }, () => {
  test.each([
    ['one bit flipped', flips],
    ['a file cut short', cuts],
    ['bytes dropped from a file', drops],
  ])('with %s', async (_, changes) => {
    const store = await largeStore();
    expect(totalBytes(store)).toBeGreaterThan(3 << 20);
    expect([...store.keys()].filter((name) => name.endsWith('.ldb')).length).toBeGreaterThan(1);
    const stride = Math.trunc(totalBytes(store) / LARGE_CHANGE_COUNT);
    const { refused } = await tryAll(store, changes(store, stride));
    expect(refused).toBeGreaterThan(LARGE_CHANGE_COUNT / 2);
  });

  test('with a file deleted', async () => {
    const store = await largeStore();
    expect((await tryAll(store, deletions(store))).refused).toBeGreaterThan(5);
  });
});
