// A store with snapshots: what it gives back, what it removes when, and what it refuses.
import { cp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { Level } from 'level';
import { describe, expect, test } from 'vitest';
import { StoreDamagedError, StoreFailedError } from './errors.ts';
import type { LogWrite } from './log-write.ts';
import { assertHolds, modelOf } from './testing/model.ts';
import { entry, hardState, open, persisted, texts, withDirectory } from './testing/stores.ts';

const fiveEntries: LogWrite = {
  hardState: hardState(2),
  entries: [entry(1, 1), entry(2, 1), entry(3, 2), entry(4, 2), entry(5, 2)],
};
const nothing = { hardState: hardState(2), entries: [] };

async function writeAndClose(directory: string, ...writes: readonly LogWrite[]): Promise<void> {
  const store = await open(directory);
  await Promise.all(writes.map((write) => store.write(write)));
  await store.close();
}

async function snapshotNames(directory: string): Promise<string[]> {
  return (await readdir(directory)).filter((name) => name.startsWith('snapshot-')).toSorted();
}

/** How many entries LevelDB holds, those without meaning included. */
async function storedEntryCount(directory: string): Promise<number> {
  const database = new Level<Buffer, Buffer>(join(directory, 'log'), { keyEncoding: 'buffer' });
  const keys = await database.keys().all();
  await database.close();
  return keys.filter((key) => key[0] === 'e'.charCodeAt(0)).length;
}

describe('a snapshot of the own state', () => {
  test('is given back with the log from its base on; what it stands for goes', async () => {
    await withDirectory(async (directory) => {
      const taken = persisted(4, 2, { base: { index: 3, term: 2 } });
      await writeAndClose(directory, fiveEntries, { ...nothing, snapshot: taken });
      expect(await storedEntryCount(directory)).toBe(2);
      const store = await open(directory);
      expect(store.snapshot).toEqual(taken.snapshot);
      expect(store.base).toEqual({ index: 3, term: 2 });
      expect(texts(store.entries)).toEqual(['4/2 entry 4 of term 2', '5/2 entry 5 of term 2']);
      await store.close();
    });
  });

  test('replaces the one before it, whose file goes', async () => {
    await withDirectory(async (directory) => {
      await writeAndClose(directory, fiveEntries, { ...nothing, snapshot: persisted(2, 1) });
      expect(await snapshotNames(directory)).toEqual(['snapshot-0000000000000002']);
      await writeAndClose(directory, { ...nothing, snapshot: persisted(5, 2) });
      expect(await snapshotNames(directory)).toEqual(['snapshot-0000000000000005']);
      const store = await open(directory);
      expect(store.entries).toEqual([]);
      await store.write({ hardState: hardState(3), entries: [entry(6, 3)] });
      await store.close();
      const again = await open(directory);
      expect(texts(again.entries)).toEqual(['6/3 entry 6 of term 3']);
      expect(again.snapshot?.index).toBe(5);
      await again.close();
    });
  });

  test('does not hold up the writes that come after it, and neither does one that came too late', async () => {
    await withDirectory(async (directory) => {
      const large = new Uint8Array(30 << 20);
      const store = await open(directory);
      await store.write(fiveEntries);
      const answered: string[] = [];
      const note = (what: string) => async (): Promise<void> => {
        answered.push(`${what}, ${(await snapshotNames(directory)).join() || 'no snapshot'}`);
      };
      const writes = [
        store.write({ ...nothing, snapshot: persisted(3, 2, { data: large }) }).then(note('snapshot')),
        store.write({ ...nothing, entries: [entry(6, 2)] }).then(note('entry')),
      ];
      await Promise.all(writes);
      expect(answered).toEqual([
        'snapshot, snapshot-0000000000000003.new',
        'entry, snapshot-0000000000000003.new',
      ]);
      const replacing = persisted(9, 3, { replacesLog: true });
      await store.write({ hardState: hardState(3), entries: [], snapshot: replacing });
      await store.close();
      expect(await snapshotNames(directory)).toEqual(['snapshot-0000000000000009']);
      const again = await open(directory);
      expect(again.snapshot).toEqual(replacing.snapshot);
      expect(again.entries).toEqual([]);
      await again.close();
    });
  });

  test('that the log contradicts ends the store, and is told', async () => {
    await withDirectory(async (directory) => {
      const told: string[] = [];
      const store = await open(directory, { onFailure: (error) => told.push(error.name) });
      await store.write(fiveEntries);
      await store.write({ ...nothing, snapshot: persisted(4, 1) });
      await store.close();
      expect(told).toEqual(['StoreFailedError']);
      await expect(store.write(nothing)).rejects.toThrow(StoreFailedError);
      const again = await open(directory);
      assertHolds(again, modelOf([fiveEntries]), { isNewest: true });
      await again.close();
      expect(await snapshotNames(directory)).toEqual([]);
    });
  });
});

describe('a snapshot that replaces the log', () => {
  test.each([
    ['ahead of it', 9],
    ['within it', 3],
  ])('%s leaves nothing of it, and the entries that come with the snapshot', async (_, index) => {
    await withDirectory(async (directory) => {
      const installed = persisted(index, 4, { replacesLog: true });
      await writeAndClose(
        directory,
        { hardState: hardState(2), entries: [...fiveEntries.entries] },
        { hardState: hardState(4), entries: [entry(index + 1, 4)], snapshot: installed },
        { hardState: hardState(4), entries: [entry(index + 2, 4)] },
      );
      const store = await open(directory);
      expect(store.base).toEqual({ index, term: 4 });
      expect(store.snapshot).toEqual(installed.snapshot);
      expect(texts(store.entries)).toEqual([
        `${index + 1}/4 entry ${index + 1} of term 4`,
        `${index + 2}/4 entry ${index + 2} of term 4`,
      ]);
      await store.close();
      expect(await storedEntryCount(directory)).toBe(2);
    });
  });

  test('is durable, with its file, when it is answered for', async () => {
    await withDirectory(async (directory) => {
      const store = await open(directory);
      await store.write({ ...nothing, snapshot: persisted(9, 2, { replacesLog: true }) });
      await cp(directory, `${directory}-copy`, { recursive: true });
      await store.close();
      const copy = await open(`${directory}-copy`);
      expect(copy.snapshot?.index).toBe(9);
      await copy.close();
    });
  });
});

describe('what a crash leaves behind', () => {
  test('goes when the store is opened: entries below the base, and snapshot files not in force', async () => {
    await withDirectory(async (directory) => {
      await writeAndClose(directory, fiveEntries, { ...nothing, snapshot: persisted(3, 2) });
      const database = new Level<Buffer, Buffer>(join(directory, 'log'), {
        keyEncoding: 'buffer',
        valueEncoding: 'buffer',
      });
      const key = Buffer.from('650000000000000002', 'hex');
      await database.put(key, Buffer.from('not even an entry'));
      await database.close();
      for (const name of ['snapshot-0000000000000002', 'snapshot-0000000000000004.new'])
        await writeFile(join(directory, name), 'left over');
      const store = await open(directory);
      expect(store.entries).toHaveLength(2);
      await store.close();
      expect(await snapshotNames(directory)).toEqual(['snapshot-0000000000000003']);
      expect(await storedEntryCount(directory)).toBe(2);
    });
  });

  test('stays when the store is refused: it may be evidence', async () => {
    await withDirectory(async (directory) => {
      await writeAndClose(directory, fiveEntries, { ...nothing, snapshot: persisted(3, 2) });
      await rename(
        join(directory, 'snapshot-0000000000000003'),
        join(directory, 'snapshot-0000000000000004'),
      );
      await expect(open(directory)).rejects.toThrow(/the file "snapshot-0000000000000003" is missing/);
      expect(await snapshotNames(directory)).toEqual(['snapshot-0000000000000004']);
    });
  });

  test('is no new store where only a snapshot is left', async () => {
    await withDirectory(async (directory) => {
      await writeAndClose(directory, fiveEntries, { ...nothing, snapshot: persisted(3, 2) });
      await rm(join(directory, 'log'), { recursive: true });
      await rm(join(directory, 'hard-state'));
      await expect(open(directory)).rejects.toThrow(StoreDamagedError);
      await expect(open(directory)).rejects.toThrow(/are gone, but a snapshot is there/);
    });
  });
});

describe('a store', () => {
  /** Numbers are taken modulo what is possible at the time. */
  const anyStep = fc.record({
    kind: fc.constantFrom('append', 'append', 'replace', 'take', 'take', 'install', 'reopen'),
    where: fc.nat(20),
    count: fc.nat(4),
    waits: fc.boolean(),
  });

  test('gives back, after any writes, snapshots and installations in any grouping, what these leave', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyStep, { minLength: 1, maxLength: 25 }), async (steps) => {
        await withDirectory(async (directory) => {
          const writes: LogWrite[] = [];
          let committed = 0;
          let store = await open(directory);
          const reopen = async (): Promise<void> => {
            await store.close();
            store = await open(directory);
            assertHolds(store, modelOf(writes), { isNewest: true });
          };
          for (const { kind, where, count, waits } of steps) {
            if (kind === 'reopen') {
              await reopen();
              continue;
            }
            const ofTerm = writes.length + 1;
            const { log, snapshots } = modelOf(writes);
            const newest = snapshots.at(-1);
            const last = log.at(-1)?.index ?? newest?.snapshot.index ?? 0;
            const after = (index: number): LogWrite => ({
              hardState: hardState(ofTerm),
              entries: Array.from({ length: count }, (_, offset) => entry(index + offset + 1, ofTerm)),
            });
            const taken = newest?.snapshot.index ?? 0;
            const termOf = (index: number): number =>
              log.find((candidate) => candidate.index === index)?.term ??
              (index === newest?.base.index ? newest.base.term : 0);
            let write = after(last);
            if (kind === 'replace') write = after(committed + (where % (last - committed + 1)));
            if (kind === 'take' && last > taken) {
              const index = taken + 1 + (where % (last - taken));
              const base = Math.max(newest?.base.index ?? 0, index - count);
              write = {
                ...write,
                snapshot: persisted(index, termOf(index), { base: { index: base, term: termOf(base) } }),
              };
              committed = Math.max(committed, index);
            }
            if (kind === 'install') {
              const index = committed + 1 + (where % 8);
              write = { ...after(index), snapshot: persisted(index, ofTerm, { replacesLog: true }) };
              committed = index;
            }
            writes.push(write);
            const written = store.write(write);
            if (waits) await written;
          }
          await reopen();
          await store.close();
          const newest = modelOf(writes).snapshots.at(-1);
          expect(await snapshotNames(directory)).toHaveLength(newest === undefined ? 0 : 1);
          expect(await storedEntryCount(directory)).toBe(store.entries.length);
        });
      }),
      { numRuns: 60 },
    );
  });
});
