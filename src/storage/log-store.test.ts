import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { logIndex, peerId } from '../base/ids.ts';
import type { Entry } from '../raft/types.ts';
import { StoreDamagedError, StoreFailedError, StoreIdentityError, StoreLockedError } from './errors.ts';
import { mergeWrites } from './log-store.ts';
import type { LogWrite } from './log-store.ts';
import { entry, hardState, open, texts, withDirectory } from './testing/stores.ts';

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

  test('gives back, after any writes in any grouping, what these writes leave', async () => {
    const anyWrites = fc.array(fc.record({ back: fc.nat(4), count: fc.nat(4), waits: fc.boolean() }), {
      minLength: 1,
      maxLength: 12,
    });
    await fc.assert(
      fc.asyncProperty(anyWrites, async (steps) => {
        await withDirectory(async (directory) => {
          let expected: Entry[] = [];
          let store = await open(directory);
          for (const [step, { back, count, waits }] of steps.entries()) {
            const base = count === 0 ? expected.length : Math.max(0, expected.length - back);
            const added = Array.from({ length: count }, (_, offset) => entry(base + offset + 1, step + 1));
            expected = [...expected.slice(0, base), ...added];
            const written = store.write({ hardState: hardState(step + 1), entries: added });
            if (waits) await written;
          }
          await store.close();
          store = await open(directory);
          expect(texts(store.entries)).toEqual(texts(expected));
          expect(store.hardState.term).toBe(steps.length);
          await store.close();
        });
      }),
      { numRuns: 25 },
    );
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
      await expect(open(directory)).rejects.toThrow(/rejoin as a new learner/);
    });
  });

  test('writes nothing while idle', async () => {
    await withDirectory(async (directory) => {
      const store = await open(directory);
      await store.write(threeEntries);
      const modifiedAt = async (): Promise<number[]> => {
        const names = (await readdir(join(directory, 'log'))).map((name) => join(directory, 'log', name));
        return Promise.all(
          [join(directory, 'hard-state'), ...names].map(async (name) => (await stat(name)).mtimeMs),
        );
      };
      const before = await modifiedAt();
      await new Promise((resolve) => setTimeout(resolve, 300));
      expect(await modifiedAt()).toEqual(before);
      await store.close();
    });
  });
});

describe('several writes merged into one', () => {
  const current = { hardState: hardState(1), lastIndex: logIndex(3) };

  test('leave the last hard state, and of the entries those not replaced', () => {
    const merged = mergeWrites(current, [
      { hardState: hardState(1), entries: [entry(4, 1), entry(5, 1)] },
      { hardState: hardState(2, 'p2'), entries: [] },
      { hardState: hardState(2, 'p2'), entries: [entry(5, 2)] },
      { hardState: hardState(3), entries: [entry(2, 3)] },
      { hardState: hardState(3), entries: [entry(3, 3)] },
    ]);
    expect(merged.hardState).toEqual(hardState(3));
    expect(texts(merged.entries)).toEqual(['2/3 entry 2 of term 3', '3/3 entry 3 of term 3']);
  });

  test('are refused when they leave a hole or take back a term or vote', () => {
    expect(() => mergeWrites(current, [{ hardState: hardState(1), entries: [entry(5, 1)] }])).toThrow(
      /entry 5 after entry 3/,
    );
    const voted = { hardState: hardState(2, 'p1'), entries: [] };
    expect(() => mergeWrites(current, [voted, { hardState: hardState(2, 'p2'), entries: [] }])).toThrow(
      /a vote for p2/,
    );
    expect(() => mergeWrites(current, [voted, { hardState: hardState(1), entries: [] }])).toThrow(
      /term 1 after term 2/,
    );
  });
});
