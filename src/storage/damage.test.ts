// A store whose bytes changed behind its back opens with all that was acknowledged, or not at all.
import { existsSync } from 'node:fs';
import { cp, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { StoreDamagedError } from './errors.ts';
import type { LogStore } from './log-store.ts';
import { entry, hardState, open, texts } from './testing/stores.ts';

let parent = '';
/** All in LevelDB's write-ahead log, as a running process has it. */
let young = '';
/** Mostly in LevelDB's tables, as after restarts. */
let old = '';

beforeAll(async () => {
  // Thousands of stores are opened: in memory where possible, since nothing here asks for a real disk.
  parent = await mkdtemp(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'pg-sentinel-damage-'));
  young = join(parent, 'young');
  old = join(parent, 'old');
  const store = await open(young);
  await write(store);
  await store.close();
  await cp(young, old, { recursive: true });
  const again = await open(old);
  await again.write({ hardState: hardState(4, 'p2'), entries: [entry(4, 4, 'four')] });
  await again.close();
  await (await open(old)).close();
});

afterAll(() => rm(parent, { recursive: true, force: true }));

async function write(store: LogStore): Promise<void> {
  await store.write({ hardState: hardState(1, 'p1'), entries: [entry(1, 1, 'one'), entry(2, 1, 'two')] });
  await store.write({ hardState: hardState(2), entries: [entry(2, 2, 'two again')] });
  await store.write({ hardState: hardState(3, 'p3'), entries: [entry(3, 3, 'three')] });
}

type Outcome =
  | { readonly kind: 'refused'; readonly error: unknown }
  | { readonly kind: 'opened'; readonly content: string };

async function tryOpen(directory: string): Promise<Outcome> {
  try {
    const store = await open(directory);
    const content = JSON.stringify([store.hardState, texts(store.entries)]);
    await store.close();
    return { kind: 'opened', content };
  } catch (error) {
    return { kind: 'refused', error };
  }
}

async function filesOf(directory: string): Promise<string[]> {
  const names = (await readdir(join(directory, 'log'))).filter((name) => !/^(LOCK|LOG|LOG\.old)$/.test(name));
  return ['hard-state', ...names.map((name) => join('log', name))];
}

/** Opens a copy of `source` for each change of a file; counts how it went. Throws where something went missing silently. */
async function tryAll(
  source: string,
  changes: (file: string, bytes: Buffer) => Iterable<readonly [what: string, changed: Buffer]>,
): Promise<{ refused: number; opened: number }> {
  const counts = { refused: 0, opened: 0 };
  const copy = join(parent, 'copy');
  await cp(source, copy, { recursive: true });
  const expected = await tryOpen(copy);
  if (expected.kind === 'refused') throw expected.error;
  for (const file of await filesOf(source)) {
    for (const [what, changed] of changes(file, await readFile(join(source, file)))) {
      await rm(copy, { recursive: true, force: true });
      await cp(source, copy, { recursive: true });
      await writeFile(join(copy, file), changed);
      const outcome = await tryOpen(copy);
      counts[outcome.kind] += 1;
      if (outcome.kind === 'opened') expect(outcome.content, `${what} of ${file}`).toBe(expected.content);
      else
        expect(String(outcome.error), `${what} of ${file}`).toMatch(
          /^StoreDamagedError: |cannot open the Raft log/,
        );
    }
  }
  await rm(copy, { recursive: true, force: true });
  return counts;
}

/** One byte in so many is changed; STORE_FLIP_STRIDE=1 takes them all, in about 40 s. */
const STRIDE = Number(process.env['STORE_FLIP_STRIDE'] ?? 3);

/** The bytes of the records; of the empty remainder of a slot one in 500. */
function* flips(file: string, bytes: Buffer): Generator<readonly [string, Buffer]> {
  for (let at = 0; at < bytes.length; at += STRIDE) {
    if (file === 'hard-state' && at % 4096 > 200 && at % 100 !== 0) continue;
    const changed = Buffer.from(bytes);
    changed.writeUInt8(changed.readUInt8(at) ^ (1 << (at % 8)), at);
    yield [`bit ${at % 8} of byte ${at}`, changed];
  }
}

function* cuts(_file: string, bytes: Buffer): Generator<readonly [string, Buffer]> {
  for (let length = 0; length < bytes.length; length += bytes.length > 1000 ? 97 : 7) {
    yield [`the first ${length} bytes`, bytes.subarray(0, length)];
  }
}

describe('a store with one bit flipped, anywhere', () => {
  test('in the write-ahead log: opens whole or is refused', async () => {
    const counts = await tryAll(young, flips);
    expect(counts.refused).toBeGreaterThan(100);
  });

  test('in the tables: opens whole or is refused', async () => {
    const counts = await tryAll(old, flips);
    expect(counts.refused).toBeGreaterThan(100);
  });
});

describe('a store with a file cut short', () => {
  test('opens whole or is refused', async () => {
    expect((await tryAll(young, cuts)).refused).toBeGreaterThan(10);
    expect((await tryAll(old, cuts)).refused).toBeGreaterThan(10);
  });
});

describe('a store put together from two moments', () => {
  test('is refused when LevelDB is older than what was answered for', async () => {
    const mixed = join(parent, 'mixed');
    await cp(old, mixed, { recursive: true });
    await rm(join(mixed, 'log'), { recursive: true });
    await cp(join(young, 'log'), join(mixed, 'log'), { recursive: true });
    await expect(open(mixed)).rejects.toThrow(
      /the log ends at entry 3 .* answered for entry 4 .* a tail was lost/,
    );
    await expect(open(mixed)).rejects.toThrow(StoreDamagedError);
  });

  test('is accepted when LevelDB is one write ahead, which is an ordinary crash, and is refused again once that was opened', async () => {
    const crashed = join(parent, 'crashed');
    await cp(young, crashed, { recursive: true });
    const store = await open(crashed);
    await store.write({
      hardState: hardState(3, 'p3'),
      entries: [entry(3, 3, 'three'), entry(4, 3, 'four')],
    });
    await store.close();
    const ahead = join(parent, 'ahead');
    await cp(crashed, ahead, { recursive: true });
    await cp(join(young, 'hard-state'), join(ahead, 'hard-state'));
    const reopened = await open(ahead);
    expect(reopened.entries).toHaveLength(4);
    await reopened.close();
    await rm(join(ahead, 'log'), { recursive: true });
    await cp(join(crashed, 'log'), join(ahead, 'log'), { recursive: true });
    await expect(open(ahead)).rejects.toThrow(/a tail was lost/);
  });

  test('is refused when the side file is older by more than that', async () => {
    const stale = join(parent, 'stale');
    await cp(young, stale, { recursive: true });
    const store = await open(stale);
    await store.write({ hardState: hardState(4), entries: [] });
    await store.write({ hardState: hardState(5), entries: [] });
    await store.close();
    await cp(join(young, 'hard-state'), join(stale, 'hard-state'));
    await expect(open(stale)).rejects.toThrow(/is an old copy/);
  });

  test('is refused when the side file is empty', async () => {
    const empty = join(parent, 'empty');
    await cp(young, empty, { recursive: true });
    await truncate(join(empty, 'hard-state'), 0);
    await expect(open(empty)).rejects.toThrow(/neither slot/);
  });
});
