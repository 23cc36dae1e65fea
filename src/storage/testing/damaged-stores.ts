// The stores whose damage is tried out: a small one as a running process has it, the same as it is after restarts, and a
// large one. Each has a snapshot, a base above the first entry, entries behind it, and a replaced tail.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { filesOf } from './damage.ts';
import type { StoreFiles } from './damage.ts';
import type { LogStore } from '../log-store.ts';
import { entry, hardState, open, persisted } from './stores.ts';

/** All of the log in LevelDB's write-ahead log. */
export function youngStore(): Promise<StoreFiles> {
  return filesAfter(async (directory) => {
    const store = await open(directory);
    await writeSmall(store);
    await store.close();
  });
}

/** Most of the log in LevelDB's tables, after two restarts. */
export function oldStore(): Promise<StoreFiles> {
  return filesAfter(async (directory) => {
    const store = await open(directory);
    await writeSmall(store);
    await store.close();
    const again = await open(directory);
    await again.write({ hardState: hardState(5, 'p2'), entries: [entry(6, 5, 'six')] });
    await again.close();
    await (await open(directory)).close();
  });
}

/** Some megabytes: several tables, a write-ahead log, a snapshot of a megabyte. */
export function largeStore(): Promise<StoreFiles> {
  return filesAfter(async (directory) => {
    let index = 0;
    for (let round = 1; round <= 4; round += 1) {
      const store = await open(directory);
      for (let count = 0; count < 40; count += 1) {
        const entries = Array.from({ length: 20 }, (_, offset) =>
          entry(index + offset + 1, round, `round ${round} `.repeat(100)),
        );
        await store.write({ hardState: hardState(round, 'p2'), entries });
        index += 20;
      }
      const snapshot = persisted(index - 500, round, { data: new Uint8Array(1 << 20).fill(round) });
      await store.write({ hardState: hardState(round, 'p2'), entries: [], snapshot });
      await store.close();
    }
  });
}

/** Some tens of kilobytes, as `youngStore` otherwise. */
export function mediumStore(): Promise<StoreFiles> {
  return filesAfter(async (directory) => {
    const store = await open(directory);
    await writeSmall(store);
    for (let index = 6; index < 46; index += 1)
      await store.write({ hardState: hardState(4, 'p3'), entries: [entry(index, 4, 'x'.repeat(500))] });
    const data = new Uint8Array(8_000).fill(7);
    await store.write({ hardState: hardState(4, 'p3'), entries: [], snapshot: persisted(30, 4, { data }) });
    await store.close();
    await (await open(directory)).close();
    const again = await open(directory);
    await again.write({ hardState: hardState(5), entries: [entry(46, 5, 'y'.repeat(500))] });
    await again.close();
  });
}

async function writeSmall(store: LogStore): Promise<void> {
  await store.write({ hardState: hardState(1, 'p1'), entries: [entry(1, 1, 'one'), entry(2, 1, 'two')] });
  await store.write({ hardState: hardState(2), entries: [entry(2, 2, 'two again'), entry(3, 2, 'three')] });
  const snapshot = persisted(3, 2, {
    base: { index: 2, term: 2 },
    data: new TextEncoder().encode('state at three'),
  });
  await store.write({ hardState: hardState(3, 'p3'), entries: [entry(4, 3, 'four')], snapshot });
  await store.write({
    hardState: hardState(4, 'p3'),
    entries: [entry(4, 4, 'four again'), entry(5, 4, 'five')],
  });
}

async function filesAfter(write: (directory: string) => Promise<void>): Promise<StoreFiles> {
  const parent = mkdtempSync(join(tmpdir(), 'pg-sentinel-damage-'));
  try {
    await write(join(parent, 'raft'));
    return filesOf(join(parent, 'raft'));
  } finally {
    rmSync(parent, { recursive: true, force: true });
  }
}
