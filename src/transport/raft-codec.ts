// Raft messages to their wire form and back (proto/pg_sentinel/v1/raft.proto). Must never let a message through that it
// does not fully understand: an unknown kind is `undefined`, damaged fields throw.
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { InvariantError, unreachable } from '../base/assert.ts';
import { logIndex, term } from '../base/ids.ts';
import * as pb from '../gen/pg_sentinel/v1/raft_pb.ts';
import type { Entry, RaftMessage, RefusalReason } from '../raft/types.ts';

/** What travels as one message. A snapshot goes in chunks instead: see snapshot-codec.ts. */
export type LinkMessage = Exclude<RaftMessage, { readonly kind: 'snapshot-request' }>;

type KindInit = NonNullable<MessageInitShape<typeof pb.RaftMessageSchema>['kind']>;

/** Which link a message travels on: large and ordered ones never stand before a heartbeat or a vote. */
export const CHANNEL_OF: Record<LinkMessage['kind'], 'append' | 'control'> = {
  'vote-request': 'control',
  'vote-reply': 'control',
  'append-request': 'append',
  'append-reply': 'append',
  'heartbeat-request': 'control',
  'heartbeat-reply': 'control',
  propose: 'append',
  'propose-refused': 'append',
  'read-request': 'append',
  'read-reply': 'append',
  'timeout-now': 'control',
};

/** About as many bytes as the encoded message has, and never fewer. */
export function sizeBoundBytes(message: LinkMessage): number {
  switch (message.kind) {
    case 'append-request':
      return message.entries.reduce((sum, entry) => sum + entry.data.length + 48, 96);
    case 'propose':
      return message.data.length + message.proposalId.length * 3 + 64;
    case 'propose-refused':
      return message.proposalId.length * 3 + 96;
    case 'read-request':
    case 'read-reply':
      return message.readId.length * 3 + 64;
    default:
      return 96;
  }
}

export function encodeRaftMessage(message: LinkMessage): pb.RaftMessage {
  return create(pb.RaftMessageSchema, { term: BigInt(message.term), kind: encodeKind(message) });
}

/** `undefined` for a kind of message that this version does not know. Throws {@link InvariantError} where a field is damaged. */
export function decodeRaftMessage(message: pb.RaftMessage): LinkMessage | undefined {
  const common = { term: term(Number(message.term)) };
  const { case: kind, value } = message.kind;
  switch (kind) {
    case 'voteRequest':
      return {
        ...common,
        kind: 'vote-request',
        preVote: value.preVote,
        lastIndex: logIndex(Number(value.lastIndex)),
        lastTerm: term(Number(value.lastTerm)),
        transfer: value.transfer,
      };
    case 'voteReply':
      return { ...common, kind: 'vote-reply', preVote: value.preVote, granted: value.granted };
    case 'appendRequest':
      return {
        ...common,
        kind: 'append-request',
        prevIndex: logIndex(Number(value.prevIndex)),
        prevTerm: term(Number(value.prevTerm)),
        entries: value.entries.map(decodeEntry),
        commitIndex: logIndex(Number(value.commitIndex)),
        round: Number(value.round),
      };
    case 'appendReply':
      return {
        ...common,
        kind: 'append-reply',
        round: Number(value.round),
        success: value.success,
        matchIndex: logIndex(Number(value.matchIndex)),
        hintIndex: logIndex(Number(value.hintIndex)),
        hintTerm: term(Number(value.hintTerm)),
      };
    case 'heartbeatRequest': {
      const commitIndex = logIndex(Number(value.commitIndex));
      return { ...common, kind: 'heartbeat-request', commitIndex, round: Number(value.round) };
    }
    case 'heartbeatReply':
      return { ...common, kind: 'heartbeat-reply', round: Number(value.round) };
    case 'propose':
      return { ...common, kind: 'propose', proposalId: value.proposalId, data: ownBytes(value.data) };
    case 'proposeRefused': {
      const reason = decodeReason(value.reason);
      return { ...common, kind: 'propose-refused', proposalId: value.proposalId, reason };
    }
    case 'readRequest':
      return { ...common, kind: 'read-request', readId: value.readId };
    case 'readReply': {
      const index = value.index === undefined ? undefined : logIndex(Number(value.index));
      return { ...common, kind: 'read-reply', readId: value.readId, index };
    }
    case 'timeoutNow':
      return { ...common, kind: 'timeout-now' };
    case undefined:
      return undefined;
    default:
      return unreachable(kind);
  }
}

function encodeKind(message: LinkMessage): KindInit {
  switch (message.kind) {
    case 'vote-request':
      return {
        case: 'voteRequest',
        value: {
          preVote: message.preVote,
          lastIndex: BigInt(message.lastIndex),
          lastTerm: BigInt(message.lastTerm),
          transfer: message.transfer,
        },
      };
    case 'vote-reply':
      return { case: 'voteReply', value: { preVote: message.preVote, granted: message.granted } };
    case 'append-request':
      return {
        case: 'appendRequest',
        value: {
          prevIndex: BigInt(message.prevIndex),
          prevTerm: BigInt(message.prevTerm),
          entries: message.entries.map(encodeEntry),
          commitIndex: BigInt(message.commitIndex),
          round: BigInt(message.round),
        },
      };
    case 'append-reply':
      return {
        case: 'appendReply',
        value: {
          round: BigInt(message.round),
          success: message.success,
          matchIndex: BigInt(message.matchIndex),
          hintIndex: BigInt(message.hintIndex),
          hintTerm: BigInt(message.hintTerm),
        },
      };
    case 'heartbeat-request': {
      const value = { commitIndex: BigInt(message.commitIndex), round: BigInt(message.round) };
      return { case: 'heartbeatRequest', value };
    }
    case 'heartbeat-reply':
      return { case: 'heartbeatReply', value: { round: BigInt(message.round) } };
    case 'propose':
      return { case: 'propose', value: { proposalId: message.proposalId, data: message.data } };
    case 'propose-refused':
      return { case: 'proposeRefused', value: { proposalId: message.proposalId, reason: message.reason } };
    case 'read-request':
      return { case: 'readRequest', value: { readId: message.readId } };
    case 'read-reply': {
      const index = message.index === undefined ? undefined : BigInt(message.index);
      return { case: 'readReply', value: { readId: message.readId, index } };
    }
    case 'timeout-now':
      return { case: 'timeoutNow', value: {} };
    default:
      return unreachable(message);
  }
}

function encodeEntry(entry: Entry): pb.Entry {
  const { kind, data } = entry;
  return create(pb.EntrySchema, {
    index: BigInt(entry.index),
    term: BigInt(entry.term),
    kind: { case: kind, value: data },
  });
}

function decodeEntry(entry: pb.Entry): Entry {
  const { case: kind, value } = entry.kind;
  // Unlike an unknown message, an entry cannot be left out: the log would have a hole.
  if (kind === undefined) throw new InvariantError(`entry ${entry.index} is of a kind not known here`);
  return {
    index: logIndex(Number(entry.index)),
    term: term(Number(entry.term)),
    kind,
    data: ownBytes(value),
  };
}

const REASONS: Record<RefusalReason, true> = {
  'no-leader': true,
  'not-leader': true,
  'queue-full': true,
  transferring: true,
  'too-large': true,
  stopped: true,
};

/** A reason of a later version is still a refusal. */
function decodeReason(text: string): RefusalReason {
  return Object.hasOwn(REASONS, text) ? (text as RefusalReason) : 'not-leader';
}

/** A copy: an entry kept for long must not hold the whole received frame in memory. */
function ownBytes(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes);
}
