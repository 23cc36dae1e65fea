// A small store whose log is in LevelDB's write-ahead log, as a running process has it, and whose bytes changed behind its back:
// it opens with all that was acknowledged, or not at all.
import { beforeAll, describe, expect, test } from 'vitest';
import { cuts, deletions, drops, flips, tryAll } from './testing/damage.ts';
import type { StoreFiles } from './testing/damage.ts';
import { youngStore } from './testing/damaged-stores.ts';

let store: StoreFiles;

beforeAll(async () => {
  store = await youngStore();
});

describe(
  'a store with its log in the write-ahead log opens whole or is refused',
  { timeout: 600_000 },
  () => {
    test('with one bit flipped, in every byte', async () => {
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
      expect(await tryAll(store, deletions(store))).toEqual({ refused: store.size, opened: 0 });
    });
  },
);
