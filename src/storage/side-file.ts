// The file beside LevelDB that says up to where this peer has answered. LevelDB drops a torn or flipped tail without a word;
// this is what notices. Two slots are written in turn, so that a crash in mid-write spoils only the one that was not yet due.
// Must never be written before the LevelDB batch it speaks of is durable, nor overwrite the newest good slot.
import { constants } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { assert } from '../base/assert.ts';
import { syncDirectory } from './directories.ts';
import { decodeStoreState, encodeStoreState, foreignFormat } from './store-state.ts';
import type { StoreState } from './store-state.ts';

/** A slot is a page of its own, so that a torn write cannot reach the other. */
const SLOT_BYTES = 4096;
const SLOT_COUNT = 2;

export interface SideFile {
  /** The newest good slot; `undefined` where neither is good. */
  readonly state: StoreState | undefined;
  /** Where neither is good: the name of another format, as found in one of them. */
  readonly foreignFormat: string | undefined;
  /** Durable when it resolves. After a failure nothing is known, and nothing may be written any more. */
  write(state: StoreState): Promise<void>;
  close(): Promise<void>;
}

/** Opens the side file, or returns `undefined` where there is none. */
export async function openSideFile(path: string): Promise<SideFile | undefined> {
  let handle: FileHandle;
  try {
    handle = await open(path, constants.O_RDWR);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    return {
      ...(await readNewestSlot(handle)),
      write: (state) => writeSlot(handle, state),
      close: () => handle.close(),
    };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** Creates the side file, whole and durable under its name, with `state` in it. */
export async function createSideFile(path: string, state: StoreState): Promise<SideFile> {
  const unfinished = `${path}.new`;
  const handle = await open(unfinished, constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC, 0o600);
  try {
    await handle.write(Buffer.alloc(SLOT_BYTES * SLOT_COUNT), 0, SLOT_BYTES * SLOT_COUNT, 0);
    await writeSlot(handle, state);
    await handle.sync();
    await rename(unfinished, path);
    await syncDirectory(dirname(path));
  } catch (error) {
    await handle.close();
    throw error;
  }
  return {
    state,
    foreignFormat: undefined,
    write: (next) => writeSlot(handle, next),
    close: () => handle.close(),
  };
}

async function readNewestSlot(handle: FileHandle): Promise<Pick<SideFile, 'state' | 'foreignFormat'>> {
  const bytes = Buffer.alloc(SLOT_BYTES * SLOT_COUNT);
  await handle.read(bytes, 0, bytes.length, 0);
  let newest: StoreState | undefined;
  let foreign: string | undefined;
  for (let slot = 0; slot < SLOT_COUNT; slot += 1) {
    const slotBytes = bytes.subarray(slot * SLOT_BYTES, (slot + 1) * SLOT_BYTES);
    const state = decodeStoreState(slotBytes);
    foreign ??= foreignFormat(slotBytes);
    if (state !== undefined && (newest === undefined || state.sequence > newest.sequence)) newest = state;
  }
  return { state: newest, foreignFormat: newest === undefined ? foreign : undefined };
}

/** The size never changes, so the data alone need be flushed. */
async function writeSlot(handle: FileHandle, state: StoreState): Promise<void> {
  const record = encodeStoreState(state);
  assert(record.length <= SLOT_BYTES, () => `a state of ${record.length} bytes does not fit a slot`);
  const slot = Buffer.alloc(SLOT_BYTES);
  record.copy(slot);
  const { bytesWritten } = await handle.write(
    slot,
    0,
    SLOT_BYTES,
    (state.sequence % SLOT_COUNT) * SLOT_BYTES,
  );
  if (bytesWritten !== SLOT_BYTES)
    throw new Error(`wrote ${bytesWritten} of ${SLOT_BYTES} bytes to the side file: disk full?`);
  await handle.datasync();
}
