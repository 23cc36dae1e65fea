// Drives the pure Raft core: feeds it events from one inbox, carries out its effects in order, ticks it when its next deadline
// is due, and has a snapshot taken when the log has grown. Callbacks only enqueue; the core is never entered twice at once.
import type { Clock } from '../base/clock.ts';
import type { LogIndex, PeerId, Term } from '../base/ids.ts';
import { INDEX_ZERO, lastIndex } from '../raft/log.ts';
import { committedMembership, pendingMemberships } from '../raft/membership.ts';
import { type Raft, createRaft, stepAll } from '../raft/raft.ts';
import type {
  Entry,
  Membership,
  MembershipChange,
  MembershipCodec,
  RaftEffect,
  RaftEvent,
  RaftMessage,
  RaftSettings,
  RefusalReason,
  Role,
  Snapshot,
} from '../raft/types.ts';
import type { LogStore } from '../storage/log-store.ts';
import type { Beginning } from './beginning.ts';
import { type ChangeOutcome, createChangeRequests, isMade } from './change-requests.ts';
import { nextTickMs } from './next-tick.ts';
import { createSnapshotSchedule, type SnapshotLimits } from './snapshot-schedule.ts';

const INBOX_COUNT_MAX = 10_000;

export interface ConsensusOptions {
  readonly self: PeerId;
  readonly membershipCodec: MembershipCodec;
  readonly settings: RaftSettings;
  readonly store: LogStore;
  readonly beginning: Beginning;
  readonly clock: Clock;
  readonly random: () => number;
  readonly snapshotLimits: SnapshotLimits;
  readonly send: (to: PeerId, message: RaftMessage) => void;
  /** Committed entries, in order, each once. */
  readonly onCommit: (entries: readonly Entry[]) => void;
  /** The replicated state is replaced by that of the snapshot; onCommit goes on after it. */
  readonly onRestore: (snapshot: Snapshot) => void;
  /** The replicated state as applied so far, to be kept as a snapshot. */
  readonly takeState: () => { readonly index: LogIndex; readonly data: Uint8Array };
  /** The membership in force changed, or it was committed; also called once at the start. */
  readonly onMembership: (membership: Membership) => void;
  readonly onRole: (role: Role, term: Term, leader: PeerId | undefined) => void;
  readonly onProposalRefused: (proposalId: string, reason: RefusalReason) => void;
  /** The disk failed or an invariant broke: the process must end. */
  readonly onFatal: (error: unknown) => void;
}

export interface Consensus {
  receive(from: PeerId, message: RaftMessage): void;
  /** What became of a `snapshot-request` in the network. */
  snapshotSent(to: PeerId, index: LogIndex, arrived: boolean): void;
  /** Hands the proposal over; whether it commits is seen in onCommit, that it certainly did not in onProposalRefused. */
  propose(proposalId: string, data: Uint8Array): void;
  /** A log index obtained after the call such that a state applied up to it is not stale (ReadIndex); undefined when refused or too late. */
  readIndex(timeoutMs: number): Promise<LogIndex | undefined>;
  /** Resolves when the change is committed, refused, or not decided within `timeoutMs`. Only a leader can do it. */
  changeMembership(change: MembershipChange, timeoutMs: number): Promise<ChangeOutcome>;
  /** Hands leadership over; the next leader, or undefined where nobody took over within `timeoutMs`. */
  transfer(to: PeerId, timeoutMs: number): Promise<PeerId | undefined>;
  /** Quorum loss, on the word of a person: this peer alone is the next incarnation. */
  recover(timeoutMs: number): Promise<ChangeOutcome>;
  /** Takes no further part: no vote, no acknowledgement, no message. For a peer that the cluster went on without. */
  leaveForGood(): void;
  status(): ConsensusStatus;
  close(): Promise<void>;
}

export interface ConsensusStatus {
  readonly role: Role;
  readonly term: Term;
  readonly leader: PeerId | undefined;
  readonly commitIndex: LogIndex;
  readonly lastIndex: LogIndex;
  /** Up to where this peer's log is held as a snapshot; 0 without one. */
  readonly snapshotIndex: LogIndex;
  /** In force; not necessarily committed. */
  readonly membership: Membership;
  /** Log index of the entry or snapshot that the membership in force comes from; 0 for the initial one. */
  readonly membershipIndex: LogIndex;
  /** The latest that is known to be committed, and the index of the entry or snapshot that says so; 0 for the initial one. */
  readonly committed: { readonly membership: Membership; readonly index: LogIndex };
  /** Those in the log that may still be truncated. */
  readonly pending: readonly Membership[];
  /** The disk has not answered for several election timeouts. */
  readonly isDiskStalled: boolean;
  /** What each other peer is known to hold; only a leader knows. */
  matchIndex(peer: PeerId): LogIndex | undefined;
}

export function startConsensus(options: ConsensusOptions): Consensus {
  const { clock, store, self } = options;
  const raft: Raft = createRaft({
    self,
    ...options.beginning,
    codec: options.membershipCodec,
    settings: options.settings,
    nowMs: clock.monotonicMs(),
    random: options.random(),
  });
  const inbox: RaftEvent[] = [];
  const reads = new Map<string, (index: LogIndex | undefined) => void>();
  const requests = createChangeRequests();
  const schedule = createSnapshotSchedule(options.snapshotLimits);
  const readPrefix = `${self}-${clock.wallMs()}`;
  let readCount = 0;
  let isOver = false;
  let timer: NodeJS.Timeout | undefined;
  let timerAtMs = Number.POSITIVE_INFINITY;

  const enqueue = (event: RaftEvent): void => {
    // Messages may be lost by contract; our own events may not, and are bounded by what is in flight.
    if (isOver || (event.kind === 'receive' && inbox.length >= INBOX_COUNT_MAX)) return;
    inbox.push(event);
    if (inbox.length === 1) queueMicrotask(drain);
  };

  /** Takes all that arrived together, so that its appends share one write and one message to each follower. */
  const drain = (): void => {
    const events = inbox.splice(0);
    if (isOver || events.length === 0) return;
    try {
      for (const effect of stepAll(raft, events)) carryOut(effect);
      if (schedule.isDue()) takeSnapshot();
    } catch (error) {
      end();
      options.onFatal(error);
      return;
    }
    armTimer();
  };

  const carryOut = (effect: RaftEffect): void => {
    switch (effect.kind) {
      case 'persist':
        store.write(effect).then(
          () => enqueue({ kind: 'persisted', nowMs: clock.monotonicMs(), ticket: effect.ticket }),
          (error: unknown) => {
            if (!isOver) options.onFatal(error);
          },
        );
        return;
      case 'send':
        options.send(effect.to, effect.message);
        return;
      case 'commit':
        onCommit(effect.entries);
        return;
      case 'restore':
        schedule.taken();
        options.onRestore(effect.snapshot);
        requests.committed(effect.snapshot.membership);
        return;
      case 'membership':
        options.onMembership(effect.membership);
        return;
      case 'change-refused':
        requests.refused(effect.changeId, effect.reason);
        return;
      case 'role':
        options.onRole(effect.role, effect.term, effect.leader);
        if (effect.leader !== undefined && effect.leader !== self) requests.ledBy(effect.leader);
        return;
      case 'read-ready':
        settleRead(effect.readId, effect.index);
        return;
      case 'read-refused':
        settleRead(effect.readId, undefined);
        return;
      case 'proposal-refused':
        options.onProposalRefused(effect.proposalId, effect.reason);
        return;
    }
  };

  const onCommit = (entries: readonly Entry[]): void => {
    options.onCommit(entries);
    schedule.applied(entries);
    for (const entry of entries) {
      if (entry.kind !== 'config') continue;
      const membership = options.membershipCodec.decode(entry.data);
      requests.committed(membership);
      options.onMembership(raft.membership);
      // Whoever is added after a recovery must not read itself through the earlier incarnation: it would take itself for left behind.
      if (membership.incarnation > (raft.snapshot?.membership.incarnation ?? 0)) schedule.demand();
    }
  };

  const takeSnapshot = (): void => {
    schedule.taken();
    enqueue({ kind: 'snapshot-taken', nowMs: clock.monotonicMs(), ...options.takeState() });
  };

  const settleRead = (readId: string, index: LogIndex | undefined): void => {
    reads.get(readId)?.(index);
    reads.delete(readId);
  };

  /** One timer for the earliest deadline. A deadline that moved away meanwhile costs one look when the timer fires. */
  const armTimer = (): void => {
    const nowMs = clock.monotonicMs();
    const atMs = nowMs + nextTickMs(raft, nowMs);
    if (isOver || atMs >= timerAtMs) return;
    clearTimeout(timer);
    timerAtMs = atMs;
    timer = setTimeout(onTimer, atMs - nowMs);
  };

  const onTimer = (): void => {
    timerAtMs = Number.POSITIVE_INFINITY;
    enqueue({ kind: 'tick', nowMs: clock.monotonicMs(), random: options.random() });
  };

  const end = (): void => {
    isOver = true;
    clearTimeout(timer);
    requests.close();
    for (const readId of [...reads.keys()]) settleRead(readId, undefined);
  };

  options.onMembership(raft.membership);
  armTimer();

  return {
    receive: (from, message) =>
      enqueue({ kind: 'receive', nowMs: clock.monotonicMs(), random: options.random(), from, message }),
    snapshotSent: (to, index, arrived) =>
      enqueue({ kind: 'snapshot-sent', nowMs: clock.monotonicMs(), to, index, arrived }),
    propose: (proposalId, data) => enqueue({ kind: 'propose', nowMs: clock.monotonicMs(), proposalId, data }),
    readIndex(timeoutMs) {
      if (isOver) return Promise.resolve(undefined);
      return new Promise((resolve) => {
        readCount += 1;
        const readId = `${readPrefix}-${readCount}`;
        const deadline = setTimeout(() => settleRead(readId, undefined), timeoutMs);
        reads.set(readId, (index) => {
          clearTimeout(deadline);
          resolve(index);
        });
        enqueue({ kind: 'read', nowMs: clock.monotonicMs(), readId });
      });
    },
    changeMembership(change, timeoutMs) {
      if (isOver) return Promise.resolve({ kind: 'unknown' });
      const { changeId, outcome } = requests.begin((membership) => isMade(change, membership), timeoutMs);
      enqueue({ kind: 'change-membership', nowMs: clock.monotonicMs(), changeId, change });
      return outcome;
    },
    transfer(to, timeoutMs) {
      if (isOver) return Promise.resolve(undefined);
      const leader = requests.awaitLeader(timeoutMs);
      enqueue({ kind: 'transfer', nowMs: clock.monotonicMs(), to });
      return leader;
    },
    recover(timeoutMs) {
      if (isOver) return Promise.resolve({ kind: 'unknown' });
      const before = raft.membership.incarnation;
      const { outcome } = requests.begin(({ incarnation }) => incarnation > before, timeoutMs);
      enqueue({ kind: 'recover', nowMs: clock.monotonicMs() });
      return outcome;
    },
    leaveForGood: end,
    status: () => statusOf(raft),
    close: async () => {
      end();
      await store.close();
    },
  };
}

function statusOf(raft: Raft): ConsensusStatus {
  return {
    role: raft.role,
    term: raft.term,
    leader: raft.leader,
    commitIndex: raft.commitIndex,
    lastIndex: lastIndex(raft.log),
    snapshotIndex: raft.snapshot?.index ?? INDEX_ZERO,
    membership: raft.membership,
    membershipIndex: raft.membershipIndex,
    committed: committedMembership(raft),
    pending: pendingMemberships(raft),
    isDiskStalled: raft.durability.stalled,
    matchIndex: (peer) => raft.leading?.progress.get(peer)?.match,
  };
}
