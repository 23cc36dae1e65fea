// Branded names and numbers, one checking constructor each, so that a term is never passed for an index.
// Source of the words: Raft §5 (term, index), docs/ and ARCHITECTURE.md (epoch, member).
import { InvariantError } from './assert.ts';

declare const brand: unique symbol;
export type Brand<T, Name extends string> = T & { readonly [brand]: Name };

/** A `sentineld` that is a member of the Raft cluster. */
export type PeerId = Brand<string, 'PeerId'>;
/** One PostgreSQL instance. */
export type NodeId = Brand<string, 'NodeId'>;
/** One primary and its standbys. */
export type GroupId = Brand<string, 'GroupId'>;
/** A node together with the id of its present data directory: what the sync rule counts. Also `application_name` and slot name. */
export type MemberId = Brand<string, 'MemberId'>;
export type Term = Brand<number, 'Term'>;
/** Index in the Raft log; the first entry has index 1; 0 means "before the log". */
export type LogIndex = Brand<number, 'LogIndex'>;
/** Commit index of the group's latest `BeginFailover` (or of its creation): its fencing token. */
export type Epoch = Brand<number, 'Epoch'>;
/** PostgreSQL timeline, 1 to 2^32 - 1. */
export type Timeline = Brand<number, 'Timeline'>;

const NAME = /^[a-z][a-z0-9_-]{0,30}$/;
export const NAME_RULE = 'a lower-case letter, then at most 30 lower-case letters, digits, "_" or "-"';

/** Whether `text` may name a peer, node, group or cluster. */
export function isName(text: string): boolean {
  return NAME.test(text);
}

function name<T extends string>(kind: string, text: string): Brand<string, T> {
  if (!isName(text)) throw new InvariantError(`${kind} "${text}" is not a name: expected ${NAME_RULE}`);
  return text as Brand<string, T>;
}

export const peerId = (text: string): PeerId => name<'PeerId'>('peer', text);
export const nodeId = (text: string): NodeId => name<'NodeId'>('node', text);
export const groupId = (text: string): GroupId => name<'GroupId'>('group', text);

/** `NODE_xxxxxxxx`: lower case, digits and `_` only, because it is also the name of a replication slot. */
export function memberId(text: string): MemberId {
  if (!/^[a-z][a-z0-9_]{0,62}$/.test(text)) {
    throw new InvariantError(
      `member "${text}" is not a member id: expected lower-case letters, digits and "_"`,
    );
  }
  return text as MemberId;
}

/** The member id of a data directory of `node`, made unique by `suffix` (8 hexadecimal digits). */
export function makeMemberId(node: NodeId, suffix: string): MemberId {
  return memberId(`${slotPrefix(node)}_${suffix}`);
}

/** What the id of every member of `node`, and so the name of its replication slot, begins with. */
export const slotPrefix = (node: NodeId): string => node.replaceAll('-', '_');

function counter<T extends string>(kind: string, value: number): Brand<number, T> {
  if (!Number.isSafeInteger(value) || value < 0)
    throw new InvariantError(`${kind} ${value} is not a whole number >= 0`);
  return value as Brand<number, T>;
}

export const term = (value: number): Term => counter<'Term'>('term', value);
export const logIndex = (value: number): LogIndex => counter<'LogIndex'>('log index', value);
export const epoch = (value: number): Epoch => counter<'Epoch'>('epoch', value);

export function timeline(value: number): Timeline {
  if (!Number.isInteger(value) || value < 1 || value > 0xffffffff) {
    throw new InvariantError(`timeline ${value} is not a whole number from 1 to 2^32 - 1`);
  }
  return value as Timeline;
}
