// A snapshot to chunks and back (SnapshotRequest of raft.proto). No network. Must never hand over a snapshot of which a byte is
// missing, doubled or changed, nor take more memory than it was told of and is allowed.
import { crc32 } from 'node:zlib';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { logIndex, term } from '../base/ids.ts';
import {
  type SnapshotHeader,
  type SnapshotRequest,
  SnapshotRequestSchema,
} from '../gen/pg_sentinel/v1/raft_pb.ts';
import type { MembershipCodec, RaftMessage } from '../raft/types.ts';
import { checked, checkedForeign, DamagedMessage } from './damaged.ts';

export type SnapshotMessage = Extract<RaftMessage, { readonly kind: 'snapshot-request' }>;

/** A larger snapshot is neither sent nor received. */
export const SNAPSHOT_BYTES_MAX = 256 << 20;
/** What is sent in one piece: small enough that nothing else waits for it. */
export const CHUNK_BYTES = 256 << 10;
const CHUNK_BYTES_MAX = 1 << 20;
const MEMBERSHIP_BYTES_MAX = 64 << 10;

/** The chunks of `message`, encoded one after the other; `end` is asked for at the last one. */
export function* encodeChunks(
  message: SnapshotMessage,
  codec: MembershipCodec,
  end: () => { readonly term: number; readonly round: number },
): Iterable<Uint8Array> {
  const { snapshot } = message;
  const { data } = snapshot;
  let crc = 0;
  let offset = 0;
  do {
    const part = data.subarray(offset, offset + CHUNK_BYTES);
    crc = crc32(part, crc);
    const isFirst = offset === 0;
    const isLast = offset + part.length === data.length;
    const latest = isLast ? end() : undefined;
    yield toBinary(
      SnapshotRequestSchema,
      create(SnapshotRequestSchema, {
        ...(isFirst && {
          header: {
            term: BigInt(message.term),
            index: BigInt(snapshot.index),
            entryTerm: BigInt(snapshot.term),
            membership: codec.encode(snapshot.membership),
            totalBytes: BigInt(data.length),
          },
        }),
        offset: BigInt(offset),
        data: part,
        crc,
        ...(latest !== undefined && { end: { term: BigInt(latest.term), round: BigInt(latest.round) } }),
      }),
    );
    offset += part.length;
  } while (offset < data.length);
}

/** What has arrived of one snapshot. */
export interface Assembly {
  /** Term of the sender as leader; undefined before the first chunk. */
  readonly term: number | undefined;
  /** Takes the next chunk. The whole message after the last one; throws {@link DamagedMessage}. */
  add(chunk: Uint8Array): SnapshotMessage | undefined;
}

export function createAssembly(codec: MembershipCodec, bytesMax = SNAPSHOT_BYTES_MAX): Assembly {
  let header: SnapshotHeader | undefined;
  let data = new Uint8Array();
  let receivedBytes = 0;
  let crc = 0;
  let isWhole = false;

  const begin = (first: SnapshotRequest): SnapshotHeader => {
    const { header: given } = first;
    if (given === undefined) throw new DamagedMessage('a snapshot that begins without its header');
    if (given.totalBytes > BigInt(bytesMax)) {
      throw new DamagedMessage(`a snapshot of ${given.totalBytes} bytes; at most ${bytesMax} are taken`);
    }
    if (given.membership.length > MEMBERSHIP_BYTES_MAX) {
      throw new DamagedMessage(
        `a snapshot with a membership of ${given.membership.length} bytes; at most ${MEMBERSHIP_BYTES_MAX} are taken`,
      );
    }
    data = new Uint8Array(Number(given.totalBytes));
    return given;
  };

  return {
    get term() {
      return header === undefined ? undefined : Number(header.term);
    },
    add(bytes) {
      const chunk = checkedForeign('a chunk of a snapshot', () => fromBinary(SnapshotRequestSchema, bytes));
      if (isWhole) throw new DamagedMessage('a snapshot that goes on after its end');
      if (header !== undefined && chunk.header !== undefined)
        throw new DamagedMessage('a snapshot with two headers');
      header ??= begin(chunk);
      const part = chunk.data;
      if (part.length > CHUNK_BYTES_MAX)
        throw new DamagedMessage(`a chunk of ${part.length} bytes; at most ${CHUNK_BYTES_MAX} are taken`);
      if (chunk.offset !== BigInt(receivedBytes))
        throw new DamagedMessage(`a chunk for offset ${chunk.offset}, expected was ${receivedBytes}`);
      if (receivedBytes + part.length > data.length)
        throw new DamagedMessage(`a snapshot larger than the ${data.length} bytes it was said to have`);
      crc = crc32(part, crc);
      if (crc !== chunk.crc) throw new DamagedMessage(`a wrong checksum at offset ${receivedBytes}`);
      data.set(part, receivedBytes);
      receivedBytes += part.length;
      const { end } = chunk;
      if (end === undefined) {
        if (part.length === 0) throw new DamagedMessage('an empty chunk');
        return undefined;
      }
      if (receivedBytes !== data.length)
        throw new DamagedMessage(`a snapshot that ends after ${receivedBytes} of ${data.length} bytes`);
      isWhole = true;
      const { index, entryTerm, membership: encoded } = header;
      const membership = checkedForeign('the membership of a snapshot', () => codec.decode(encoded));
      return checked(() => ({
        kind: 'snapshot-request',
        term: term(Number(end.term)),
        round: Number(end.round),
        snapshot: { index: logIndex(Number(index)), term: term(Number(entryTerm)), membership, data },
      }));
    },
  };
}
