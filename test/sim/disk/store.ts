// The order in which the real LogStore writes, over the simulated disk: snapshot file, then one synchronous batch, then the side
// file, then the answer; one write in flight, the next collects what arrives meanwhile (src/storage/log-store.ts).
// Must never make anything durable earlier than its place in that order.
import type { RaftEffect } from '../../../src/raft/types.ts';
import type { Random } from '../engine/random.ts';
import { type Disk, type SnapshotFile, type StateRecord, entrySum, snapshotSum, stateSum } from './disk.ts';

export type Persist = Extract<RaftEffect, { kind: 'persist' }>;

/** One write of the store: all that was waiting when it began. */
export interface StoreWrite {
  readonly effects: readonly Persist[];
  /** When the snapshot file (where there is one), the batch and the side file are durable, in virtual time. */
  readonly snapshotDoneUs: number;
  readonly batchDoneUs: number;
  readonly sideDoneUs: number;
}

/** The store of a running process. */
export interface Store {
  readonly disk: Disk;
  waiting: Persist[];
  writing: StoreWrite | undefined;
}

export function createStore(disk: Disk): Store {
  return { disk, waiting: [], writing: undefined };
}

/** Takes up what waits as one write. `latencyUs` is what each of the two synchronous steps costs. */
export function beginWrite(store: Store, nowUs: number, latencyUs: number, snapshotUs: number): StoreWrite {
  const effects = store.waiting;
  store.waiting = [];
  const hasSnapshot = effects.some((effect) => effect.snapshot !== undefined);
  const snapshotDoneUs = nowUs + (hasSnapshot ? snapshotUs : 0);
  const batchDoneUs = snapshotDoneUs + latencyUs;
  store.writing = { effects, snapshotDoneUs, batchDoneUs, sideDoneUs: batchDoneUs + (latencyUs >> 1) };
  return store.writing;
}

/** All of the write under way is durable. Returns the ticket to answer for. */
export function finishWrite(store: Store): number {
  const write = store.writing;
  if (write === undefined) throw new Error('no write is under way');
  store.writing = undefined;
  applyBatch(store.disk, write.effects);
  writeSide(store.disk);
  removeOldSnapshots(store.disk);
  return (write.effects.at(-1) as Persist).ticket;
}

/** The process dies: what of the write under way is on the disk depends on how far it was, and on chance where it was torn. */
export function abandonWrite(store: Store, nowUs: number, random: Random): void {
  const write = store.writing;
  store.writing = undefined;
  store.waiting = [];
  if (write === undefined) return;
  const { disk } = store;
  if (nowUs < write.snapshotDoneUs) {
    // A file that nothing points to yet: torn or whole.
    const left = fileOf(disk, write.effects, random.ppm(500_000) ? 1 : 0);
    if (left !== undefined && random.ppm(700_000)) disk.snapshots.push(left);
    return;
  }
  // LevelDB drops a torn batch whole.
  if (nowUs < write.batchDoneUs && random.ppm(500_000)) {
    const left = fileOf(disk, write.effects, 0);
    if (left !== undefined) disk.snapshots.push(left);
    return;
  }
  applyBatch(disk, write.effects);
  if (nowUs < write.batchDoneUs) return;
  if (nowUs >= write.sideDoneUs || random.ppm(333_333)) writeSide(disk);
  // Torn: that slot is spoilt, the other one still holds the write before.
  else if (random.ppm(500_000)) disk.slots[nextSlot(disk)] = undefined;
}

function fileOf(disk: Disk, effects: readonly Persist[], damage: number): SnapshotFile | undefined {
  let found: SnapshotFile | undefined;
  for (const { snapshot } of effects) {
    if (snapshot === undefined) continue;
    const sum = snapshotSum(snapshot.snapshot) ^ damage;
    found = { id: nextFile(disk, found), snapshot: snapshot.snapshot, sum };
  }
  return found;
}

function nextFile(disk: Disk, found: SnapshotFile | undefined): number {
  let id = Math.max(disk.state?.snapshotFile ?? 0, found?.id ?? 0);
  for (const file of disk.snapshots) id = Math.max(id, file.id);
  return id + 1;
}

const EARLIER_STATES = 6;

/** One LevelDB batch: all of it or nothing. */
function applyBatch(disk: Disk, effects: readonly Persist[]): void {
  const before = disk.state;
  if (before === undefined) throw new Error('the store was not opened');
  let { baseIndex, baseTerm, baseSum, snapshotFile, snapshotSum: fileSum } = before;
  let records = disk.records;
  const file = fileOf(disk, effects, 0);
  if (file !== undefined) {
    disk.snapshots.push(file);
    snapshotFile = file.id;
    fileSum = file.sum;
  }
  for (const effect of effects) {
    const { snapshot } = effect;
    if (snapshot?.replacesLog === true) {
      records = [];
      ({ index: baseIndex, term: baseTerm } = snapshot.base as { index: number; term: number });
      baseSum = snapshotSum(snapshot.snapshot);
    }
    const [first] = effect.entries;
    if (first !== undefined) {
      const position = first.index - baseIndex - 1;
      if (position < 0 || position > records.length) {
        throw new Error(`hole: entry ${first.index} after ${baseIndex + records.length}`);
      }
      records.length = position;
      let previousSum = records.at(-1)?.sum ?? baseSum;
      for (const entry of effect.entries) {
        const sum = entrySum(entry, previousSum);
        records.push({ entry, previousSum, sum });
        previousSum = sum;
      }
    }
    if (snapshot !== undefined && !snapshot.replacesLog && snapshot.base.index > baseIndex) {
      const count = snapshot.base.index - baseIndex;
      const last = records[count - 1];
      if (last === undefined) throw new Error(`base ${snapshot.base.index} lies beyond the log on disk`);
      records = records.slice(count);
      baseIndex = snapshot.base.index;
      baseTerm = snapshot.base.term;
      baseSum = last.sum;
    }
  }
  disk.records = records;
  disk.earlierStates.push(before);
  if (disk.earlierStates.length > EARLIER_STATES) disk.earlierStates.shift();
  disk.state = sealed({
    sequence: before.sequence + 1,
    storeId: before.storeId,
    hardState: (effects.at(-1) as Persist).hardState,
    lastIndex: baseIndex + records.length,
    chainHead: records.at(-1)?.sum ?? baseSum,
    baseIndex,
    baseTerm,
    baseSum,
    snapshotFile,
    snapshotSum: fileSum,
    sum: 0,
  });
}

/** Puts the checksum into a record that was just made. */
export function sealed(state: StateRecord): StateRecord {
  (state as { sum: number }).sum = stateSum(state);
  return state as StateRecord;
}

/** The slot that does not hold the newest good state. */
function nextSlot(disk: Disk): 0 | 1 {
  const [first, second] = disk.slots;
  if (first === undefined) return 0;
  if (second === undefined) return 1;
  return first.sequence < second.sequence ? 0 : 1;
}

export function writeSide(disk: Disk): void {
  disk.slots[nextSlot(disk)] = disk.state;
}

function removeOldSnapshots(disk: Disk): void {
  const present = disk.state?.snapshotFile;
  if (disk.snapshots.length > 1) disk.snapshots = disk.snapshots.filter((file) => file.id === present);
}
