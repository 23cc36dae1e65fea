// The consensus core: `step` turns an event into effects. No clock, no I/O, no await, no randomness of its own.
// Must never be entered again while it runs, and never be used again after it threw: the state is then undefined.
// Each rule has a file of its own; this one only says which rule answers which event, and in what order effects leave.
import { assert, unreachable } from '../base/assert.ts';
import type { PeerId } from '../base/ids.ts';
import { onChangeMembership } from './change.ts';
import { advanceLeaderCommit } from './commit.ts';
import { completeWrites, createDurability, issuePersist, send, watchDisk } from './durability.ts';
import { countOwnVote, onTimeoutNow, onVoteReply, onVoteRequest, standIfDue } from './election.ts';
import { onAppendRequest, onHeartbeatRequest } from './follow.ts';
import { hasQuorumContact, onHeartbeatReply } from './heartbeat.ts';
import { onSnapshotRequest } from './install.ts';
import { leaveIfRemoved } from './leave.ts';
import { createLog, INDEX_ZERO, lastIndex, lastTerm, matchesAt } from './log.ts';
import type { LogBase } from './log.ts';
import { announceMembership, noteAppended } from './membership.ts';
import { onForwardedPropose, onPropose, onProposeRefused } from './propose.ts';
import { advanceReads, beginRoundForReads, onRead, onReadReply, onReadRequest } from './read-index.ts';
import { expireReads } from './read-refusal.ts';
import { createRecentIds } from './recent.ts';
import { onRecover } from './recover.ts';
import { onAppendReply, replicate } from './replicate.ts';
import { becomeFollower, resetElectionDeadline } from './role.ts';
import { onSnapshotSent } from './send-snapshot.ts';
import { onSnapshotTaken } from './snapshot.ts';
import type { Raft } from './state.ts';
import { advanceTransfer, expireTransfer, onTransfer } from './transfer.ts';
import type {
  Entry,
  HardState,
  Membership,
  MembershipCodec,
  RaftEffect,
  RaftEvent,
  RaftMessage,
  RaftSettings,
  Snapshot,
} from './types.ts';

export type { Raft } from './state.ts';

export interface RaftOptions {
  readonly self: PeerId;
  /** From the configuration; in force only where neither the snapshot nor the log holds one. */
  readonly membership: Membership;
  readonly codec: MembershipCodec;
  readonly settings: RaftSettings;
  /** As read back from the disk, all of it durable: `entries` follow `base`, which is not above the snapshot. */
  readonly hardState: HardState;
  readonly snapshot: Snapshot | undefined;
  readonly base: LogBase;
  readonly entries: readonly Entry[];
  readonly nowMs: number;
  readonly random: number;
}

/** A peer just started: a follower that knows of no leader and takes nothing for committed but what its snapshot holds. */
export function createRaft(options: RaftOptions): Raft {
  const log = createLog(options.entries, options.base);
  const { snapshot } = options;
  const { term, votedFor } = options.hardState;
  assert(
    lastTerm(log) <= term,
    () => `the log ends in term ${lastTerm(log)}, after the durable term ${term}`,
  );
  const raft: Raft = {
    self: options.self,
    settings: options.settings,
    codec: options.codec,
    membership: snapshot?.membership ?? options.membership,
    membershipIndex: INDEX_ZERO,
    earlierIncarnationIndex: INDEX_ZERO,
    announcedMembership: options.membership,
    configs: [],
    initialMembership: options.membership,
    term,
    votedFor,
    role: 'follower',
    leader: undefined,
    log,
    commitIndex: snapshot?.index ?? INDEX_ZERO,
    snapshot,
    nowMs: options.nowMs,
    random: options.random,
    electionDeadlineMs: 0,
    leaderHeardAtMs: 0,
    undecided: 0,
    answered: new Set([options.self]),
    ballot: undefined,
    leading: undefined,
    durability: createDurability(lastIndex(log)),
    forwardedReads: new Map(),
    attemptCount: 0,
    seenAttempts: createRecentIds(),
    effects: [],
  };
  assertSnapshotFits(raft);
  for (const entry of log.entries) noteAppended(raft, entry);
  raft.announcedMembership = raft.membership;
  resetElectionDeadline(raft);
  return raft;
}

/** What lies at or below the base of the log is in the snapshot, and where the log overlaps it, both agree. */
function assertSnapshotFits({ log, snapshot, commitIndex }: Raft): void {
  assert(
    log.base.index <= commitIndex && commitIndex <= lastIndex(log),
    () =>
      `the snapshot at ${commitIndex} does not meet the log, which follows ${log.base.index} and ends at ${lastIndex(log)}`,
  );
  assert(
    snapshot === undefined || matchesAt(log, snapshot.index, snapshot.term),
    () => `the log differs from the snapshot at ${commitIndex}`,
  );
}

/** Carries out one event. */
export function step(raft: Raft, event: RaftEvent): RaftEffect[] {
  return stepAll(raft, [event]);
}

/** Carries out events that arrived together: what they append shares one write and one message to each follower. */
export function stepAll(raft: Raft, events: readonly RaftEvent[]): RaftEffect[] {
  raft.effects = [];
  for (const event of events) {
    raft.nowMs = Math.max(raft.nowMs, event.nowMs);
    if (event.kind === 'tick' || event.kind === 'receive') raft.random = event.random;
    onEvent(raft, event);
  }
  settle(raft);
  const { effects } = raft;
  raft.effects = [];
  return effects;
}

function onEvent(raft: Raft, event: RaftEvent): void {
  switch (event.kind) {
    case 'tick':
      onTick(raft);
      return;
    case 'receive':
      onReceive(raft, event.from, event.message);
      return;
    case 'propose':
      onPropose(raft, event.proposalId, event.data);
      return;
    case 'read':
      onRead(raft, event.readId);
      return;
    case 'persisted':
      if (completeWrites(raft, event.ticket)) countOwnVote(raft);
      return;
    case 'transfer':
      onTransfer(raft, event.to);
      return;
    case 'change-membership':
      onChangeMembership(raft, event.changeId, event.change);
      return;
    case 'snapshot-taken':
      onSnapshotTaken(raft, event.index, event.data);
      return;
    case 'snapshot-sent':
      onSnapshotSent(raft, event.to, event.index, event.arrived);
      return;
    case 'recover':
      onRecover(raft);
      return;
    default:
      unreachable(event);
  }
}

function onTick(raft: Raft): void {
  const disk = watchDisk(raft);
  if (disk === 'recovered') resetElectionDeadline(raft);
  expireReads(raft);
  if (raft.leading === undefined) {
    standIfDue(raft);
    return;
  }
  // A leader that cannot write, or that hears from no majority, makes room: it must not heartbeat on.
  if (raft.durability.stalled || !hasQuorumContact(raft, raft.leading)) {
    // mark: leader-makes-room
    becomeFollower(raft, raft.term, undefined);
    return;
  }
  expireTransfer(raft, raft.leading);
  if (raft.nowMs >= raft.leading.heartbeatDueMs) beginRoundForReads(raft, raft.leading);
}

/** Sorts a message by term first (Raft §5.1), then by kind. */
function onReceive(raft: Raft, from: PeerId, message: RaftMessage): void {
  // Votes have rules of their own: a request must not raise the term past a live leader, a pre-vote never raises it.
  if (message.kind === 'vote-request') {
    onVoteRequest(raft, from, message);
    return;
  }
  const isGrantedPreVote = message.kind === 'vote-reply' && message.preVote && message.granted;
  if (message.term > raft.term && !isGrantedPreVote) becomeFollower(raft, message.term, undefined);
  switch (message.kind) {
    case 'vote-reply':
      onVoteReply(raft, from, message);
      return;
    case 'append-request':
      if (message.term < raft.term) refuseOldLeader(raft, from, message.round);
      else onAppendRequest(raft, from, message);
      return;
    case 'heartbeat-request':
      if (message.term < raft.term) refuseOldLeader(raft, from, message.round);
      else onHeartbeatRequest(raft, from, message);
      return;
    case 'snapshot-request':
      if (message.term < raft.term) refuseOldLeader(raft, from, message.round);
      else onSnapshotRequest(raft, from, message);
      return;
    case 'append-reply':
      if (message.term === raft.term && raft.leading !== undefined)
        onAppendReply(raft, raft.leading, from, message);
      return;
    case 'heartbeat-reply':
      if (message.term === raft.term && raft.leading !== undefined)
        onHeartbeatReply(raft, raft.leading, from, message);
      return;
    case 'timeout-now':
      if (message.term === raft.term) onTimeoutNow(raft, from);
      return;
    case 'propose':
      onForwardedPropose(raft, from, message.proposalId, message.data);
      return;
    case 'propose-refused':
      onProposeRefused(raft, message.proposalId, message.reason);
      return;
    case 'read-request':
      onReadRequest(raft, from, message.readId);
      return;
    case 'read-reply':
      onReadReply(raft, message);
      return;
    default:
      unreachable(message);
  }
}

/** Tells a leader of an earlier term about ours, so that it steps down; otherwise a peer with a higher term could never rejoin. */
function refuseOldLeader(raft: Raft, from: PeerId, round: number): void {
  send(raft, from, {
    kind: 'append-reply',
    term: raft.term,
    round,
    success: false,
    matchIndex: INDEX_ZERO,
    hintIndex: INDEX_ZERO,
    hintTerm: raft.term,
  });
}

/** What follows from the events of a step taken together. Sending begins before the own write: nobody waits for our disk. */
function settle(raft: Raft): void {
  const { leading } = raft;
  announceMembership(raft);
  if (leading !== undefined) {
    advanceLeaderCommit(raft);
    replicate(raft, leading);
    advanceReads(raft, leading);
    advanceTransfer(raft, leading);
    leaveIfRemoved(raft, leading);
  }
  issuePersist(raft);
}
