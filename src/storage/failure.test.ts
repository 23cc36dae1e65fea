// A disk that is full, or that refuses a write: the store ends with StoreFailedError, tries nothing again, and is opened later
// with all that was acknowledged.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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

/** The writer was told of the failure, every later write was rejected, and what was acknowledged is all there. */
async function checkFailure(directory: string, history: HistoryOptions, result: WriterResult): Promise<void> {
  const failures = result.lines.filter((line) => line.startsWith('failed '));
  expect(failures.length).toBeGreaterThan(1);
  for (const failure of failures)
    expect(failure).toMatch(/^failed StoreFailedError: a write to the Raft log failed/);
  expect(result.hasEnded).toBe(true);
  const lastAnswer = result.lines.findLastIndex((line) => line.startsWith('ack '));
  expect(result.lines.findIndex((line) => line.startsWith('failed '))).toBeGreaterThan(lastAnswer);
  const store = await open(directory);
  const present = store.hardState.term;
  expect(present).toBeGreaterThanOrEqual(result.acknowledged);
  assertHolds(store, modelOf(historyOf(history).slice(0, present)), { isNewest: false });
  await store.close();
}

describe('a store whose files may not grow (ulimit -f)', () => {
  // In blocks of 512 bytes: the side file alone has 16.
  test.each([24, 40, 100, 200])('to more than %i blocks fails for good and loses nothing', async (blocks) => {
    await withDirectory(async (directory) => {
      const history = { seed: 31, count: 2000, snapshotBytesMax: 0 };
      const result = await writer.run({ directory, history }, { prelude: `ulimit -f ${blocks}` });
      expect(result.acknowledged).toBeGreaterThan(0);
      await checkFailure(directory, history, result);
    });
  });

  test('fails for good when a snapshot of its own state cannot be written beside the log', async () => {
    await withDirectory(async (directory) => {
      const history = { seed: 167, count: 14, snapshotBytesMax: 5 << 20 };
      const [first] = historyOf(history).flatMap(({ snapshot }) => snapshot ?? []);
      expect(first).toMatchObject({ replacesLog: false, snapshot: { data: { length: 5 << 20 } } });
      const result = await writer.run({ directory, history }, { prelude: 'ulimit -f 4000' });
      expect(result.lines.filter((line) => /^reported StoreFailedError: .*EFBIG/.test(line))).toHaveLength(1);
      await checkFailure(directory, history, result);
      expect((await readSnapshotIndex(directory)) ?? 0).toBe(0);
    });
  });

  test('fails for good when a snapshot that replaces the log cannot be written', async () => {
    await withDirectory(async (directory) => {
      const history = { seed: 196, count: 14, snapshotBytesMax: 5 << 20 };
      const [first] = historyOf(history).flatMap(({ snapshot }) => snapshot ?? []);
      expect(first).toMatchObject({ replacesLog: true, snapshot: { data: { length: 5 << 20 } } });
      const result = await writer.run({ directory, history }, { prelude: 'ulimit -f 4000' });
      await checkFailure(directory, history, result);
      expect(await readSnapshotIndex(directory)).toBeUndefined();
    });
  });
});

async function readSnapshotIndex(directory: string): Promise<number | undefined> {
  const store = await open(directory);
  await store.close();
  return store.snapshot?.index;
}

describe('a store on a full disk', () => {
  test.for([256, 700])('of %i KiB fails for good and loses nothing', async (kibibytes, { skip }) => {
    const mount = mkdtempSync(join(tmpdir(), 'pg-sentinel-full-'));
    try {
      try {
        execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${kibibytes}k`, 'tmpfs', mount], {
          stdio: 'ignore',
        });
      } catch {
        skip('only root may mount a small file system to fill');
      }
      try {
        const directory = join(mount, 'raft');
        const history = { seed: 41, count: 4000, snapshotBytesMax: 100 << 10 };
        const result = await writer.run({ directory, history });
        expect(result.acknowledged).toBeGreaterThan(0);
        // Room again, without which LevelDB cannot even open: its message says so.
        await expect(open(directory)).rejects.toThrow(
          /cannot open the Raft log in .*check the disk, its free space/,
        );
        execFileSync('mount', ['-o', 'remount,size=64m', mount]);
        await checkFailure(directory, history, result);
      } finally {
        execFileSync('umount', [mount]);
      }
    } finally {
      rmSync(mount, { recursive: true, force: true });
    }
  });
});
