// Where things are in LevelDB. Keys sort by bytes, so entries come back in order of index.
// Must never change without a new store format.
import { logIndex } from '../base/ids.ts';
import type { LogIndex } from '../base/ids.ts';

const ENTRY_PREFIX = 'e'.charCodeAt(0);
export const ENTRY_KEY_BYTES = 9;

/** The {@link StoreState} of the last write. */
export const STATE_KEY: Buffer = Buffer.from('state', 'latin1');

export function entryKey(index: LogIndex): Buffer {
  const key = Buffer.allocUnsafe(ENTRY_KEY_BYTES);
  key.writeUInt8(ENTRY_PREFIX, 0);
  key.writeBigUInt64BE(BigInt(index), 1);
  return key;
}

export function isEntryKey(key: Buffer): boolean {
  return (
    key.length === ENTRY_KEY_BYTES &&
    key[0] === ENTRY_PREFIX &&
    key.readBigUInt64BE(1) <= BigInt(Number.MAX_SAFE_INTEGER)
  );
}

export function indexOfEntryKey(key: Buffer): LogIndex {
  return logIndex(Number(key.readBigUInt64BE(1)));
}
