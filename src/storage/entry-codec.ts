// One log entry as bytes, with the hash of its predecessor and its own: a chain from the first entry to the last.
// Must never return an entry whose bytes are not exactly those that were written.
//
//   format 1 | kind 1 | index 8 | term 8 | hash of the predecessor 32 | data | SHA-256 of all before 32     (big endian)
import { createHash } from 'node:crypto';
import { assert } from '../base/assert.ts';
import { logIndex, term } from '../base/ids.ts';
import type { LogIndex } from '../base/ids.ts';
import type { Entry } from '../raft/types.ts';

const FORMAT = 1;
const KINDS = ['command', 'noop', 'config'] as const satisfies readonly Entry['kind'][];
export const HASH_BYTES = 32;
const HEADER_BYTES = 1 + 1 + 8 + 8 + HASH_BYTES;
const SMALLEST_BYTES = HEADER_BYTES + HASH_BYTES;

/** What the first entry of a log names as its predecessor. */
export const CHAIN_START: Buffer = Buffer.alloc(HASH_BYTES);

export interface EncodedEntry {
  readonly bytes: Buffer;
  readonly hash: Buffer;
}

export type DecodedEntry =
  | { readonly kind: 'entry'; readonly entry: Entry; readonly previousHash: Buffer; readonly hash: Buffer }
  | { readonly kind: 'damaged'; readonly reason: string };

export function encodeEntry(entry: Entry, previousHash: Buffer): EncodedEntry {
  assert(
    previousHash.length === HASH_BYTES,
    () => `a hash has ${HASH_BYTES} bytes, not ${previousHash.length}`,
  );
  const bytes = Buffer.allocUnsafe(SMALLEST_BYTES + entry.data.length);
  bytes.writeUInt8(FORMAT, 0);
  bytes.writeUInt8(KINDS.indexOf(entry.kind), 1);
  bytes.writeBigUInt64BE(BigInt(entry.index), 2);
  bytes.writeBigUInt64BE(BigInt(entry.term), 10);
  previousHash.copy(bytes, 18);
  bytes.set(entry.data, HEADER_BYTES);
  const hash = sha256(bytes.subarray(0, -HASH_BYTES));
  hash.copy(bytes, bytes.length - HASH_BYTES);
  return { bytes, hash };
}

/** Reads what was stored under `index`; `damaged` says what is wrong with it. */
export function decodeEntry(bytes: Buffer, index: LogIndex): DecodedEntry {
  if (bytes.length < SMALLEST_BYTES)
    return { kind: 'damaged', reason: `entry ${index} has ${bytes.length} bytes only` };
  const hash = bytes.subarray(-HASH_BYTES);
  if (!sha256(bytes.subarray(0, -HASH_BYTES)).equals(hash)) {
    return { kind: 'damaged', reason: `the checksum of entry ${index} is wrong` };
  }
  const kind = KINDS[bytes.readUInt8(1)];
  if (bytes.readUInt8(0) !== FORMAT || kind === undefined) {
    return {
      kind: 'damaged',
      reason: `entry ${index} has the unknown format ${bytes.readUInt8(0)}.${bytes.readUInt8(1)}`,
    };
  }
  const stored = logIndex(Number(bytes.readBigUInt64BE(2)));
  if (stored !== index)
    return { kind: 'damaged', reason: `entry ${stored} was found in the place of entry ${index}` };
  const entry: Entry = {
    index,
    term: term(Number(bytes.readBigUInt64BE(10))),
    kind,
    data: new Uint8Array(bytes.subarray(HEADER_BYTES, -HASH_BYTES)),
  };
  return { kind: 'entry', entry, previousHash: bytes.subarray(18, 18 + HASH_BYTES), hash };
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}
