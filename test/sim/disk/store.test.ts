// The simulated store must be as careful as the real one: what it answered for is there after any crash, and any damage is noticed.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { logIndex, peerId, term } from '../../../src/base/ids.ts';
import type { Entry, Snapshot } from '../../../src/raft/types.ts';
import { createRandom } from '../engine/random.ts';
import { type Damage, damage } from './damage.ts';
import { type Disk, emptyDisk, imageOf } from './disk.ts';
import { openStore } from './open.ts';
import { type Persist, type Store, abandonWrite, beginWrite, createStore, finishWrite } from './store.ts';

const SELF = peerId('p1');
const open = (disk: Disk) => openStore(disk, () => 'store-1');

function entry(index: number, ofTerm: number): Entry {
  return {
    index: logIndex(index),
    term: term(ofTerm),
    kind: 'command',
    data: Uint8Array.of(index, ofTerm, 7),
  };
}

function snapshotAt(index: number, ofTerm: number): Snapshot {
  const membership = { voters: [SELF], learners: [], addresses: new Map(), incarnation: 1 };
  return { index: logIndex(index), term: term(ofTerm), membership, data: Uint8Array.of(index, 9) };
}

function persist(
  ticket: number,
  ofTerm: number,
  entries: readonly Entry[],
  snapshot?: Persist['snapshot'],
): Persist {
  const hardState = { term: term(ofTerm), votedFor: SELF };
  return { kind: 'persist', ticket, hardState, entries, snapshot };
}

function writeAll(store: Store, ...effects: readonly Persist[]): void {
  for (const effect of effects) {
    store.waiting.push(effect);
    beginWrite(store, 0, 10, 10);
    finishWrite(store);
  }
}

/** Twelve entries in terms 1 and 2, compacted up to 4, with a snapshot at 6; and a copy from halfway. */
function usedStore(): { readonly disk: Disk; readonly image: Disk } {
  const disk = emptyDisk();
  open(disk);
  const store = createStore(disk);
  writeAll(
    store,
    persist(
      1,
      1,
      [1, 2, 3, 4].map((index) => entry(index, 1)),
    ),
  );
  const image = imageOf(disk);
  writeAll(
    store,
    persist(2, 1, [entry(5, 1), entry(6, 1)]),
    persist(3, 2, [], {
      snapshot: snapshotAt(6, 1),
      base: { index: logIndex(4), term: term(1) },
      replacesLog: false,
    }),
    persist(
      4,
      2,
      [7, 8, 9].map((index) => entry(index, 2)),
    ),
    persist(
      5,
      2,
      [10, 11, 12].map((index) => entry(index, 2)),
    ),
  );
  return { disk, image };
}

describe('an unharmed store', () => {
  test('is opened with all it holds', () => {
    const { disk } = usedStore();
    const opened = open(disk);
    expect(opened.kind === 'open' && opened.entries.map(({ index }) => index)).toEqual([
      5, 6, 7, 8, 9, 10, 11, 12,
    ]);
    expect(opened.kind === 'open' && [opened.base.index, opened.snapshot?.index]).toEqual([4, 6]);
  });

  test('that was never used is made anew', () => {
    expect(open(emptyDisk())).toMatchObject({ kind: 'open', entries: [], storeId: 'store-1' });
  });
});

const DAMAGES: readonly Damage[] = [
  'bit-flip-entry',
  'bit-flip-state',
  'bit-flip-snapshot',
  'bit-flip-side-file',
  'tail-dropped',
  'hole',
  'stale-log',
  'stale-side-file',
  'side-file-lost',
];

test.each(DAMAGES)('%s is noticed, whatever it befalls', (what) => {
  for (let seed = 1; seed <= 300; seed += 1) {
    const { disk, image } = usedStore();
    if (damage(disk, what, image, createRandom(seed)))
      expect(open(disk).kind, `seed ${seed}`).toBe('quarantine');
  }
});

test('after a crash at any moment of a write there is what was answered for, and no more than was written', () => {
  fc.assert(
    fc.property(
      fc.nat(60),
      fc.integer({ min: 1, max: 1_000_000 }),
      fc.boolean(),
      (atUs, seed, hasSnapshot) => {
        const { disk } = usedStore();
        const store = createStore(disk);
        const snapshot = {
          snapshot: snapshotAt(10, 2),
          base: { index: logIndex(9), term: term(2) },
          replacesLog: false,
        };
        store.waiting.push(persist(6, 3, [entry(13, 3)], hasSnapshot ? snapshot : undefined));
        beginWrite(store, 0, 20, 20);
        abandonWrite(store, atUs, createRandom(seed));
        const opened = open(disk);
        expect(opened.kind).toBe('open');
        if (opened.kind !== 'open') return;
        expect([12, 13]).toContain(opened.entries.at(-1)?.index);
        expect(opened.hardState.term).toBe(opened.entries.at(-1)?.index === 13 ? 3 : 2);
        expect([6, 10]).toContain(opened.snapshot?.index);
        // What it brings up to date then stands the next start.
        expect(open(disk)).toMatchObject({ kind: 'open', hardState: opened.hardState });
      },
    ),
    { numRuns: 3000 },
  );
});
