// A history of writes that can be told from its seed alone, so that a store can be compared with what was acknowledged.
// Write n sets term n and, often, replaces part of the log, takes a snapshot of it, or installs one in its place.
import { seededRandom } from '../../raft/testing/random.ts';
import type { Random } from '../../raft/testing/random.ts';
import type { Entry, PersistedSnapshot } from '../../raft/types.ts';
import type { LogWrite } from '../log-write.ts';
import { entry, hardState, persisted } from './stores.ts';

export interface HistoryOptions {
  readonly seed: number;
  readonly count: number;
  /** Size of the largest snapshots; most are small. */
  readonly snapshotBytesMax: number;
}

/** The log so far, as far as the next write has to know it. */
interface Progress {
  readonly entries: readonly Entry[];
  readonly base: { readonly index: number; readonly term: number };
  /** What is committed is never replaced; snapshots are of what is committed. */
  readonly committed: number;
  readonly snapshotIndex: number;
}

export function historyOf(options: HistoryOptions): readonly LogWrite[] {
  const random = seededRandom(options.seed);
  const writes: LogWrite[] = [];
  let progress: Progress = {
    entries: [],
    base: { index: 0, term: 0 },
    committed: 0,
    snapshotIndex: 0,
  };
  for (let number = 1; number <= options.count; number += 1) {
    const step = random.chance(0.05)
      ? install(random, progress, number, options)
      : grow(random, progress, number, options);
    writes.push({ hardState: hardState(number, random.chance(0.5) ? 'p2' : undefined), ...step.write });
    ({ progress } = step);
  }
  return writes;
}

interface Step {
  readonly write: Pick<LogWrite, 'entries' | 'snapshot'>;
  readonly progress: Progress;
}

/** Appends, perhaps in the place of what is not committed, and perhaps takes a snapshot. */
function grow(random: Random, before: Progress, number: number, options: HistoryOptions): Step {
  const last = lastOf(before);
  const added = random.between(0, 4);
  const from =
    added > 0 && random.chance(0.3) ? Math.max(before.committed, last - random.between(0, 6)) : last;
  const fresh = entriesAfter(random, from, added, number);
  const entries = [...before.entries.filter(({ index }) => index <= from), ...fresh];
  const grown = { ...before, entries };
  const committed = random.between(before.committed, lastOf(grown));
  const takes = committed > before.snapshotIndex && random.chance(0.15);
  if (!takes) return { write: { entries: fresh }, progress: { ...grown, committed } };
  const index = random.between(before.snapshotIndex + 1, committed);
  const base = Math.max(before.base.index, index - random.between(0, 3));
  const snapshot = persisted(index, termAt(grown, index), {
    base: { index: base, term: termAt(grown, base) },
    data: dataOf(random, number, options),
  });
  return {
    write: { entries: fresh, snapshot },
    progress: { ...grown, committed, base: { index: base, term: termAt(grown, base) }, snapshotIndex: index },
  };
}

/** A snapshot from elsewhere, ahead of what is committed here: the log before it goes. */
function install(random: Random, before: Progress, number: number, options: HistoryOptions): Step {
  const index = random.between(before.committed + 1, lastOf(before) + 5);
  const entries = entriesAfter(random, index, random.between(0, 2), number);
  const snapshot: PersistedSnapshot = persisted(index, number, {
    replacesLog: true,
    data: dataOf(random, number, options),
  });
  return {
    write: { entries, snapshot },
    progress: { entries, base: { index, term: number }, committed: index, snapshotIndex: index },
  };
}

function lastOf({ entries, base }: Progress): number {
  return entries.at(-1)?.index ?? base.index;
}

function termAt({ entries, base }: Progress, index: number): number {
  if (index === base.index) return base.term;
  const found = entries.find((candidate) => candidate.index === index);
  if (found === undefined) throw new Error(`no entry ${index} in the history`);
  return found.term;
}

function entriesAfter(random: Random, index: number, count: number, number: number): Entry[] {
  const padding = 'x'.repeat(random.between(0, 300));
  return Array.from({ length: count }, (_, offset) =>
    entry(index + offset + 1, number, `write ${number} ${padding}`),
  );
}

function dataOf(random: Random, number: number, { snapshotBytesMax }: HistoryOptions): Uint8Array {
  const bytes = random.chance(0.3) ? snapshotBytesMax : random.between(0, Math.min(200, snapshotBytesMax));
  return new Uint8Array(bytes).fill(number % 256);
}
