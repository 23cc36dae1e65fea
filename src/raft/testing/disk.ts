// What a disk holds, and what a `persist` effect makes of it: the semantics that the core relies on. Never used outside tests.
import { logIndex, term } from '../../base/ids.ts';
import type { LogIndex, Term } from '../../base/ids.ts';
import type { LogBase } from '../log.ts';
import type { Entry, HardState, RaftEffect, Snapshot } from '../types.ts';

export type PersistEffect = Extract<RaftEffect, { kind: 'persist' }>;

/** What {@link createRaft} is started from. */
export interface Disk {
  readonly hardState: HardState;
  readonly snapshot: Snapshot | undefined;
  readonly base: LogBase;
  readonly entries: readonly Entry[];
}

export const EMPTY_DISK: Disk = {
  hardState: { term: term(0), votedFor: undefined },
  snapshot: undefined,
  base: { index: logIndex(0), term: term(0) },
  entries: [],
};

/** The disk after the write; throws where the log would have a hole or would not reach its snapshot. */
export function written(disk: Disk, { hardState, entries, snapshot: persisted }: PersistEffect): Disk {
  const base = persisted?.base ?? disk.base;
  const snapshot = persisted?.snapshot ?? disk.snapshot;
  const kept = persisted?.replacesLog === true ? [] : disk.entries.filter(({ index }) => index > base.index);
  if (kept[0] !== undefined && kept[0].index !== base.index + 1)
    throw new Error(`hole: entry ${kept[0].index} after base ${base.index}`);
  const first = entries[0]?.index ?? Number.POSITIVE_INFINITY;
  const log = [...kept.filter(({ index }) => index < first), ...entries];
  const last = base.index + log.length;
  if (log.length > 0 && log.at(-1)?.index !== last) throw new Error(`hole: entry ${first} after ${last}`);
  if (snapshot !== undefined && last < snapshot.index)
    throw new Error(`hole: the log ends at ${last}, before the snapshot at ${snapshot.index}`);
  return { hardState, snapshot, base, entries: log };
}

/** Last index the disk stands for, by an entry or by its snapshot. */
export function diskLastIndex(disk: Disk): number {
  return disk.base.index + disk.entries.length;
}

/** Term at `index`; `undefined` where the disk holds no entry. */
export function diskTermAt(disk: Disk, index: LogIndex): Term | undefined {
  return index === disk.base.index ? disk.base.term : disk.entries[index - disk.base.index - 1]?.term;
}
