// Opens a store again and again, each time with another change to its files, and compares what comes of it with the store as
// it was. Must never let a store pass that opened with anything else than all that it held.
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { contentOf } from './model.ts';
import { open } from './stores.ts';

/** Path below the store's directory -> contents; without what LevelDB writes for people only (`LOG`) and its lock. */
export type StoreFiles = ReadonlyMap<string, Buffer>;

export interface Change {
  /** For the message of a failure: `bit 3 of byte 17 of hard-state`. */
  readonly what: string;
  readonly files: StoreFiles;
}

export interface Tally {
  readonly refused: number;
  readonly opened: number;
}

/** Opening waits for the disk most of the time. */
const CONCURRENT_COUNT = 4;
const REFUSAL = /^Store(Damaged|Format)Error: cannot use the Raft log in .*"sentinelctl peer remove p1"/s;

export function filesOf(directory: string): StoreFiles {
  const entries = readdirSync(directory, { recursive: true, withFileTypes: true });
  return new Map(
    entries
      .filter((entry) => entry.isFile() && !/^(LOCK|LOG|LOG\.old)$/.test(entry.name))
      .map((entry) => join(entry.parentPath, entry.name))
      .map((path) => [path.slice(directory.length + 1), readFileSync(path)]),
  );
}

/** Fails unless every change leads to a store with the same content, or to a refusal in clear words. */
export async function tryAll(original: StoreFiles, changes: Iterable<Change>): Promise<Tally> {
  const parent = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'pg-sentinel-damage-'));
  try {
    const untouched = await tryOpen(join(parent, 'original'), original);
    assert.equal(untouched.kind, 'opened', `the store itself is refused: ${untouched.text}`);
    const tally = { refused: 0, opened: 0 };
    const remaining = changes[Symbol.iterator]();
    const worker = async (name: string): Promise<void> => {
      for (let next = remaining.next(); next.done !== true; next = remaining.next()) {
        const { what, files } = next.value;
        const outcome = await tryOpen(join(parent, name), files);
        tally[outcome.kind] += 1;
        if (outcome.kind === 'opened')
          assert.equal(outcome.text, untouched.text, `opened with something else: ${what}`);
        else assert.match(outcome.text, REFUSAL, what);
      }
    };
    const workers = Array.from({ length: CONCURRENT_COUNT }, (_, number) => worker(`copy-${number}`));
    // All have to end before the directory goes, also when one of them failed.
    await Promise.allSettled(workers);
    await Promise.all(workers);
    return tally;
  } finally {
    rmSync(parent, { recursive: true, force: true });
  }
}

async function tryOpen(
  directory: string,
  files: StoreFiles,
): Promise<{ readonly kind: 'refused' | 'opened'; readonly text: string }> {
  for (const [name, bytes] of files) {
    mkdirSync(dirname(join(directory, name)), { recursive: true });
    writeFileSync(join(directory, name), bytes);
  }
  try {
    const store = await open(directory);
    await store.close();
    return { kind: 'opened', text: contentOf(store) };
  } catch (error) {
    return { kind: 'refused', text: String(error) };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Places in a file of `length` bytes: every `stride`th one. */
function* placesIn(length: number, stride: number): Generator<number> {
  for (let at = 0; at < length; at += stride) yield at;
}

export function* flips(original: StoreFiles, stride: number): Generator<Change> {
  for (const [name, bytes] of original) {
    for (const at of placesIn(bytes.length, stride)) {
      const changed = Buffer.from(bytes);
      changed.writeUInt8(changed.readUInt8(at) ^ (1 << (at % 8)), at);
      yield {
        what: `bit ${at % 8} of byte ${at} of ${name} flipped`,
        files: new Map(original).set(name, changed),
      };
    }
  }
}

export function* cuts(original: StoreFiles, stride: number): Generator<Change> {
  for (const [name, bytes] of original) {
    for (const at of placesIn(bytes.length, stride)) {
      yield { what: `${name} cut to ${at} bytes`, files: new Map(original).set(name, bytes.subarray(0, at)) };
    }
  }
}

/** One byte left out, or a few. */
export function* drops(original: StoreFiles, stride: number): Generator<Change> {
  for (const [name, bytes] of original) {
    for (const at of placesIn(bytes.length, stride)) {
      const count = 1 + (at % 5);
      const changed = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + count)]);
      yield {
        what: `${count} bytes at ${at} of ${name} dropped`,
        files: new Map(original).set(name, changed),
      };
    }
  }
}

export function* deletions(original: StoreFiles): Generator<Change> {
  for (const name of original.keys()) {
    const files = new Map(original);
    files.delete(name);
    yield { what: `${name} deleted`, files };
  }
}

export function totalBytes(files: StoreFiles): number {
  return [...files.values()].reduce((sum, bytes) => sum + bytes.length, 0);
}
