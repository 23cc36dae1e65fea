// What one write leaves behind, in a few hundred bytes: whose store it is, term and vote, and where the log ends. The same
// record is kept twice, in LevelDB with the entries and in the side file, and compared on opening.
// Must never be decoded from bytes that fail their checksum.
//
//   magic 8 | sequence 8 | term 8 | last index 8 | chain head 32 | cluster, peer, vote: length 1 + bytes | SHA-256 32
import { createHash } from 'node:crypto';
import { assert } from '../base/assert.ts';
import { isName, logIndex, peerId, term } from '../base/ids.ts';
import type { LogIndex, PeerId } from '../base/ids.ts';
import type { HardState } from '../raft/types.ts';
import { HASH_BYTES } from './entry-codec.ts';

export interface StoreState {
  /** Number of the write that left this state; grows by one with each. */
  readonly sequence: number;
  readonly clusterId: string;
  readonly self: PeerId;
  readonly hardState: HardState;
  readonly lastIndex: LogIndex;
  /** Hash of the last entry, or `CHAIN_START`. */
  readonly chainHead: Buffer;
}

const MAGIC = Buffer.from('PGSRAFT1', 'latin1');
const FIXED_BYTES = MAGIC.length + 8 + 8 + 8 + HASH_BYTES;
const TEXT_BYTES_MAX = 255;

export function encodeStoreState(state: StoreState): Buffer {
  const fixed = Buffer.alloc(FIXED_BYTES);
  MAGIC.copy(fixed, 0);
  fixed.writeBigUInt64BE(BigInt(state.sequence), 8);
  fixed.writeBigUInt64BE(BigInt(state.hardState.term), 16);
  fixed.writeBigUInt64BE(BigInt(state.lastIndex), 24);
  state.chainHead.copy(fixed, 32);
  const content = Buffer.concat([
    fixed,
    text(state.clusterId),
    text(state.self),
    text(state.hardState.votedFor ?? ''),
  ]);
  return Buffer.concat([content, sha256(content)]);
}

/** `undefined` where the bytes are not a whole, unharmed record. Bytes behind the record are ignored. */
export function decodeStoreState(bytes: Buffer): StoreState | undefined {
  if (bytes.length < FIXED_BYTES || !bytes.subarray(0, MAGIC.length).equals(MAGIC)) return undefined;
  const texts: string[] = [];
  let offset = FIXED_BYTES;
  while (texts.length < 3) {
    const length = bytes[offset];
    if (length === undefined) return undefined;
    texts.push(bytes.toString('utf8', offset + 1, offset + 1 + length));
    offset += 1 + length;
  }
  const checksum = bytes.subarray(offset, offset + HASH_BYTES);
  if (!sha256(bytes.subarray(0, offset)).equals(checksum)) return undefined;
  const [clusterId = '', self = '', votedFor = ''] = texts;
  if (!isName(self)) return undefined;
  return {
    sequence: Number(bytes.readBigUInt64BE(8)),
    clusterId,
    self: peerId(self),
    hardState: {
      term: term(Number(bytes.readBigUInt64BE(16))),
      votedFor: votedFor === '' ? undefined : peerId(votedFor),
    },
    lastIndex: logIndex(Number(bytes.readBigUInt64BE(24))),
    chainHead: Buffer.from(bytes.subarray(32, 32 + HASH_BYTES)),
  };
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

function text(value: string): Buffer {
  const bytes = Buffer.from(value, 'utf8');
  assert(bytes.length <= TEXT_BYTES_MAX, () => `"${value}" is longer than ${TEXT_BYTES_MAX} bytes`);
  return Buffer.concat([Buffer.from([bytes.length]), bytes]);
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}
