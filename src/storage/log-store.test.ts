import { readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { Level } from 'level';
import { describe, expect, test } from 'vitest';
import { until } from '../base/clock.ts';
import { logIndex, peerId } from '../base/ids.ts';
import type { Entry } from '../raft/types.ts';
import { CHAIN_START, encodeEntry, HASH_BYTES } from './entry-codec.ts';
import {
  StoreDamagedError,
  StoreFailedError,
  StoreFormatError,
  StoreIdentityError,
  StoreLockedError,
} from './errors.ts';
import { entryKey } from './keys.ts';
import type { LogWrite } from './log-write.ts';
import { entry, hardState, open, persisted, texts, withDirectory } from './testing/stores.ts';

async function writeAndClose(directory: string, ...writes: readonly LogWrite[]): Promise<void> {
  const store = await open(directory);
  await Promise.all(writes.map((write) => store.write(write)));
  await store.close();
}

const threeEntries: LogWrite = {
  hardState: hardState(2, 'p1'),
  entries: [entry(1, 1), entry(2, 1), entry(3, 2)],
};

describe('a log store', () => {
  test('begins empty in term 0 and stays so until something is written', async () => {
    await withDirectory(async (directory) => {
      for (let count = 0; count < 3; count += 1) {
        const store = await open(directory);
        expect(store.hardState).toEqual(hardState(0));
        expect(store.entries).toEqual([]);
        await store.close();
      }
    });
  });

  test('gives back what was written, of any kind and size', async () => {
    await withDirectory(async (directory) => {
      const entries: Entry[] = [
        { ...entry(1, 1), kind: 'noop', data: new Uint8Array() },
        { ...entry(2, 1), data: new Uint8Array(1 << 16).fill(3) },
        { ...entry(3, 2), kind: 'config' },
      ];
      await writeAndClose(directory, { hardState: hardState(2, 'p3'), entries });
      const store = await open(directory);
      expect(store.hardState).toEqual(hardState(2, 'p3'));
      expect(store.entries).toEqual(entries);
      await store.close();
    });
  });

  test('replaces what conflicts and forgets what lay behind it', async () => {
    await withDirectory(async (directory) => {
      await writeAndClose(directory, threeEntries);
      await writeAndClose(directory, { hardState: hardState(3), entries: [entry(2, 3)] });
      await writeAndClose(directory, { hardState: hardState(3), entries: [entry(3, 3)] });
      const store = await open(directory);
      expect(texts(store.entries)).toEqual([
        '1/1 entry 1 of term 1',
        '2/3 entry 2 of term 3',
        '3/3 entry 3 of term 3',
      ]);
      await store.close();
    });
  });

  test('refuses a hole, and everything after that', async () => {
    await withDirectory(async (directory) => {
      const store = await open(directory);
      await store.write(threeEntries);
      await expect(store.write({ hardState: hardState(2, 'p1'), entries: [entry(5, 2)] })).rejects.toThrow(
        StoreFailedError,
      );
      await expect(store.write({ hardState: hardState(3), entries: [] })).rejects.toThrow(
        /entry 5 after entry 3/,
      );
      await store.close();
    });
  });

  test('refuses to be opened twice, and says so', async () => {
    await withDirectory(async (directory) => {
      const store = await open(directory);
      await expect(open(directory)).rejects.toThrow(StoreLockedError);
      await store.write(threeEntries);
      await store.close();
      await (await open(directory)).close();
    });
  });

  test('refuses another cluster and another peer, naming both', async () => {
    await withDirectory(async (directory) => {
      await writeAndClose(directory, threeEntries);
      await expect(open(directory, { clusterId: 'green' })).rejects.toThrow(
        /cluster "blue", but this is cluster "green"/,
      );
      await expect(open(directory, { self: peerId('p2') })).rejects.toThrow(
        /peer "p1", but this is peer "p2"/,
      );
      await expect(open(directory, { clusterId: 'green' })).rejects.toThrow(StoreIdentityError);
      await (await open(directory)).close();
    });
  });

  test('is refused without its side file, without its LevelDB, and with an older one', async () => {
    await withDirectory(async (directory) => {
      await writeAndClose(directory, threeEntries);
      await rm(join(directory, 'hard-state'));
      await expect(open(directory)).rejects.toThrow(StoreDamagedError);
    });
    await withDirectory(async (directory) => {
      await writeAndClose(directory, threeEntries);
      await rm(join(directory, 'log'), { recursive: true });
      await expect(open(directory)).rejects.toThrow(StoreDamagedError);
      await expect(open(directory)).rejects.toThrow(/rejoins as a new learner/);
    });
  });

  test('refuses a store of an earlier format without touching it, and says so', async () => {
    await withDirectory(async (directory) => {
      await writeAndClose(directory, threeEntries);
      const path = join(directory, 'hard-state');
      const bytes = await readFile(path);
      for (const slot of [0, 4096]) bytes.write('PGSRAFT1', slot, 'latin1');
      await writeFile(path, bytes);
      const before = await modifiedAt(directory);
      await expect(open(directory)).rejects.toThrow(StoreFormatError);
      await expect(open(directory)).rejects.toThrow(
        /has the format PGSRAFT1, and this version reads PGSRAFT2 only/,
      );
      expect(await modifiedAt(directory)).toEqual(before);
    });
  });

  test.each([
    [
      'an entry that is sound but of another history',
      2,
      encodeEntry(entry(2, 1, 'other'), CHAIN_START).bytes,
      /entry 2 does not follow the entry before it/,
    ],
    ['a last entry that was never written', 3, undefined, /the log should end at entry 3, but ends at 2/],
    ['an entry too many', 4, encodeEntry(entry(4, 1), CHAIN_START).bytes, /entry 4 does not follow/],
    ['a hole', 2, undefined, /entry 2 is missing; the next one is 3/],
  ])('refuses %s', async (_, index, value, message) => {
    await withDirectory(async (directory) => {
      await writeAndClose(directory, threeEntries);
      const database = new Level<Buffer, Buffer>(join(directory, 'log'), {
        keyEncoding: 'buffer',
        valueEncoding: 'buffer',
      });
      const key = entryKey(logIndex(index));
      await (value === undefined ? database.del(key) : database.put(key, value));
      await database.close();
      await expect(open(directory)).rejects.toThrow(message);
    });
  });

  test('refuses a last entry that follows the one before it but is not the one written', async () => {
    await withDirectory(async (directory) => {
      await writeAndClose(directory, threeEntries);
      const database = new Level<Buffer, Buffer>(join(directory, 'log'), {
        keyEncoding: 'buffer',
        valueEncoding: 'buffer',
      });
      const before = await database.get(entryKey(logIndex(2)));
      const other = encodeEntry(entry(3, 2, 'other'), (before ?? CHAIN_START).subarray(-HASH_BYTES)).bytes;
      await database.put(entryKey(logIndex(3)), other);
      await database.close();
      await expect(open(directory)).rejects.toThrow(/entry 3 is not the one that was written last/);
    });
  });

  test('keeps its id for ever; another store has another one', async () => {
    await withDirectory(async (directory) => {
      const ids = new Set<string>();
      for (let count = 0; count < 3; count += 1) {
        const store = await open(directory);
        ids.add(store.storeId);
        await store.write({ hardState: hardState(count + 1), entries: [] });
        await store.close();
      }
      expect(ids.size).toBe(1);
      await rm(directory, { recursive: true });
      const store = await open(directory);
      expect(store.storeId).toMatch(/^[0-9a-f]{16}$/);
      expect(ids).not.toContain(store.storeId);
      await store.close();
    });
  });

  test('refuses a side file and a log of two stores of the same peer', async () => {
    await withDirectory(async (directory) => {
      await writeAndClose(directory, threeEntries);
      await rename(directory, `${directory}-first`);
      await writeAndClose(directory, threeEntries);
      await rename(join(`${directory}-first`, 'hard-state'), join(directory, 'hard-state'));
      await expect(open(directory)).rejects.toThrow(/they do not belong together/);
    });
  });

  test('says what was found, what to do, and that PostgreSQL is not touched by it', async () => {
    await withDirectory(async (directory) => {
      await writeAndClose(directory, threeEntries);
      await rm(join(directory, 'log'), { recursive: true });
      const message = await open(directory).catch(String);
      for (const part of [
        `cannot use the Raft log in ${directory}: LevelDB refused to open it`,
        'must neither vote nor acknowledge',
        'The data of PostgreSQL is not touched',
        '"sentinelctl peer remove p1" on another peer',
        `delete ${directory}`,
        'set "join: true"',
        '"sentinelctl peer add p1 HOST:PORT"',
        'rejoins as a new learner',
      ]) {
        expect(message).toContain(part);
      }
    });
  });

  test('writes nothing while idle, not even after a snapshot', async () => {
    await withDirectory(async (directory) => {
      const store = await open(directory);
      await store.write(threeEntries);
      await store.write({ ...threeEntries, entries: [], snapshot: persisted(2, 1) });
      await settled(() => modifiedAt(directory));
      const before = await modifiedAt(directory);
      expect([...before.keys()]).toContain('snapshot-0000000000000002');
      await new Promise((resolve) => setTimeout(resolve, 300));
      expect(await modifiedAt(directory)).toEqual(before);
      await store.close();
    });
  });
});

/** Path below `directory` -> when it was last written to, directories included; a file that goes away meanwhile is left out. */
async function modifiedAt(directory: string): Promise<ReadonlyMap<string, number>> {
  const names = await readdir(directory, { recursive: true });
  const times = await Promise.all(
    [...names, '.'].map(async (name): Promise<[string, number | undefined]> => [
      name,
      await stat(join(directory, name)).then(
        ({ mtimeMs }) => mtimeMs,
        (error: NodeJS.ErrnoException) => {
          if (error.code !== 'ENOENT') throw error;
          return undefined;
        },
      ),
    ]),
  );
  return new Map(times.filter((time): time is [string, number] => time[1] !== undefined));
}

/** Waits until `look` sees the same twice in a row. */
async function settled(look: () => Promise<unknown>): Promise<void> {
  let before: unknown;
  await until({ what: 'the same twice', timeoutMs: 10_000, everyMs: 100 }, async () => {
    const now = await look();
    const isSame = isDeepStrictEqual(now, before);
    before = now;
    return isSame;
  });
}
