// A snapshot in chunks: whole and unchanged, or not at all; bounds hold before memory is taken.
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { describe, expect, test } from 'vitest';
import {
  SnapshotEndSchema,
  type SnapshotHeader,
  type SnapshotRequest,
  SnapshotRequestSchema,
} from '../gen/pg_sentinel/v1/raft_pb.ts';
import { term } from '../base/ids.ts';
import { DamagedMessage } from './damaged.ts';
import { CHUNK_BYTES, createAssembly, encodeChunks, type SnapshotMessage } from './snapshot-codec.ts';
import { CODEC, snapshotOf } from './testing/peers.ts';

const bytesOf = (length: number): Uint8Array =>
  new Uint8Array(length).map((_, at) => (at * 31 + (at >> 8)) % 251);
const LENGTHS = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 17];

function chunksOf(message: SnapshotMessage): Uint8Array[] {
  return [...encodeChunks(message, CODEC, () => message)];
}

function assemble(chunks: Iterable<Uint8Array>, bytesMax?: number): SnapshotMessage | undefined {
  const assembly = createAssembly(CODEC, bytesMax);
  let whole: SnapshotMessage | undefined;
  for (const chunk of chunks) whole = assembly.add(chunk);
  return whole;
}

/** Byte for byte; comparing large arrays element by element takes seconds. */
function expectSame(actual: SnapshotMessage | undefined, expected: SnapshotMessage): void {
  const bare = (message: SnapshotMessage | undefined) => ({
    ...message,
    snapshot: { ...message?.snapshot, data: undefined },
  });
  expect(bare(actual)).toStrictEqual(bare(expected));
  expect(Buffer.compare(actual?.snapshot.data ?? Buffer.of(1), expected.snapshot.data)).toBe(0);
}

/** The chunk with something else in it. */
function changed(chunk: Uint8Array, change: (request: SnapshotRequest) => void): Uint8Array {
  const request = fromBinary(SnapshotRequestSchema, chunk);
  change(request);
  return toBinary(SnapshotRequestSchema, request);
}

/** The chunk with something else in its header. */
const withHeader = (chunk: Uint8Array, change: (header: SnapshotHeader) => void): Uint8Array =>
  changed(chunk, ({ header }) => header !== undefined && change(header));

describe('snapshot in chunks', () => {
  test.each(LENGTHS)('of %i bytes comes back as it went in', (length) => {
    const message = snapshotOf(100, bytesOf(length));
    const chunks = chunksOf(message);
    expect(chunks).toHaveLength(Math.max(1, Math.ceil(length / CHUNK_BYTES)));
    expectSame(assemble(chunks), message);
  });

  test('carries term and round of the latest request for it, asked for at the end', () => {
    const message = snapshotOf(100, bytesOf(CHUNK_BYTES + 1));
    const latest = { term: 3, round: 7 };
    const chunks: Uint8Array[] = [];
    for (const chunk of encodeChunks(message, CODEC, () => latest)) {
      chunks.push(chunk);
      Object.assign(latest, { term: 4, round: 9 });
    }
    expectSame(assemble(chunks), { ...message, term: term(4), round: 9 });
  });

  test('is refused where a chunk is missing, doubled, out of order, changed, or too many', () => {
    const [first, second, third, last] = chunksOf(snapshotOf(100, bytesOf(3 * CHUNK_BYTES + 17))) as [
      Uint8Array,
      Uint8Array,
      Uint8Array,
      Uint8Array,
    ];
    expect(() => assemble([second, third, last])).toThrow(/begins without its header/);
    expect(() => assemble([first, third, last])).toThrow(/a chunk for offset 524288, expected was 262144/);
    expect(() => assemble([first, second, second])).toThrow(/a chunk for offset/);
    expect(() => assemble([first, first])).toThrow(/two headers/);
    expect(() => assemble([first, second, third, last, last])).toThrow(/goes on after its end/);
    const flipped = fromBinary(SnapshotRequestSchema, second).data.slice();
    flipped[1000] = (flipped[1000] ?? 0) ^ 1;
    expect(() => assemble([first, changed(second, (chunk) => (chunk.data = flipped))])).toThrow(
      /a wrong checksum at offset 262144/,
    );
    expect(() => assemble([first, changed(second, (chunk) => (chunk.crc = 1))])).toThrow(/a wrong checksum/);
    expect(() =>
      assemble([
        first,
        changed(second, (chunk) => (chunk.end = create(SnapshotEndSchema, { term: 1n, round: 1n }))),
      ]),
    ).toThrow(/ends after 524288 of 786449 bytes/);
    expect(() =>
      assemble([
        first,
        changed(second, (chunk) =>
          Object.assign(chunk, { data: new Uint8Array(), crc: fromBinary(SnapshotRequestSchema, first).crc }),
        ),
      ]),
    ).toThrow(/an empty chunk/);
    expect(assemble([first, second, third])).toBeUndefined();
  });

  test('is bounded: as a whole, by chunk, by membership, and by what it said', () => {
    const [only] = chunksOf(snapshotOf(100, bytesOf(1000))) as [Uint8Array];
    expect(() => assemble([only], 999)).toThrow(/a snapshot of 1000 bytes; at most 999 are taken/);
    expect(() => assemble([withHeader(only, (header) => (header.totalBytes = 2n ** 63n))])).toThrow(
      /at most 268435456/,
    );
    expect(() => assemble([withHeader(only, (header) => (header.totalBytes = 10n))])).toThrow(
      /larger than the 10 bytes/,
    );
    expect(() =>
      assemble([withHeader(only, (header) => (header.membership = new Uint8Array(70_000)))]),
    ).toThrow(/a membership of 70000 bytes/);
    expect(() => assemble([changed(only, (chunk) => (chunk.data = new Uint8Array((1 << 20) + 1)))])).toThrow(
      /a chunk of 1048577 bytes/,
    );
  });

  test('with a membership that cannot be read, or of bytes that are no chunk, is damage', () => {
    const [only] = chunksOf(snapshotOf(100, bytesOf(10))) as [Uint8Array];
    expect(() => assemble([withHeader(only, (header) => (header.membership = Uint8Array.of(1, 2)))])).toThrow(
      DamagedMessage,
    );
    expect(() => assemble([Uint8Array.of(0x0a, 200)])).toThrow(DamagedMessage);
    expect(() => assemble([withHeader(only, (header) => (header.index = 2n ** 60n))])).toThrow(
      DamagedMessage,
    );
  });
});
