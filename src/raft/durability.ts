// Which writes are under way, and which messages wait for them (thesis §3.8, §10.2.1).
// Must never let a message out before the term and vote it speaks for are durable, nor credit a completed write with
// entries that were replaced meanwhile.
import { assert } from '../base/assert.ts';
import { logIndex } from '../base/ids.ts';
import type { LogIndex, PeerId } from '../base/ids.ts';
import { proposalIdOf } from './attempt.ts';
import { entriesBetween, lastIndex, truncateFrom } from './log.ts';
import { noteTruncated } from './membership.ts';
import type { Durability, HeldMessage, InflightWrite, Raft } from './state.ts';
import type { PersistedSnapshot, RaftMessage, RefusalReason } from './types.ts';

/** A write older than this many election timeouts means that the disk does not answer. */
const STALL_ELECTION_TIMEOUTS = 3;
/** What a healthy disk writes at the least: a snapshot is given that much more time. */
const SNAPSHOT_BYTES_PER_MS = 10_000;

export function createDurability(lastDurableIndex: LogIndex): Durability {
  return {
    issuedTicket: 0,
    durableTicket: 0,
    durableIndex: lastDurableIndex,
    unissuedIndex: logIndex(lastDurableIndex + 1),
    snapshot: undefined,
    hardStateDirty: false,
    hardStateTicket: 0,
    writes: [],
    held: [],
    stalled: false,
  };
}

/** Sends once our term and vote are durable, which is at once except just after they changed. */
export function send(raft: Raft, to: PeerId, message: RaftMessage): void {
  sendAfterDurable(raft, to, message, logIndex(0));
}

/** Sends once our term, vote and the log up to `index` are durable. */
export function sendAfterDurable(raft: Raft, to: PeerId, message: RaftMessage, index: LogIndex): void {
  const { durability } = raft;
  const afterTicket = durability.hardStateDirty ? durability.issuedTicket + 1 : durability.hardStateTicket;
  if (afterTicket <= durability.durableTicket && index <= durability.durableIndex) {
    raft.effects.push({ kind: 'send', to, message });
    return;
  }
  const held: HeldMessage = { to, message, term: raft.term, afterTicket, afterIndex: index };
  const replaced = durability.held.findIndex((other) => supersedes(held, other));
  if (replaced >= 0) durability.held.splice(replaced, 1);
  if (durability.held.length < raft.settings.maxPendingProposals) {
    durability.held.push(held);
  } else {
    // mark: held-messages-full
    dropMessage(raft, message, 'queue-full');
  }
}

/** Repeated answers that wait for the same write are kept once, so that a hung disk does not fill the memory. */
function supersedes(held: HeldMessage, other: HeldMessage): boolean {
  const { kind } = held.message;
  return (
    (kind === 'append-reply' || kind === 'heartbeat-reply') &&
    kind === other.message.kind &&
    held.to === other.to &&
    held.term === other.term &&
    held.afterIndex === other.afterIndex
  );
}

/** Drops what waited in an earlier term. */
export function dropHeld(raft: Raft): void {
  for (const { message } of raft.durability.held) dropMessage(raft, message, 'no-leader');
  raft.durability.held = [];
}

/** Any message may be lost, but a proposal of ours that was never sent certainly reached nobody, which is worth saying. */
function dropMessage(raft: Raft, message: RaftMessage, reason: RefusalReason): void {
  if (message.kind === 'propose')
    raft.effects.push({ kind: 'proposal-refused', proposalId: proposalIdOf(message.proposalId), reason });
}

/** Truncates the log from `index`, in memory and in the credit of every write under way (ABA). */
export function truncateLog(raft: Raft, index: LogIndex): void {
  assert(index > raft.commitIndex, () => `cannot truncate from ${index}: ${raft.commitIndex} is committed`);
  // mark: log-truncated
  truncateFrom(raft.log, index);
  withdrawCredit(raft, logIndex(index - 1));
  noteTruncated(raft, index);
}

/** What any write made or makes durable above `kept` is not what the log holds there any more. */
export function withdrawCredit(raft: Raft, kept: LogIndex): void {
  const { durability } = raft;
  if (durability.durableIndex > kept) durability.durableIndex = kept;
  if (durability.unissuedIndex > kept + 1) durability.unissuedIndex = logIndex(kept + 1);
  for (const write of durability.writes) {
    if (write.lastIndex <= kept) continue;
    // mark: write-under-way-replaced
    write.lastIndex = kept;
  }
}

/**
 * To be called before the log changes under a snapshot at `index`: what the snapshot does not replace must be on its way to
 * the disk, and a `persist` effect carries one snapshot at most.
 */
export function issueBeforeSnapshot(raft: Raft, index: LogIndex): void {
  const { snapshot, unissuedIndex } = raft.durability;
  if (snapshot === undefined && unissuedIndex > Math.min(index, lastIndex(raft.log))) return;
  // mark: persist-before-snapshot
  issuePersist(raft);
}

/** Has the next `persist` effect carry the snapshot. */
export function persistSnapshot(raft: Raft, snapshot: PersistedSnapshot): void {
  const { durability } = raft;
  assert(durability.snapshot === undefined, 'a snapshot would be forgotten before it is written');
  durability.snapshot = snapshot;
  if (snapshot.replacesLog) durability.unissuedIndex = logIndex(snapshot.base.index + 1);
  assert(
    durability.unissuedIndex > snapshot.base.index,
    () => `the log up to ${snapshot.base.index} was compacted before it was issued`,
  );
}

/** Issues one `persist` effect for everything that changed since the last one: a batch shares one write. */
export function issuePersist(raft: Raft): void {
  const { durability } = raft;
  const { hardStateDirty, snapshot, unissuedIndex } = durability;
  const last = lastIndex(raft.log);
  if (!hardStateDirty && unissuedIndex > last && snapshot === undefined) return;
  durability.issuedTicket += 1;
  if (hardStateDirty) durability.hardStateTicket = durability.issuedTicket;
  durability.writes.push({
    ticket: durability.issuedTicket,
    issuedAtMs: raft.nowMs,
    // One of our own state is written beside the log and does not hold up the write.
    snapshotBytes: snapshot?.replacesLog === true ? snapshot.snapshot.data.length : 0,
    lastIndex: last,
  });
  raft.effects.push({
    kind: 'persist',
    ticket: durability.issuedTicket,
    hardState: { term: raft.term, votedFor: raft.votedFor },
    entries: entriesBetween(raft.log, unissuedIndex, last),
    snapshot,
  });
  durability.hardStateDirty = false;
  durability.snapshot = undefined;
  durability.unissuedIndex = logIndex(last + 1);
}

/** All writes up to `ticket` are durable: credits them and releases what waited. Returns whether this was news. */
export function completeWrites(raft: Raft, ticket: number): boolean {
  const { durability } = raft;
  assert(
    ticket <= durability.issuedTicket,
    () => `ticket ${ticket} was never issued (last ${durability.issuedTicket})`,
  );
  if (ticket <= durability.durableTicket) return false;
  durability.durableTicket = ticket;
  while (durability.writes[0] !== undefined && durability.writes[0].ticket <= ticket) {
    const write = durability.writes.shift();
    if (write !== undefined && write.lastIndex > durability.durableIndex)
      durability.durableIndex = write.lastIndex;
  }
  assert(
    durability.durableIndex <= lastIndex(raft.log),
    () => `durable ${durability.durableIndex} is beyond the log`,
  );
  releaseHeld(raft);
  return true;
}

function releaseHeld(raft: Raft): void {
  const { durability } = raft;
  const waiting: HeldMessage[] = [];
  for (const held of durability.held) {
    assert(
      held.term === raft.term,
      () => `a message held in term ${held.term} outlived it (now ${raft.term})`,
    );
    if (held.afterTicket <= durability.durableTicket && held.afterIndex <= durability.durableIndex) {
      raft.effects.push({ kind: 'send', to: held.to, message: held.message });
    } else {
      waiting.push(held);
    }
  }
  durability.held = waiting;
}

/** Whether our present term and vote are durable. */
export function isHardStateDurable(raft: Raft): boolean {
  const { durability } = raft;
  return !durability.hardStateDirty && durability.hardStateTicket <= durability.durableTicket;
}

/**
 * Looks at the oldest write under way. A peer whose disk does not answer for several election timeouts is stalled, and
 * well again only when no write is older than one election timeout. Returns what changed.
 */
export function watchDisk(raft: Raft): 'stalled' | 'recovered' | 'unchanged' {
  const { durability } = raft;
  const overdueMs = overdueMsOf(raft, durability.writes[0]);
  if (!durability.stalled && overdueMs > STALL_ELECTION_TIMEOUTS * raft.settings.electionMs) {
    // mark: disk-stalled
    durability.stalled = true;
    return 'stalled';
  }
  if (durability.stalled && overdueMs <= raft.settings.electionMs) {
    // mark: disk-well-again
    durability.stalled = false;
    return 'recovered';
  }
  return 'unchanged';
}

/** Age of the write, less the time that its snapshot may take. */
function overdueMsOf(raft: Raft, write: InflightWrite | undefined): number {
  return write === undefined
    ? 0
    : raft.nowMs - write.issuedAtMs - write.snapshotBytes / SNAPSHOT_BYTES_PER_MS;
}
