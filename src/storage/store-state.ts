// What one write leaves behind, in a few hundred bytes: whose store it is, term and vote, and where log and snapshot stand.
// The same record is kept twice, in LevelDB with the entries and in the side file, and compared on opening.
// Must never be decoded from bytes that fail their checksum.
//
//   magic 8 | sequence 8 | term 8 | last index 8 | chain head 32 | base: index 8, term 8, hash 32 |
//   snapshot, or zeros: index 8, term 8, hash 32 | cluster, peer, store, vote: length 1 + bytes | SHA-256 32
import { createHash } from 'node:crypto';
import { assert } from '../base/assert.ts';
import { isName, logIndex, peerId, term } from '../base/ids.ts';
import type { LogIndex, PeerId, Term } from '../base/ids.ts';
import type { HardState } from '../raft/types.ts';
import { HASH_BYTES } from './entry-codec.ts';

export interface StoreState {
  /** Number of the write that left this state; grows by one with each. */
  readonly sequence: number;
  readonly clusterId: string;
  readonly self: PeerId;
  /** 16 random hexadecimal digits, made with the store: tells a disk that was replaced from the one before it. */
  readonly storeId: string;
  readonly hardState: HardState;
  /** The entry after which the log begins; entries at or below it that are still there have no meaning. */
  readonly base: HashedPosition;
  readonly lastIndex: LogIndex;
  /** Hash of the last entry, or that of `base`. */
  readonly chainHead: Buffer;
  /** Which snapshot file is in force, and the hash of its contents. */
  readonly snapshot: HashedPosition | undefined;
}

/** A place in the log, and what must be found there. */
export interface HashedPosition {
  readonly index: LogIndex;
  readonly term: Term;
  readonly hash: Buffer;
}

const MAGIC = Buffer.from('PGSRAFT2', 'latin1');
/** What all formats begin with. */
const FAMILY = 'PGSRAFT';
const POSITION_BYTES = 8 + 8 + HASH_BYTES;
const BASE_OFFSET = 64;
const SNAPSHOT_OFFSET = BASE_OFFSET + POSITION_BYTES;
const FIXED_BYTES = SNAPSHOT_OFFSET + POSITION_BYTES;
const TEXT_COUNT = 4;
const TEXT_BYTES_MAX = 255;

export const STORE_FORMAT: string = MAGIC.toString('latin1');

export function encodeStoreState(state: StoreState): Buffer {
  const fixed = Buffer.alloc(FIXED_BYTES);
  MAGIC.copy(fixed, 0);
  fixed.writeBigUInt64BE(BigInt(state.sequence), 8);
  fixed.writeBigUInt64BE(BigInt(state.hardState.term), 16);
  fixed.writeBigUInt64BE(BigInt(state.lastIndex), 24);
  state.chainHead.copy(fixed, 32);
  writePosition(fixed, BASE_OFFSET, state.base);
  if (state.snapshot !== undefined) writePosition(fixed, SNAPSHOT_OFFSET, state.snapshot);
  const content = Buffer.concat([
    fixed,
    text(state.clusterId),
    text(state.self),
    text(state.storeId),
    text(state.hardState.votedFor ?? ''),
  ]);
  return Buffer.concat([content, sha256(content)]);
}

/** `undefined` where the bytes are not a whole, unharmed record. Bytes behind the record are ignored. */
export function decodeStoreState(bytes: Buffer): StoreState | undefined {
  if (bytes.length < FIXED_BYTES || !bytes.subarray(0, MAGIC.length).equals(MAGIC)) return undefined;
  const texts: string[] = [];
  let offset = FIXED_BYTES;
  while (texts.length < TEXT_COUNT) {
    const length = bytes[offset];
    if (length === undefined) return undefined;
    texts.push(bytes.toString('utf8', offset + 1, offset + 1 + length));
    offset += 1 + length;
  }
  const checksum = bytes.subarray(offset, offset + HASH_BYTES);
  if (!sha256(bytes.subarray(0, offset)).equals(checksum)) return undefined;
  const [clusterId = '', self = '', storeId = '', votedFor = ''] = texts;
  if (!isName(self)) return undefined;
  const snapshot = readPosition(bytes, SNAPSHOT_OFFSET);
  return {
    sequence: Number(bytes.readBigUInt64BE(8)),
    clusterId,
    self: peerId(self),
    storeId,
    hardState: {
      term: term(Number(bytes.readBigUInt64BE(16))),
      votedFor: votedFor === '' ? undefined : peerId(votedFor),
    },
    base: readPosition(bytes, BASE_OFFSET),
    lastIndex: logIndex(Number(bytes.readBigUInt64BE(24))),
    chainHead: Buffer.from(bytes.subarray(32, 32 + HASH_BYTES)),
    snapshot: snapshot.index === 0 ? undefined : snapshot,
  };
}

/** The name of the format in which `bytes` seem to be written, where it is another than ours. */
export function foreignFormat(bytes: Buffer): string | undefined {
  const format = bytes.toString('latin1', 0, MAGIC.length);
  return format.startsWith(FAMILY) && format !== STORE_FORMAT ? format : undefined;
}

/** A term never falls, and a vote is never changed within its term (Raft §5.2): checked here once more, before the disk. */
export function assertHardStateFollows(before: HardState, after: HardState): void {
  assert(after.term >= before.term, () => `refused to write term ${after.term} after term ${before.term}`);
  const voteChanged = before.votedFor !== undefined && after.votedFor !== before.votedFor;
  assert(
    after.term > before.term || !voteChanged,
    () =>
      `refused to write a vote for ${after.votedFor} in term ${after.term}, which was given to ${before.votedFor}`,
  );
}

function writePosition(bytes: Buffer, offset: number, position: HashedPosition): void {
  assert(
    position.hash.length === HASH_BYTES,
    () => `a hash has ${HASH_BYTES} bytes, not ${position.hash.length}`,
  );
  bytes.writeBigUInt64BE(BigInt(position.index), offset);
  bytes.writeBigUInt64BE(BigInt(position.term), offset + 8);
  position.hash.copy(bytes, offset + 16);
}

function readPosition(bytes: Buffer, offset: number): HashedPosition {
  return {
    index: logIndex(Number(bytes.readBigUInt64BE(offset))),
    term: term(Number(bytes.readBigUInt64BE(offset + 8))),
    hash: Buffer.from(bytes.subarray(offset + 16, offset + POSITION_BYTES)),
  };
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, 'utf8');
  assert(bytes.length <= TEXT_BYTES_MAX, () => `"${value}" is longer than ${TEXT_BYTES_MAX} bytes`);
  return Buffer.concat([Buffer.from([bytes.length]), bytes]);
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}
