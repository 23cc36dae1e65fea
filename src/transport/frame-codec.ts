// Frames of the append and control links (AppendRequest and ControlRequest of raft.proto) to bytes and back. Heartbeats and
// appends are written and read by hand, several times faster than by reflection; all else goes through the generated code.
// Must stay byte for byte what the generated code makes, and never read beyond the end of what was received.
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { logIndex, term } from '../base/ids.ts';
import type { AgentReport } from '../cluster/report.ts';
import { RaftMessageSchema } from '../gen/pg_sentinel/v1/raft_pb.ts';
import { AgentReportSchema } from '../gen/pg_sentinel/v1/report_pb.ts';
import type { Entry } from '../raft/types.ts';
import { checked, checkedForeign, DamagedMessage } from './damaged.ts';
import { decodeRaftMessage, encodeRaftMessage, type LinkMessage } from './raft-codec.ts';
import { decodeReport, encodeReport } from './report-codec.ts';
import { FrameReader, FrameWriter, varintBytes } from './wire.ts';

export interface Frame {
  readonly messages: readonly LinkMessage[];
  readonly reports: readonly AgentReport[];
  /** Messages of a kind that this version does not know. */
  readonly unknownCount: number;
}

/** A frame without content: "still here". */
export const EMPTY_FRAME: Uint8Array = Buffer.alloc(0);

const NOTHING: Frame = { messages: [], reports: [], unknownCount: 0 };

/** A frame holds more of neither; ours hold far fewer messages. */
const MESSAGES_MAX = 10_000;
export const REPORTS_MAX = 100;

/** `reports` only on the control link. */
export function encodeFrame(
  messages: readonly LinkMessage[],
  reports: readonly AgentReport[] = [],
): Uint8Array {
  const plans = messages.map(planOf);
  const encodedReports = reports.map((report) => toBinary(AgentReportSchema, encodeReport(report)));
  let size = 0;
  for (const plan of plans) size += fieldBytes(plan.kind === 'generated' ? plan.bytes.length : plan.size);
  for (const report of encodedReports) size += fieldBytes(report.length);
  const writer = new FrameWriter(size);
  for (const plan of plans) writePlan(writer, plan);
  for (const report of encodedReports) writer.bytesField(2, report);
  return writer.finish();
}

/** Throws {@link DamagedMessage}. */
export function decodeFrame(bytes: Uint8Array): Frame {
  if (bytes.length === 0) return NOTHING;
  const reader = new FrameReader(bytes);
  const messages: LinkMessage[] = [];
  const reports: AgentReport[] = [];
  let unknownCount = 0;
  while (!reader.isAtEnd) {
    const { field, value } = reader.next();
    if (field === 1 && value instanceof Uint8Array) {
      const message = decodeMessage(value);
      if (message === undefined) unknownCount += 1;
      else messages.push(message);
    } else if (field === 2 && value instanceof Uint8Array) {
      const report = checkedForeign('a report', () => fromBinary(AgentReportSchema, value));
      reports.push(checked(() => decodeReport(report)));
    }
    if (messages.length + unknownCount > MESSAGES_MAX || reports.length > REPORTS_MAX)
      throw new DamagedMessage(`a frame holds more than ${MESSAGES_MAX} messages or ${REPORTS_MAX} reports`);
  }
  return { messages, reports, unknownCount };
}

/** Numbers of the fields of the frequent kinds within RaftMessage.kind. */
const APPEND_REQUEST = 4;
const APPEND_REPLY = 5;
const HEARTBEAT_REQUEST = 6;
const HEARTBEAT_REPLY = 7;
const ENTRIES = 3;
const ENTRY_KINDS: Record<Entry['kind'], number> = { command: 3, noop: 4, config: 5 };
const ENTRY_KIND_OF: readonly (Entry['kind'] | undefined)[] = [
  undefined,
  undefined,
  undefined,
  'command',
  'noop',
  'config',
];

/** How a message is going to be written: `values[i]` is the number in field i + 1, 0 where it is left out. */
type Plan =
  | { readonly kind: 'generated'; readonly bytes: Uint8Array }
  | {
      readonly kind: 'numbers';
      readonly term: number;
      readonly field: number;
      readonly values: readonly number[];
      readonly entries: readonly Entry[];
      readonly bodySize: number;
      readonly size: number;
    };

function planOf(message: LinkMessage): Plan {
  switch (message.kind) {
    case 'heartbeat-request':
      return numbers(message.term, HEARTBEAT_REQUEST, [message.commitIndex, message.round]);
    case 'heartbeat-reply':
      return numbers(message.term, HEARTBEAT_REPLY, [message.round]);
    case 'append-reply': {
      const { round, success, matchIndex, hintIndex, hintTerm } = message;
      return numbers(message.term, APPEND_REPLY, [round, Number(success), matchIndex, hintIndex, hintTerm]);
    }
    case 'append-request': {
      const { prevIndex, prevTerm, commitIndex, round, entries } = message;
      return numbers(message.term, APPEND_REQUEST, [prevIndex, prevTerm, 0, commitIndex, round], entries);
    }
    default:
      return { kind: 'generated', bytes: toBinary(RaftMessageSchema, encodeRaftMessage(message)) };
  }
}

function numbers(
  ownTerm: number,
  field: number,
  values: readonly number[],
  entries: readonly Entry[] = [],
): Plan {
  let bodySize = 0;
  for (const value of values) bodySize += numberBytes(value);
  for (const entry of entries) bodySize += fieldBytes(entryBytes(entry));
  const size = numberBytes(ownTerm) + fieldBytes(bodySize);
  return { kind: 'numbers', term: ownTerm, field, values, entries, bodySize, size };
}

function writePlan(writer: FrameWriter, plan: Plan): void {
  if (plan.kind === 'generated') {
    writer.bytesField(1, plan.bytes);
    return;
  }
  writer.openField(1, plan.size);
  writer.numberField(1, plan.term);
  writer.openField(plan.field, plan.bodySize);
  for (const [at, value] of plan.values.entries()) {
    if (at + 1 === ENTRIES) for (const entry of plan.entries) writeEntry(writer, entry);
    writer.numberField(at + 1, value);
  }
}

function writeEntry(writer: FrameWriter, entry: Entry): void {
  writer.openField(ENTRIES, entryBytes(entry));
  writer.numberField(1, entry.index);
  writer.numberField(2, entry.term);
  writer.bytesField(ENTRY_KINDS[entry.kind], entry.data);
}

function entryBytes(entry: Entry): number {
  return numberBytes(entry.index) + numberBytes(entry.term) + fieldBytes(entry.data.length);
}

/** Of a number in a field below 16; nothing where it is 0. */
function numberBytes(value: number): number {
  return value === 0 ? 0 : 1 + varintBytes(value);
}

/** Of a length-delimited field below 16. */
function fieldBytes(length: number): number {
  return 1 + varintBytes(length) + length;
}

function decodeMessage(bytes: Uint8Array): LinkMessage | undefined {
  const reader = new FrameReader(bytes);
  let ownTerm = 0;
  let kind = 0;
  let body: Uint8Array | undefined;
  while (!reader.isAtEnd) {
    const { field, value } = reader.next();
    if (field === 1 && typeof value === 'number') ownTerm = value;
    else if (value instanceof Uint8Array) {
      kind = field;
      body = value;
    }
  }
  if (body === undefined || kind < APPEND_REQUEST || kind > HEARTBEAT_REPLY) {
    const message = checkedForeign('a message', () => fromBinary(RaftMessageSchema, bytes));
    return checked(() => decodeRaftMessage(message));
  }
  return decodeNumbers(kind, ownTerm, body);
}

function decodeNumbers(kind: number, ownTerm: number, body: Uint8Array): LinkMessage {
  const reader = new FrameReader(body);
  const values = [0, 0, 0, 0, 0];
  const entries: Entry[] = [];
  while (!reader.isAtEnd) {
    const { field, value } = reader.next();
    if (typeof value === 'number') {
      if (field >= 1 && field <= values.length) values[field - 1] = value;
    } else if (kind === APPEND_REQUEST && field === ENTRIES && value instanceof Uint8Array) {
      entries.push(decodeEntry(value));
    }
  }
  const [first = 0, second = 0, third = 0, fourth = 0, fifth = 0] = values;
  return checked((): LinkMessage => {
    const common = { term: term(ownTerm) };
    switch (kind) {
      case APPEND_REQUEST:
        return {
          ...common,
          kind: 'append-request',
          prevIndex: logIndex(first),
          prevTerm: term(second),
          entries,
          commitIndex: logIndex(fourth),
          round: fifth,
        };
      case APPEND_REPLY:
        return {
          ...common,
          kind: 'append-reply',
          round: first,
          success: second !== 0,
          matchIndex: logIndex(third),
          hintIndex: logIndex(fourth),
          hintTerm: term(fifth),
        };
      case HEARTBEAT_REQUEST:
        return { ...common, kind: 'heartbeat-request', commitIndex: logIndex(first), round: second };
      default:
        return { ...common, kind: 'heartbeat-reply', round: first };
    }
  });
}

function decodeEntry(bytes: Uint8Array): Entry {
  const reader = new FrameReader(bytes);
  let index = 0;
  let ownTerm = 0;
  let kind: Entry['kind'] | undefined;
  let data: Uint8Array | undefined;
  while (!reader.isAtEnd) {
    const { field, value } = reader.next();
    if (field === 1 && typeof value === 'number') index = value;
    else if (field === 2 && typeof value === 'number') ownTerm = value;
    else if (value instanceof Uint8Array && ENTRY_KIND_OF[field] !== undefined) {
      kind = ENTRY_KIND_OF[field];
      data = value;
    }
  }
  // Unlike an unknown message, an entry cannot be left out: the log would have a hole.
  if (kind === undefined || data === undefined)
    throw new DamagedMessage(`entry ${index} is of a kind not known here`);
  // A copy: an entry kept for long must not hold the whole received frame in memory.
  const own = new Uint8Array(data);
  return checked(() => ({ index: logIndex(index), term: term(ownTerm), kind, data: own }));
}
