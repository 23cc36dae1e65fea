// Frames written and read by hand are what the generated code writes and reads, byte for byte; damage is noticed.
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { logIndex, term } from '../base/ids.ts';
import {
  AppendRequestSchema,
  ControlRequestSchema,
  RaftMessageSchema,
} from '../gen/pg_sentinel/v1/raft_pb.ts';
import { DamagedMessage } from './damaged.ts';
import { decodeFrame, encodeFrame } from './frame-codec.ts';
import { decodeRaftMessage, encodeRaftMessage, type LinkMessage } from './raft-codec.ts';
import { encodeReport } from './report-codec.ts';
import { reportOf } from './testing/peers.ts';
import { FrameReader, varintBytes } from './wire.ts';

/** Numbers at the edges of varints and of 32 bits too. */
const count = fc.oneof(
  fc.maxSafeNat(),
  fc.nat(300),
  fc.constantFrom(
    127,
    128,
    2 ** 28 - 1,
    2 ** 28,
    2 ** 31,
    2 ** 32 - 1,
    2 ** 32,
    2 ** 35,
    Number.MAX_SAFE_INTEGER,
  ),
);
const entry = fc.record(
  {
    index: count.map(logIndex),
    term: count.map(term),
    kind: fc.constantFrom('command' as const, 'noop' as const, 'config' as const),
    data: fc.uint8Array({ maxLength: 300 }).map((array) => new Uint8Array(array)),
  },
  { noNullPrototype: true },
);
const message: fc.Arbitrary<LinkMessage> = fc.oneof(
  fc.record(
    {
      kind: fc.constant('append-request' as const),
      term: count.map(term),
      prevIndex: count.map(logIndex),
      prevTerm: count.map(term),
      entries: fc.array(entry, { maxLength: 5 }),
      commitIndex: count.map(logIndex),
      round: count,
    },
    { noNullPrototype: true },
  ),
  fc.record(
    {
      kind: fc.constant('append-reply' as const),
      term: count.map(term),
      round: count,
      success: fc.boolean(),
      matchIndex: count.map(logIndex),
      hintIndex: count.map(logIndex),
      hintTerm: count.map(term),
    },
    { noNullPrototype: true },
  ),
  fc.record(
    {
      kind: fc.constant('heartbeat-request' as const),
      term: count.map(term),
      commitIndex: count.map(logIndex),
      round: count,
    },
    { noNullPrototype: true },
  ),
  fc.record(
    { kind: fc.constant('heartbeat-reply' as const), term: count.map(term), round: count },
    { noNullPrototype: true },
  ),
  fc.record({ kind: fc.constant('timeout-now' as const), term: count.map(term) }, { noNullPrototype: true }),
);

describe('frame', () => {
  test('is what the generated code writes, and reads back the same', () => {
    fc.assert(
      fc.property(fc.array(message, { maxLength: 6 }), (messages) => {
        const bytes = encodeFrame(messages);
        const expected = toBinary(
          AppendRequestSchema,
          create(AppendRequestSchema, { messages: messages.map(encodeRaftMessage) }),
        );
        expect(Buffer.from(bytes).equals(expected)).toBe(true);
        expect(decodeFrame(bytes)).toStrictEqual({ messages, reports: [], unknownCount: 0 });
        const read = fromBinary(AppendRequestSchema, bytes).messages.map(decodeRaftMessage);
        expect(read).toStrictEqual(messages);
      }),
      { numRuns: 300 },
    );
  });

  test('carries reports beside the messages', () => {
    const heartbeat: LinkMessage = { kind: 'heartbeat-reply', term: term(1), round: 5 };
    const reports = [reportOf('pg1', 1), reportOf('pg2', 7)];
    const expected = create(ControlRequestSchema, {
      messages: [encodeRaftMessage(heartbeat)],
      reports: reports.map(encodeReport),
    });
    const bytes = encodeFrame([heartbeat], reports);
    expect(Buffer.from(bytes).equals(toBinary(ControlRequestSchema, expected))).toBe(true);
    expect(decodeFrame(bytes)).toStrictEqual({ messages: [heartbeat], reports, unknownCount: 0 });
  });

  test('a message of a later version is counted and passed over, as are fields of one', () => {
    const unknown = Uint8Array.of(0x08, 1, 0xfa, 0x01, 0); // term 1, kind in field 31
    const withUnknownFields = Uint8Array.of(
      ...[0x3a, 5, 0x08, 9, 0x78, 1, 0x08], // heartbeat-reply: round 9, field 15, and so on
      ...[0x78, 3], // field 15, a number
      ...[0x7d, 0, 0, 0, 0], // field 15, four bytes
      ...[0x79, 0, 0, 0, 0, 0, 0, 0, 0], // field 15, eight bytes
    );
    const body = Uint8Array.of(0x3a, 4, 0x08, 9, 0x78, 1, ...withUnknownFields.slice(7));
    const frame = Uint8Array.of(0x0a, unknown.length, ...unknown, 0x0a, body.length, ...body);
    expect(decodeFrame(frame)).toStrictEqual({
      messages: [{ kind: 'heartbeat-reply', term: 0, round: 9 }],
      reports: [],
      unknownCount: 1,
    });
  });

  test('bytes cut off, doubled or changed are damage or another message, and never anything else', () => {
    fc.assert(
      fc.property(
        fc.array(message, { minLength: 1, maxLength: 3 }),
        fc.nat(),
        fc.nat(255),
        (messages, at, value) => {
          const bytes = Uint8Array.from(encodeFrame(messages));
          const place = at % bytes.length;
          for (const damaged of [
            bytes.slice(0, place),
            bytes.with(place, value),
            Uint8Array.of(...bytes, value),
          ]) {
            try {
              decodeFrame(damaged);
            } catch (error) {
              expect(error).toBeInstanceOf(DamagedMessage);
            }
          }
        },
      ),
      { numRuns: 500 },
    );
  });

  test('numbers beyond 2^53, entries of no kind and hosts of tiny messages are damage', () => {
    const huge = toBinary(
      RaftMessageSchema,
      create(RaftMessageSchema, {
        term: 2n ** 60n,
        kind: { case: 'heartbeatReply', value: {} },
      }),
    );
    expect(() => decodeFrame(Uint8Array.of(0x0a, huge.length, ...huge))).toThrow(DamagedMessage);
    const bare = toBinary(
      AppendRequestSchema,
      create(AppendRequestSchema, {
        messages: [{ kind: { case: 'appendRequest', value: { entries: [{ index: 1n, term: 1n }] } } }],
      }),
    );
    expect(() => decodeFrame(bare)).toThrow(/entry 1 is of a kind not known here/);
    expect(() => decodeFrame(new Uint8Array(40_000).map((_, at) => (at % 2 === 0 ? 0x0a : 0)))).toThrow(
      /holds more than/,
    );
  });
});

test('the size of a number is worked out as it is written', () => {
  for (const value of [
    0,
    1,
    127,
    128,
    16_383,
    16_384,
    2 ** 28 - 1,
    2 ** 28,
    2 ** 32,
    2 ** 35 - 1,
    2 ** 35,
    2 ** 49,
  ])
    expect(varintBytes(value)).toBe(value === 0 ? 1 : Math.ceil((Math.floor(Math.log2(value)) + 1) / 7));
});

test('a reader takes no length on trust', () => {
  expect(() => new FrameReader(Uint8Array.of(0x0a, 200, 1)).next()).toThrow(/beyond the end/);
  expect(() => new FrameReader(Uint8Array.of(0x08)).next()).toThrow(/beyond the end/);
  expect(() => new FrameReader(new Uint8Array(12).fill(255)).next()).toThrow(/more than ten bytes/);
  expect(() => new FrameReader(Uint8Array.of(0x0b)).next()).toThrow(/unknown wire type 3/);
});
