// A small store whose log is in LevelDB's tables, as it is after restarts, and whose bytes changed behind its back: it opens
// with all that was acknowledged, or not at all.
import { beforeAll, describe, expect, test } from 'vitest';
import { cuts, deletions, drops, flips, tryAll } from './testing/damage.ts';
import type { StoreFiles } from './testing/damage.ts';
import { oldStore } from './testing/damaged-stores.ts';

let store: StoreFiles;

beforeAll(async () => {
  store = await oldStore();
});

describe('a store with its log in tables opens whole or is refused', { timeout: 600_000 }, () => {
  test('with one bit flipped, in every byte', async () => {
    expect([...store.keys()].filter((name) => name.endsWith('.ldb')).length).toBeGreaterThan(1);
    const { refused } = await tryAll(store, flips(store, 1));
    expect(refused).toBeGreaterThan(1000);
  });

  test('with a file cut short', async () => {
    expect((await tryAll(store, cuts(store, 7))).refused).toBeGreaterThan(100);
  });

  test('with bytes dropped from a file', async () => {
    expect((await tryAll(store, drops(store, 7))).refused).toBeGreaterThan(100);
  });

  test('with a file deleted', async () => {
    // The write-ahead log is empty: LevelDB does not miss it, and nothing is missing.
    expect(await tryAll(store, deletions(store))).toEqual({ refused: store.size - 1, opened: 1 });
  });
});
