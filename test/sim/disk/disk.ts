// What lies on the disk of one peer: the log in LevelDB, the side file with its two slots, the snapshot files. As records, with
// checksums and the chain of hashes as numbers. Only what is durable is here; what is under way is in store.ts.
// Must never be changed but by store.ts (in the order of the real store) and by damage.ts.
import type { LogIndex, PeerId, Term } from '../../../src/base/ids.ts';
import type { Entry, HardState, Snapshot } from '../../../src/raft/types.ts';

/** One entry as it lies in LevelDB: `sum` covers all of it and the sum of the entry before, so that records form a chain. */
export interface EntryRecord {
  readonly entry: Entry;
  readonly previousSum: number;
  readonly sum: number;
}

/** What one write leaves behind, in LevelDB with the entries and in the side file. */
export interface StateRecord {
  /** Number of the write; grows by one with each. */
  readonly sequence: number;
  readonly storeId: string;
  readonly hardState: HardState;
  readonly lastIndex: number;
  /** Sum of the last entry. */
  readonly chainHead: number;
  readonly baseIndex: number;
  readonly baseTerm: number;
  /** Sum of the entry at `baseIndex`: what the first entry that is left was chained to. */
  readonly baseSum: number;
  /** The snapshot file that belongs to it; 0 without one. */
  readonly snapshotFile: number;
  readonly snapshotSum: number;
  readonly sum: number;
}

export interface SnapshotFile {
  readonly id: number;
  readonly snapshot: Snapshot;
  readonly sum: number;
}

export interface Disk {
  records: EntryRecord[];
  state: StateRecord | undefined;
  readonly slots: [StateRecord | undefined, StateRecord | undefined];
  snapshots: SnapshotFile[];
  /** State records of earlier writes, newest last: what LevelDB shows again when it drops a tail. */
  readonly earlierStates: StateRecord[];
}

export function emptyDisk(): Disk {
  return { records: [], state: undefined, slots: [undefined, undefined], snapshots: [], earlierStates: [] };
}

export function wipe(disk: Disk): void {
  disk.records = [];
  disk.state = undefined;
  disk.slots[0] = undefined;
  disk.slots[1] = undefined;
  disk.snapshots = [];
  disk.earlierStates.length = 0;
}

/** A copy that later writes leave alone. */
export function imageOf(disk: Disk): Disk {
  return {
    records: [...disk.records],
    state: disk.state,
    slots: [disk.slots[0], disk.slots[1]],
    snapshots: [...disk.snapshots],
    earlierStates: [...disk.earlierStates],
  };
}

function mix(hash: number, value: number): number {
  const spread = Math.imul(value + 0x7ed55d16, 0x85ebca6b);
  const mixed = Math.imul(hash ^ (spread >>> 13) ^ spread, 0x9e3779b1);
  return (mixed ^ (mixed >>> 15)) | 0;
}

const dataSums = new WeakMap<Uint8Array, number>();

function dataSum(data: Uint8Array): number {
  const known = dataSums.get(data);
  if (known !== undefined) return known;
  let sum = data.length;
  for (let at = 0; at < data.length; at += 1) sum = mix(sum, data[at] as number);
  dataSums.set(data, sum);
  return sum;
}

const KIND_CODES: Record<Entry['kind'], number> = { command: 1, noop: 2, config: 3 };

export function entrySum(entry: Entry, previousSum: number): number {
  return mix(
    mix(mix(mix(previousSum, entry.index), entry.term), KIND_CODES[entry.kind]),
    dataSum(entry.data),
  );
}

const textSums = new Map<string, number>();

function textSum(text: string): number {
  let sum = textSums.get(text);
  if (sum === undefined) {
    if (textSums.size > 1000) textSums.clear();
    sum = sumOfText(text);
    textSums.set(text, sum);
  }
  return sum;
}

function sumOfText(text: string): number {
  let sum = text.length;
  for (let at = 0; at < text.length; at += 1) sum = mix(sum, text.charCodeAt(at));
  return sum;
}

export function stateSum(state: Omit<StateRecord, 'sum'>): number {
  let sum = mix(state.sequence, textSum(state.storeId));
  sum = mix(mix(sum, state.hardState.term), textSum(state.hardState.votedFor ?? ''));
  sum = mix(mix(sum, state.lastIndex), state.chainHead);
  sum = mix(mix(mix(sum, state.baseIndex), state.baseTerm), state.baseSum);
  return mix(mix(sum, state.snapshotFile), state.snapshotSum);
}

export function snapshotSum(snapshot: Snapshot): number {
  return mix(mix(snapshot.index, snapshot.term), dataSum(snapshot.data));
}

/** Index of the last entry that is durable, or of the base where there is none. */
export function durableLastIndex(disk: Disk): number {
  return disk.state?.lastIndex ?? 0;
}

export function durableTerm(disk: Disk): number {
  return disk.state?.hardState.term ?? 0;
}

export function durableVote(disk: Disk): PeerId | undefined {
  return disk.state?.hardState.votedFor;
}

/** Term of the durable entry at `index`; undefined where there is none (compacted away, or beyond the end). */
export function durableTermAt(disk: Disk, index: number): Term | undefined {
  const { state } = disk;
  if (state === undefined) return undefined;
  if (index === state.baseIndex) return state.baseTerm as Term;
  return disk.records[index - state.baseIndex - 1]?.entry.term;
}

/** Whether the disk holds this committed entry, as an entry or within its snapshot. */
export function holdsDurably(disk: Disk, index: LogIndex | number, term: number): boolean {
  const { state } = disk;
  if (state === undefined) return false;
  if (index < state.baseIndex) return true;
  return durableTermAt(disk, index) === term;
}
