// kill -9 in the middle of writes: whatever was acknowledged is there afterwards, and the log is one that was really written.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compileWriter } from './testing/child.ts';
import type { Writer, WriterResult } from './testing/child.ts';
import { historyOf } from './testing/history.ts';
import type { HistoryOptions } from './testing/history.ts';
import { assertHolds, modelOf } from './testing/model.ts';
import { open, withDirectory } from './testing/stores.ts';

let writer: Writer;

beforeAll(() => {
  writer = compileWriter();
});
afterAll(() => writer.remove());

/** What the store holds after a crash is what some of the writes left, and all the acknowledged ones are among them. */
async function checkStore(
  directory: string,
  history: HistoryOptions,
  result: WriterResult,
): Promise<{ readonly present: number; readonly snapshotIndex: number }> {
  const store = await open(directory);
  const present = store.hardState.term;
  expect(present).toBeGreaterThanOrEqual(result.acknowledged);
  assertHolds(store, modelOf(historyOf(history).slice(0, present)), { isNewest: result.hasEnded });
  await store.close();
  return { present, snapshotIndex: store.snapshot?.index ?? 0 };
}

describe('a store whose process is killed', { timeout: 600_000 }, () => {
  test.each([11, 12, 13, 14, 15, 16, 17, 18])(
    'after some time keeps all that was acknowledged, with snapshots of megabytes (seed %i)',
    async (seed) => {
      await withDirectory(async (directory) => {
        const history = { seed, count: 2000, snapshotBytesMax: 3 << 20 };
        const result = await writer.run(
          { directory, history },
          { killsWhen: (output) => output.split('\n').length > 30 * (seed - 9), killDelayMs: seed % 7 },
        );
        expect(result.acknowledged).toBeGreaterThan(0);
        expect(result.hasEnded).toBe(false);
        const { snapshotIndex } = await checkStore(directory, history, result);
        expect(snapshotIndex).toBeGreaterThan(0);
      });
    },
  );

  // One in so many operations, the two tests taking turns; STORE_KILL_STRIDE=1 takes all of them in both.
  const stride = Number(process.env['STORE_KILL_STRIDE'] ?? 2);
  test.each([
    { inTheMiddle: false, first: 1 },
    { inTheMiddle: true, first: Math.min(2, stride) },
  ])(
    'at any operation on the disk keeps all that was acknowledged (in the middle of it: $inTheMiddle)',
    async ({ inTheMiddle, first }) => {
      const history = { seed: 141, count: 14, snapshotBytesMax: 5 << 20 };
      const snapshots = historyOf(history).flatMap(({ snapshot }) => snapshot ?? []);
      expect(snapshots.map(({ replacesLog }) => replacesLog)).toEqual([false, true, false]);
      const presents = new Set<number>();
      const snapshotIndexes = new Set<number>();
      let hasEnded = false;
      for (let atOperation = first; !hasEnded; atOperation += stride) {
        await withDirectory(async (directory) => {
          const result = await writer.run({ directory, history, kill: { atOperation, inTheMiddle } });
          ({ hasEnded } = result);
          const { present, snapshotIndex } = await checkStore(directory, history, result);
          presents.add(present);
          snapshotIndexes.add(snapshotIndex);
        });
      }
      // Many a write was the last one at some time, and so was every snapshot.
      expect(presents.size).toBeGreaterThan(5);
      expect([...snapshotIndexes]).toEqual([0, ...snapshots.map(({ snapshot }) => snapshot.index)]);
    },
  );
});
