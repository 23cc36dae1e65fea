// The data of log entries: commands and memberships to bytes and back (proto/pg_sentinel/v1/log.proto, which states the
// rules for changing the format). Pure. Must never turn bytes it does not fully understand into a command: a peer that
// guessed would apply something else than the others.
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { peerId } from '../base/ids.ts';
import * as pb from '../gen/pg_sentinel/v1/log_pb.ts';
import type { Membership, MembershipCodec } from '../raft/types.ts';
import { decodeCommand, encodeCommand } from './command-codec.ts';
import type { Envelope } from './commands.ts';
import { reading } from './log-format.ts';

export function encodeEnvelope(envelope: Envelope): Uint8Array {
  return toBinary(pb.EnvelopeSchema, envelopeMessage(envelope));
}

export function envelopeMessage(envelope: Envelope): pb.Envelope {
  return create(pb.EnvelopeSchema, {
    session: envelope.session,
    sequence: BigInt(envelope.sequence),
    answeredBelow: BigInt(envelope.answeredBelow),
    proposedAtMs: BigInt(Math.trunc(envelope.proposedAtMs)),
    command: encodeCommand(envelope.command),
  });
}

/** Throws {@link LogFormatError} for damaged data and for a command this version does not know. */
export function decodeEnvelope(data: Uint8Array): Envelope {
  return reading('a command from the log', () => {
    const envelope = fromBinary(pb.EnvelopeSchema, data);
    return {
      session: envelope.session,
      sequence: count(envelope.sequence),
      answeredBelow: count(envelope.answeredBelow),
      proposedAtMs: Number(envelope.proposedAtMs),
      command: decodeCommand(envelope),
    };
  });
}

export function encodeMembership(membership: Membership): Uint8Array {
  return toBinary(pb.MembershipSchema, membershipMessage(membership));
}

export function membershipMessage(membership: Membership): pb.Membership {
  const addresses = [...membership.addresses].sort(([a], [b]) => (a < b ? -1 : 1));
  return create(pb.MembershipSchema, {
    voters: [...membership.voters],
    learners: [...membership.learners],
    addresses: Object.fromEntries(addresses),
    incarnation: BigInt(membership.incarnation),
    joining: membership.incarnation === 0,
  });
}

/** Throws {@link LogFormatError} for damaged data. */
export function decodeMembership(data: Uint8Array): Membership {
  return reading('a membership from the log', () => membershipOf(fromBinary(pb.MembershipSchema, data)));
}

export function membershipOf(message: pb.Membership): Membership {
  const addresses = Object.entries(message.addresses).sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    voters: message.voters.map(peerId),
    learners: message.learners.map(peerId),
    addresses: new Map(addresses.map(([peer, address]) => [peerId(peer), address])),
    // Entries of the first format know of no recovery.
    incarnation: message.joining ? 0 : Math.max(1, count(message.incarnation)),
  };
}

export const membershipCodec: MembershipCodec = { encode: encodeMembership, decode: decodeMembership };

function count(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new RangeError(`${value} is beyond 2^53`);
  return Number(value);
}
