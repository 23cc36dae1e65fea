// Opening a store: checksums, contiguity, the chain, the snapshot file, and the two records of where the log ends
// (src/storage/recovery.ts). Must never return less than this peer has answered for: anything that differs is quarantine.
import type { LogIndex, Term } from '../../../src/base/ids.ts';
import type { Entry, HardState, Snapshot } from '../../../src/raft/types.ts';
import { type Disk, type StateRecord, entrySum, snapshotSum, stateSum } from './disk.ts';
import { sealed, writeSide } from './store.ts';

export type Opened =
  | {
      readonly kind: 'open';
      readonly hardState: HardState;
      readonly entries: readonly Entry[];
      readonly base: { readonly index: LogIndex; readonly term: Term };
      readonly snapshot: Snapshot | undefined;
      readonly storeId: string;
    }
  /** Damaged: this peer takes no part until it was removed and added again. */
  | { readonly kind: 'quarantine'; readonly reason: string };

/** Opens the store, creating it where there is none (`newStoreId` is then its identity). */
export function openStore(disk: Disk, newStoreId: () => string): Opened {
  const damage = damageOf(disk);
  if (damage !== undefined) return { kind: 'quarantine', reason: damage };
  if (disk.state === undefined) {
    disk.state = sealed({
      sequence: 1,
      storeId: newStoreId(),
      hardState: { term: 0 as Term, votedFor: undefined },
      lastIndex: 0,
      chainHead: 0,
      baseIndex: 0,
      baseTerm: 0,
      baseSum: 0,
      snapshotFile: 0,
      snapshotSum: 0,
      sum: 0,
    });
    writeSide(disk);
  }
  const { state } = disk;
  // A crash between the batch and the side file: the file is brought up before anybody is answered.
  if (newestSlot(disk)?.sequence !== state.sequence) {
    disk.state = sealed({ ...state, sequence: state.sequence + 1 });
    writeSide(disk);
  }
  const file = disk.snapshots.find((known) => known.id === state.snapshotFile);
  disk.snapshots = file === undefined ? [] : [file];
  return {
    kind: 'open',
    hardState: state.hardState,
    entries: disk.records.map((record) => record.entry),
    base: { index: state.baseIndex as LogIndex, term: state.baseTerm as Term },
    snapshot: file?.snapshot,
    storeId: state.storeId,
  };
}

function damageOf(disk: Disk): string | undefined {
  const { records, state } = disk;
  const side = newestSlot(disk);
  const isSideThere = disk.slots[0] !== undefined || disk.slots[1] !== undefined;
  if (state === undefined) {
    if (isSideThere) return 'the log lost its record of the last write';
    return records.length > 0 ? 'entries without a record of their writing were found' : undefined;
  }
  if (stateSum(state) !== state.sum) return 'the record of the last write is unreadable';
  if (isSideThere && side === undefined) return 'neither slot of the side file is readable';
  if (!isSideThere && state.sequence !== 1) return 'the side file is missing';
  const answered = side?.sequence ?? state.sequence - 1;
  if (state.sequence < answered) return `a tail was lost: write ${answered} was answered for`;
  if (state.sequence > answered + 1) return 'the side file is an old copy';
  if (side !== undefined && side.sequence === state.sequence && side.sum !== state.sum)
    return `the log and the side file differ about write ${state.sequence}`;
  let expected = state.baseIndex + 1;
  let previousSum = state.baseSum;
  for (const { entry, previousSum: chained, sum } of records) {
    if (entry.index !== expected) return `entry ${expected} is missing`;
    if (chained !== previousSum) return `entry ${expected} does not follow the entry before it`;
    if (entrySum(entry, chained) !== sum) return `the checksum of entry ${expected} is wrong`;
    previousSum = sum;
    expected += 1;
  }
  if (expected - 1 !== state.lastIndex) return `the log should end at entry ${state.lastIndex}`;
  if (previousSum !== state.chainHead) return `entry ${state.lastIndex} is not the one that was written last`;
  return snapshotDamage(disk, state);
}

function snapshotDamage(disk: Disk, state: StateRecord): string | undefined {
  if (state.snapshotFile === 0) return state.baseIndex > 0 ? 'the snapshot is not recorded' : undefined;
  const file = disk.snapshots.find((known) => known.id === state.snapshotFile);
  if (file === undefined) return 'the snapshot file is missing';
  const isWhole = snapshotSum(file.snapshot) === file.sum && file.sum === state.snapshotSum;
  return isWhole ? undefined : 'the checksum of the snapshot is wrong';
}

/** The newest slot whose checksum is right. */
function newestSlot(disk: Disk): StateRecord | undefined {
  let newest: StateRecord | undefined;
  for (const slot of disk.slots) {
    if (slot === undefined || stateSum(slot) !== slot.sum) continue;
    if (newest === undefined || slot.sequence > newest.sequence) newest = slot;
  }
  return newest;
}
