// The log format: what is not understood is refused, and memberships come back as they went in (commands: codec-commands.test.ts). The bytes
// of one entry are pinned, so that a change of the format that breaks old logs cannot pass unnoticed.
import { create, toBinary } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { epoch, groupId, memberId, nodeId, peerId, timeline } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import { EnvelopeSchema } from '../gen/pg_sentinel/v1/log_pb.ts';
import { decodeEnvelope, decodeMembership, encodeEnvelope, encodeMembership } from './codec.ts';
import type { Envelope } from './commands.ts';
import { LogFormatError } from './log-format.ts';

const sample: Envelope = {
  session: 'a-17-0f',
  sequence: 3,
  answeredBelow: 2,
  proposedAtMs: 1_700_000_000_000,
  command: {
    kind: 'cut-report',
    group: groupId('main'),
    epoch: epoch(41),
    node: nodeId('pg-2'),
    member: memberId('pg_2_0a1b2c3d'),
    timeline: timeline(7),
    position: lsn(0x16_b374d848n),
    stopped: false,
  },
};

describe('envelope', () => {
  test('the bytes of an entry can still be read', () => {
    const written =
      '1080d095ffbc311a07612d31372d3066200328028201280a046d61696e10291a0470672d32220d70675f32' +
      '5f306131623263336428073148d874b316000000';
    expect(decodeEnvelope(Buffer.from(written, 'hex'))).toStrictEqual(sample);
    expect(Buffer.from(encodeEnvelope(sample)).toString('hex')).toBe(written);
  });

  test('an entry from before there were sessions can still be read: it belongs to none', () => {
    const written =
      '0a06612f31372f331080d095ffbc318201280a046d61696e10291a0470672d32220d70675f325f306131623263' +
      '336428073148d874b316000000';
    expect(decodeEnvelope(Buffer.from(written, 'hex'))).toStrictEqual({
      ...sample,
      session: '',
      sequence: 0,
      answeredBelow: 0,
    });
  });

  test('a command of a later version is refused and says so', () => {
    const writer = new BinaryWriter().tag(3, WireType.LengthDelimited).string('a-1');
    const later = writer
      .tag(900, WireType.LengthDelimited)
      .bytes(new Uint8Array([8, 1]))
      .finish();
    expect(() => decodeEnvelope(later)).toThrow(LogFormatError);
    expect(() => decodeEnvelope(later)).toThrow(
      /command with field number 900 is not known here.*newer version/,
    );
  });

  test('a word of a later version is refused and says so', () => {
    const down = { peer: 'a', node: 'pg1', epoch: 3n, evidence: 'struck-by-lightning' };
    const later = create(EnvelopeSchema, { command: { case: 'subjectiveDown', value: down } });
    expect(() => decodeEnvelope(toBinary(EnvelopeSchema, later))).toThrow(
      /struck-by-lightning.*newer version/,
    );
  });

  test('no command, a missing rule and a name that is none are damage', () => {
    const promote = { group: 'main', epoch: 3n, candidate: 'pg1', timeline: 2 };
    const noRule = create(EnvelopeSchema, { command: { case: 'promote', value: promote } });
    const noName = create(EnvelopeSchema, { command: { case: 'createGroup', value: { group: 'Ü' } } });
    expect(() => decodeEnvelope(new Uint8Array())).toThrow(/no command.*damaged/);
    expect(() => decodeEnvelope(toBinary(EnvelopeSchema, noRule))).toThrow(/carries no rule.*damaged/);
    expect(() => decodeEnvelope(toBinary(EnvelopeSchema, noName))).toThrow(/not a name.*damaged/);
  });

  test('arbitrary bytes are read or refused, and never crash otherwise', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          decodeEnvelope(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(LogFormatError);
        }
      }),
    );
  });
});

describe('membership', () => {
  test('comes back as it went in', () => {
    const peer = fc.stringMatching(/^[a-z][a-z0-9_-]{0,30}$/).map(peerId);
    const address = fc.string({ unit: 'grapheme' });
    const memberships = fc.record({
      voters: fc.array(peer),
      learners: fc.array(peer),
      addresses: fc.array(fc.tuple(peer, address)).map((addresses) => new Map(addresses)),
      incarnation: fc.maxSafeNat(),
    });
    fc.assert(
      fc.property(memberships, (membership) => {
        expect(decodeMembership(encodeMembership(membership))).toEqual(membership);
      }),
    );
  });

  test('the order in which addresses became known changes nothing', () => {
    const addresses = [
      [peerId('b'), 'host:2'],
      [peerId('a'), 'host:1'],
    ] as const;
    const [one, other] = [addresses, addresses.toReversed()].map((order) =>
      encodeMembership({ voters: [], learners: [], addresses: new Map(order), incarnation: 1 }),
    );
    expect(one).toEqual(other);
    expect([...decodeMembership(one ?? new Uint8Array()).addresses.keys()]).toEqual(['a', 'b']);
  });

  test('of the first format has no addresses and is of the first incarnation', () => {
    const written = new BinaryWriter().tag(1, WireType.LengthDelimited).string('a').finish();
    expect(decodeMembership(written)).toEqual({
      voters: ['a'],
      learners: [],
      addresses: new Map(),
      incarnation: 1,
    });
  });

  test('damaged data is refused', () => {
    expect(() => decodeMembership(new Uint8Array([0xff]))).toThrow(LogFormatError);
  });
});
