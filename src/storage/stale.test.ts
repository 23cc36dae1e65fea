// A store of which a part is an older copy of itself: restored from a backup, or from a disk that forgot. It opens whole or is
// refused. A copy of the whole directory from one moment cannot be told from the original by looking at it alone.
import { mkdirSync, writeFileSync } from 'node:fs';
import { rm, truncate } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { StoreDamagedError } from './errors.ts';
import type { LogStore } from './log-store.ts';
import { filesOf, tryAll } from './testing/damage.ts';
import type { Change, StoreFiles } from './testing/damage.ts';
import { entry, hardState, open, persisted, withDirectory } from './testing/stores.ts';

/** Oldest first; the store was open at the time, and nothing was under way. */
const moments: StoreFiles[] = [];
const newest = (): StoreFiles => moments.at(-1) ?? new Map();

beforeAll(async () => {
  await withDirectory(async (directory) => {
    let last = 0;
    for (let round = 1; round <= 4; round += 1) {
      const store = await open(directory);
      const write = async (asked: Parameters<LogStore['write']>[0]): Promise<void> => {
        await store.write(asked);
        moments.push(filesOf(directory));
      };
      await write({
        hardState: hardState(2 * round),
        entries: [entry(last + 1, round), entry(last + 2, round)],
      });
      const installed = persisted(last + 3, 2 * round, { replacesLog: true });
      await write({ hardState: hardState(2 * round, 'p2'), entries: [], snapshot: installed });
      await write({
        hardState: hardState(2 * round + 1),
        entries: [entry(last + 4, round), entry(last + 5, round), entry(last + 6, round)],
      });
      last += 6;
      const taken = persisted(last - 1, round, { base: { index: last - 2, term: round } });
      await store.write({ hardState: hardState(2 * round + 1), entries: [], snapshot: taken });
      await store.close();
      moments.push(filesOf(directory));
    }
  });
});

/** The newest moment, with what `replaces` names taken from an older one. */
function* mixed(
  what: string,
  replaces: (older: StoreFiles) => Iterable<readonly [string, Buffer]> | undefined,
): Generator<Change> {
  for (const [number, older] of moments.slice(0, -1).entries()) {
    const replaced = replaces(older);
    if (replaced !== undefined)
      yield { what: `${what} of moment ${number}`, files: new Map([...newest(), ...replaced]) };
  }
}

const isLog = (name: string): boolean => name.startsWith('log/');
const isSnapshot = (name: string): boolean => name.startsWith('snapshot-');

describe('a store with a part of an older moment', () => {
  test('opens whole or is refused, whichever file it is', async () => {
    const changes: Change[] = [];
    for (const [number, older] of moments.slice(0, -1).entries()) {
      for (const [name, bytes] of older) {
        const present = newest().get(name);
        if (present?.equals(bytes) === true) continue;
        const what = `${name} of moment ${number} ${present === undefined ? 'added' : 'put in its place'}`;
        changes.push({ what, files: new Map([...newest(), [name, bytes]]) });
      }
    }
    const { refused, opened } = await tryAll(newest(), changes);
    expect(refused).toBeGreaterThan(10);
    expect(opened).toBeGreaterThan(10);
  });

  test('is refused with all of an older LevelDB', async () => {
    const others = [...newest()].filter(([name]) => !isLog(name));
    const changes = moments.slice(0, -1).map((older, number) => ({
      what: `log of moment ${number}`,
      files: new Map([...others, ...[...older].filter(([name]) => isLog(name))]),
    }));
    expect((await tryAll(newest(), changes)).opened).toBe(0);
  });

  test('is refused with an older side file', async () => {
    const changes = mixed('hard-state', (older) => [...older].filter(([name]) => name === 'hard-state'));
    expect(await tryAll(newest(), changes)).toEqual({ refused: moments.length - 1, opened: 0 });
  });

  test('is refused with an older snapshot under the name of the present one', async () => {
    const name = [...newest().keys()].find(isSnapshot) ?? '';
    const changes = mixed('snapshot', (older) => {
      const found = [...older].find(([candidate]) => isSnapshot(candidate));
      return found === undefined ? undefined : [[name, found[1]]];
    });
    expect(await tryAll(newest(), changes)).toEqual({ refused: moments.length - 2, opened: 0 });
  });
});

function place(directory: string, files: StoreFiles): void {
  for (const [name, bytes] of files) {
    mkdirSync(dirname(join(directory, name)), { recursive: true });
    writeFileSync(join(directory, name), bytes);
  }
}

describe('a store put together from two moments', () => {
  test('names what was lost when LevelDB is older than what was answered for', async () => {
    await withDirectory(async (directory) => {
      place(directory, newest());
      const store = await open(directory);
      await store.close();
      const before = [...filesOf(directory)].filter(([name]) => isLog(name));
      const again = await open(directory);
      await again.write({ hardState: hardState(10), entries: [entry(25, 10)] });
      await again.close();
      await withDirectory(async (mixture) => {
        place(mixture, new Map([...[...filesOf(directory)].filter(([name]) => !isLog(name)), ...before]));
        await expect(open(mixture)).rejects.toThrow(StoreDamagedError);
        await expect(open(mixture)).rejects.toThrow(
          /the log ends at entry 24 .* answered for entry 25 .* a tail was lost/,
        );
      });
    });
  });

  test('is accepted when LevelDB is one write ahead, at every restart, and brought up without touching the newer slot', async () => {
    await withDirectory(async (directory) => {
      const sideFile = (): Buffer => filesOf(directory).get('hard-state') ?? Buffer.alloc(0);
      const crashAfter = async (index: number): Promise<void> => {
        const store = await open(directory);
        expect(store.entries).toHaveLength(index - 1);
        const before = sideFile();
        await store.write({ hardState: hardState(3, 'p3'), entries: [entry(index, 3)] });
        await store.close();
        writeFileSync(join(directory, 'hard-state'), before);
      };
      for (let index = 1; index <= 4; index += 1) await crashAfter(index);
      const behind = sideFile();
      await (await open(directory)).close();
      const slots = [0, 4096].map((offset) =>
        [behind, sideFile()].map((bytes) => bytes.subarray(offset, offset + 4096)),
      );
      const sequences = slots.map(([before]) => before?.readBigUInt64BE(8) ?? 0n);
      const newer = sequences.indexOf(sequences.reduce((a, b) => (a > b ? a : b)));
      expect(slots.map(([before, after]) => before?.equals(after ?? before))).toEqual([
        newer === 0,
        newer === 1,
      ]);
    });
  });

  test('is refused once it was opened one write ahead and written to, and LevelDB falls back', async () => {
    await withDirectory(async (directory) => {
      const store = await open(directory);
      await store.write({ hardState: hardState(3, 'p3'), entries: [entry(1, 3)] });
      const before = filesOf(directory);
      await store.write({ hardState: hardState(3, 'p3'), entries: [entry(2, 3)] });
      await store.close();
      const ahead = new Map([
        ...filesOf(directory),
        ['hard-state', before.get('hard-state') ?? Buffer.alloc(0)],
      ]);
      await withDirectory(async (crashed) => {
        place(crashed, ahead);
        const reopened = await open(crashed);
        expect(reopened.entries).toHaveLength(2);
        await reopened.write({ hardState: hardState(4), entries: [] });
        await reopened.close();
        await rm(join(crashed, 'log'), { recursive: true });
        place(crashed, new Map([...ahead].filter(([name]) => isLog(name))));
        await expect(open(crashed)).rejects.toThrow(/a tail was lost/);
      });
    });
  });

  test('is refused when the side file is older by more than that, and when it is empty', async () => {
    await withDirectory(async (directory) => {
      const [first] = moments;
      place(directory, new Map([...newest(), ['hard-state', first?.get('hard-state') ?? Buffer.alloc(0)]]));
      await expect(open(directory)).rejects.toThrow(/is an old copy/);
      await truncate(join(directory, 'hard-state'), 0);
      await expect(open(directory)).rejects.toThrow(/neither slot/);
    });
  });
});
