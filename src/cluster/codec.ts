// The data of log entries: commands and memberships to bytes and back (proto/pg_sentinel/v1/log.proto, which states the
// rules for changing the format). Pure. Must never turn bytes it does not fully understand into a command: a peer that
// guessed would apply something else than the others.
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { unreachable } from '../base/assert.ts';
import { epoch, groupId, logIndex, memberId, nodeId, peerId, timeline } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import * as pb from '../gen/pg_sentinel/v1/log_pb.ts';
import type { Membership } from '../raft/types.ts';
import type { Command, Envelope, Evidence, FailoverCause, SyncRule } from './commands.ts';

type CommandInit = NonNullable<MessageInitShape<typeof pb.EnvelopeSchema>['command']>;
type CauseInit = NonNullable<MessageInitShape<typeof pb.BeginFailoverSchema>['cause']>;

/** The data of a log entry cannot be read here; says why and what to do. */
export class LogFormatError extends Error {
  override readonly name = 'LogFormatError';
}

export function encodeEnvelope(envelope: Envelope): Uint8Array {
  return toBinary(
    pb.EnvelopeSchema,
    create(pb.EnvelopeSchema, {
      proposalId: envelope.proposalId,
      proposedAtMs: BigInt(Math.trunc(envelope.proposedAtMs)),
      command: encodeCommand(envelope.command),
    }),
  );
}

/** Throws {@link LogFormatError} for damaged data and for a command this version does not know. */
export function decodeEnvelope(data: Uint8Array): Envelope {
  return reading('command', () => {
    const envelope = fromBinary(pb.EnvelopeSchema, data);
    return {
      proposalId: envelope.proposalId,
      proposedAtMs: Number(envelope.proposedAtMs),
      command: decodeCommand(envelope),
    };
  });
}

export function encodeMembership(membership: Membership): Uint8Array {
  return toBinary(
    pb.MembershipSchema,
    create(pb.MembershipSchema, {
      voters: [...membership.voters],
      learners: [...membership.learners],
    }),
  );
}

/** Throws {@link LogFormatError} for damaged data. */
export function decodeMembership(data: Uint8Array): Membership {
  return reading('membership', () => {
    const membership = fromBinary(pb.MembershipSchema, data);
    return { voters: membership.voters.map(peerId), learners: membership.learners.map(peerId) };
  });
}

function encodeCommand(command: Command): CommandInit {
  switch (command.kind) {
    case 'register-node': {
      const { kind: _, ...value } = command;
      return { case: 'registerNode', value };
    }
    case 'create-group':
      return { case: 'createGroup', value: { group: command.group, primary: command.primary } };
    case 'group-ready': {
      const { kind: _, ...value } = command;
      return { case: 'groupReady', value: { ...value, epoch: BigInt(command.epoch) } };
    }
    case 'subjective-down': {
      const { peer, node, evidence } = command;
      return { case: 'subjectiveDown', value: { peer, node, evidence, epoch: BigInt(command.epoch) } };
    }
    case 'subjective-up':
      return {
        case: 'subjectiveUp',
        value: { peer: command.peer, node: command.node, epoch: BigInt(command.epoch) },
      };
    case 'begin-failover':
      return {
        case: 'beginFailover',
        value: { group: command.group, epoch: BigInt(command.epoch), cause: encodeCause(command.cause) },
      };
    case 'cut-report': {
      const { kind: _, ...value } = command;
      return { case: 'cutReport', value: { ...value, epoch: BigInt(command.epoch) } };
    }
    case 'promote': {
      const { kind: _, ...value } = command;
      return {
        case: 'promote',
        value: { ...value, epoch: BigInt(command.epoch), rule: encodeRule(command.rule) },
      };
    }
    case 'promoted': {
      const { kind: _, ...value } = command;
      return { case: 'promoted', value: { ...value, epoch: BigInt(command.epoch) } };
    }
    case 'promotion-failed': {
      const { kind: _, ...value } = command;
      return { case: 'promotionFailed', value: { ...value, epoch: BigInt(command.epoch) } };
    }
    case 'resume':
      return { case: 'resume', value: { group: command.group, epoch: BigInt(command.epoch) } };
    case 'begin-rule-change':
      return {
        case: 'beginRuleChange',
        value: { group: command.group, epoch: BigInt(command.epoch), next: encodeRule(command.next) },
      };
    case 'commit-rule':
      return {
        case: 'commitRule',
        value: { group: command.group, epoch: BigInt(command.epoch), change: BigInt(command.change) },
      };
    case 'floor-passed':
      return { case: 'floorPassed', value: { group: command.group, epoch: BigInt(command.epoch) } };
    default:
      return unreachable(command);
  }
}

function decodeCommand(envelope: pb.Envelope): Command {
  const { case: kind, value } = envelope.command;
  switch (kind) {
    case 'registerNode':
      return {
        kind: 'register-node',
        node: nodeId(value.node),
        group: groupId(value.group),
        peer: peerId(value.peer),
        host: value.host,
        port: value.port,
        member: value.member === undefined ? undefined : memberId(value.member),
        systemIdentifier: value.systemIdentifier,
        priority: value.priority,
      };
    case 'createGroup':
      return { kind: 'create-group', group: groupId(value.group), primary: nodeId(value.primary) };
    case 'groupReady':
      return {
        kind: 'group-ready',
        ...decodeScope(value),
        member: memberId(value.member),
        systemIdentifier: value.systemIdentifier,
        timeline: timeline(value.timeline),
      };
    case 'subjectiveDown':
      return {
        kind: 'subjective-down',
        peer: peerId(value.peer),
        node: nodeId(value.node),
        epoch: epoch(Number(value.epoch)),
        evidence: decodeEvidence(value.evidence),
      };
    case 'subjectiveUp':
      return {
        kind: 'subjective-up',
        peer: peerId(value.peer),
        node: nodeId(value.node),
        epoch: epoch(Number(value.epoch)),
      };
    case 'beginFailover':
      return { kind: 'begin-failover', ...decodeScope(value), cause: decodeCause(value) };
    case 'cutReport':
      return {
        kind: 'cut-report',
        ...decodeScope(value),
        node: nodeId(value.node),
        member: memberId(value.member),
        timeline: timeline(value.timeline),
        position: lsn(value.position),
        stopped: value.stopped,
      };
    case 'promote':
      return {
        kind: 'promote',
        ...decodeScope(value),
        candidate: nodeId(value.candidate),
        timeline: timeline(value.timeline),
        rule: decodeRule('promote', value.rule),
      };
    case 'promoted':
      return {
        kind: 'promoted',
        ...decodeScope(value),
        node: nodeId(value.node),
        timeline: timeline(value.timeline),
        switchLsn: lsn(value.switchLsn),
      };
    case 'promotionFailed':
      return {
        kind: 'promotion-failed',
        ...decodeScope(value),
        node: nodeId(value.node),
        reason: value.reason,
      };
    case 'resume':
      return { kind: 'resume', ...decodeScope(value) };
    case 'beginRuleChange':
      return {
        kind: 'begin-rule-change',
        ...decodeScope(value),
        next: decodeRule('begin-rule-change', value.next),
      };
    case 'commitRule':
      return { kind: 'commit-rule', ...decodeScope(value), change: logIndex(Number(value.change)) };
    case 'floorPassed':
      return { kind: 'floor-passed', ...decodeScope(value) };
    case undefined:
      throw unknownPart('command', envelope);
    default:
      return unreachable(kind);
  }
}

function encodeCause(cause: FailoverCause): CauseInit {
  switch (cause.kind) {
    case 'down':
      return { case: 'down', value: {} };
    case 'planned':
      return { case: 'planned', value: { to: cause.to } };
    case 'promotion-failed':
      return { case: 'promotionFailed', value: {} };
    default:
      return unreachable(cause);
  }
}

function decodeCause(message: pb.BeginFailover): FailoverCause {
  const { case: kind, value } = message.cause;
  switch (kind) {
    case 'down':
      return { kind: 'down' };
    case 'planned':
      return { kind: 'planned', to: value.to === undefined ? undefined : nodeId(value.to) };
    case 'promotionFailed':
      return { kind: 'promotion-failed' };
    case undefined:
      throw unknownPart('cause of a failover', message);
    default:
      return unreachable(kind);
  }
}

const EVIDENCE: Record<Evidence, true> = {
  'processes-gone': true,
  refused: true,
  'no-answer': true,
  'write-failing': true,
  'in-recovery': true,
};

function decodeEvidence(text: string): Evidence {
  if (Object.hasOwn(EVIDENCE, text)) return text as Evidence;
  throw new LogFormatError(`evidence "${text}" is not known here: ${NEWER}`);
}

function encodeRule(rule: SyncRule): { members: string[]; acks: number } {
  return { members: [...rule.members], acks: rule.acks };
}

function decodeRule(of: string, rule: pb.SyncRule | undefined): SyncRule {
  if (rule === undefined) throw new LogFormatError(`"${of}" carries no rule: ${DAMAGED}`);
  return { members: rule.members.map(memberId), acks: rule.acks };
}

/** What nearly every command names: its group and the epoch it was made for. */
function decodeScope(value: { readonly group: string; readonly epoch: bigint }) {
  return { group: groupId(value.group), epoch: epoch(Number(value.epoch)) };
}

const NEWER = 'it was written by a newer version of pg-sentinel; upgrade this peer';
const DAMAGED = 'the entry is damaged; rejoin this peer with an empty data directory';

/** A oneof without a case: either a field number of a later version, or nothing at all. */
function unknownPart(
  what: string,
  message: { readonly $unknown?: readonly { readonly no: number }[] | undefined },
): LogFormatError {
  const fields = message.$unknown?.map((field) => field.no) ?? [];
  return fields.length > 0
    ? new LogFormatError(`${what} with field number ${fields.join(', ')} is not known here: ${NEWER}`)
    : new LogFormatError(`there is no ${what}: ${DAMAGED}`);
}

/** Runs `read`; whatever the bytes or the checking constructors object to becomes one kind of error. */
function reading<T>(what: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    const detail = error instanceof LogFormatError ? error.message : `${String(error)}: ${DAMAGED}`;
    throw new LogFormatError(`cannot read a ${what} from the log: ${detail}`, { cause: error });
  }
}
