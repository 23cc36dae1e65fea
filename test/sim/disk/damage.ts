// What a bad disk, a bad restore or a careless person does to a store that is closed. Each must be noticed on opening; whether it
// may happen now is for the fault atlas to say.
import type { Random } from '../engine/random.ts';
import type { Disk, EntryRecord, SnapshotFile, StateRecord } from './disk.ts';
import { imageOf } from './disk.ts';

export type Damage =
  | 'bit-flip-entry'
  | 'bit-flip-state'
  | 'bit-flip-snapshot'
  | 'bit-flip-side-file'
  | 'tail-dropped'
  | 'hole'
  | 'stale-log'
  | 'stale-side-file'
  | 'side-file-lost';

/** Damages the disk; false where it holds nothing that could be damaged so. `image` is an older copy of the same store. */
export function damage(disk: Disk, what: Damage, image: Disk | undefined, random: Random): boolean {
  const { state } = disk;
  if (state === undefined) return false;
  const bit = 1 << random.below(31);
  switch (what) {
    case 'bit-flip-entry': {
      const place = random.below(Math.max(1, disk.records.length));
      const record = disk.records[place];
      if (record === undefined) return false;
      disk.records[place] = flippedEntry(record, bit, random);
      return true;
    }
    case 'bit-flip-state':
      disk.state = flippedState(state, bit, random);
      return true;
    case 'bit-flip-snapshot': {
      const place = disk.snapshots.findIndex((file) => file.id === state.snapshotFile);
      const file = disk.snapshots[place];
      if (file === undefined) return false;
      const flipped: SnapshotFile = { ...file, sum: file.sum ^ bit };
      disk.snapshots[place] = flipped;
      return true;
    }
    case 'bit-flip-side-file':
      for (const place of [0, 1] as const) {
        const slot = disk.slots[place];
        if (slot !== undefined) disk.slots[place] = flippedState(slot, bit, random);
      }
      return true;
    case 'tail-dropped': {
      // LevelDB drops what it cannot read at the end of its log, without a word.
      const earlier = disk.earlierStates[random.below(disk.earlierStates.length)];
      if (earlier === undefined || earlier.baseIndex !== state.baseIndex) return false;
      disk.state = earlier;
      disk.records = disk.records.slice(0, Math.max(0, earlier.lastIndex - earlier.baseIndex));
      return true;
    }
    case 'hole': {
      if (disk.records.length < 2) return false;
      disk.records.splice(random.below(disk.records.length - 1), 1);
      return true;
    }
    case 'stale-log': {
      const old = olderImage(disk, image);
      if (old?.state === undefined) return false;
      // With a side file as old as that it would be a whole older store: nobody could tell, and the atlas has not been asked.
      const { sequence } = old.state;
      const copies = disk.slots.filter((slot) => slot !== undefined);
      if (copies.length > 0 && copies.every((slot) => slot.sequence <= sequence)) return false;
      disk.records = [...old.records];
      disk.state = old.state;
      disk.snapshots = [...old.snapshots];
      return true;
    }
    case 'stale-side-file': {
      const old = olderImage(disk, image);
      if (old === undefined) return false;
      [disk.slots[0], disk.slots[1]] = old.slots;
      return true;
    }
    case 'side-file-lost':
      disk.slots[0] = undefined;
      disk.slots[1] = undefined;
      return true;
  }
}

/** An image that is at least two writes behind: a single one is what an ordinary crash may leave. */
function olderImage(disk: Disk, image: Disk | undefined): Disk | undefined {
  if (image?.state === undefined || disk.state === undefined) return undefined;
  if (image.state.storeId !== disk.state.storeId) return undefined;
  return image.state.sequence + 2 < disk.state.sequence ? imageOf(image) : undefined;
}

function flippedEntry(record: EntryRecord, bit: number, random: Random): EntryRecord {
  switch (random.below(3)) {
    case 0:
      return { ...record, sum: record.sum ^ bit };
    case 1:
      return { ...record, previousSum: record.previousSum ^ bit };
    default: {
      const data = new Uint8Array(record.entry.data.length + 1);
      data.set(record.entry.data);
      data[random.below(data.length)] = 1 + (bit & 127);
      return { ...record, entry: { ...record.entry, data } };
    }
  }
}

function flippedState(state: StateRecord, bit: number, random: Random): StateRecord {
  switch (random.below(4)) {
    case 0:
      return { ...state, sum: state.sum ^ bit };
    case 1:
      return { ...state, lastIndex: state.lastIndex ^ 1 };
    case 2:
      return { ...state, hardState: { ...state.hardState, votedFor: undefined }, sum: state.sum ^ bit };
    default:
      return { ...state, sequence: state.sequence ^ 1 };
  }
}
