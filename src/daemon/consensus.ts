// Drives the pure Raft core: feeds it events from one inbox, carries out its effects in order, and turns proposals and reads
// into promises with deadlines. Callbacks only enqueue; the core is never entered twice at once.
import type { Clock } from '../base/clock.ts';
import type { LogIndex, PeerId, Term } from '../base/ids.ts';
import { type Raft, createRaft, stepAll } from '../raft/raft.ts';
import type {
  Entry,
  Membership,
  RaftEffect,
  RaftEvent,
  RaftMessage,
  RaftSettings,
  RefusalReason,
  Role,
} from '../raft/types.ts';
import type { LogStore } from '../storage/log-store.ts';

const TICK_MS = 20;
const INBOX_COUNT_MAX = 10_000;

export interface ConsensusOptions {
  readonly self: PeerId;
  readonly membership: Membership;
  readonly settings: RaftSettings;
  readonly store: LogStore;
  readonly clock: Clock;
  readonly random: () => number;
  readonly send: (to: PeerId, message: RaftMessage) => void;
  /** Committed entries, in order, each once. */
  readonly onCommit: (entries: readonly Entry[]) => void;
  readonly onRole: (role: Role, term: Term, leader: PeerId | undefined) => void;
  readonly onProposalRefused: (proposalId: string, reason: RefusalReason) => void;
  /** The disk failed or an invariant broke: the process must end. */
  readonly onFatal: (error: unknown) => void;
}

export interface Consensus {
  receive(from: PeerId, message: RaftMessage): void;
  /** Hands the proposal over; whether it commits is seen in onCommit, that it certainly did not in onProposalRefused. */
  propose(proposalId: string, data: Uint8Array): void;
  /** A log index obtained after the call such that a state applied up to it is not stale (ReadIndex); undefined when refused or too late. */
  readIndex(timeoutMs: number): Promise<LogIndex | undefined>;
  status(): ConsensusStatus;
  close(): Promise<void>;
}

export interface ConsensusStatus {
  readonly role: Role;
  readonly term: Term;
  readonly leader: PeerId | undefined;
  readonly commitIndex: LogIndex;
  /** What each other peer is known to hold; only a leader knows. */
  matchIndex(peer: PeerId): LogIndex | undefined;
}

export function startConsensus(options: ConsensusOptions): Consensus {
  const { clock, store } = options;
  const raft: Raft = createRaft({
    self: options.self,
    membership: options.membership,
    settings: options.settings,
    hardState: store.hardState,
    entries: store.entries,
    nowMs: clock.monotonicMs(),
    random: options.random(),
  });
  const inbox: RaftEvent[] = [];
  const reads = new Map<string, (index: LogIndex | undefined) => void>();
  const readPrefix = `${options.self}-${clock.wallMs()}`;
  let readCount = 0;
  let isClosed = false;

  const enqueue = (event: RaftEvent): void => {
    // Messages may be lost by contract; our own events may not, and are bounded by what is in flight.
    if (isClosed || (event.kind === 'receive' && inbox.length >= INBOX_COUNT_MAX)) return;
    inbox.push(event);
    if (inbox.length === 1) queueMicrotask(drain);
  };

  /** Takes all that arrived together, so that its appends share one write and one message to each follower. */
  const drain = (): void => {
    const events = inbox.splice(0);
    if (isClosed || events.length === 0) return;
    try {
      for (const effect of stepAll(raft, events)) carryOut(effect);
    } catch (error) {
      isClosed = true;
      options.onFatal(error);
    }
  };

  const carryOut = (effect: RaftEffect): void => {
    switch (effect.kind) {
      case 'persist':
        store.write(effect).then(
          () => enqueue({ kind: 'persisted', nowMs: clock.monotonicMs(), ticket: effect.ticket }),
          (error: unknown) => {
            if (!isClosed) options.onFatal(error);
          },
        );
        return;
      case 'send':
        options.send(effect.to, effect.message);
        return;
      case 'commit':
        options.onCommit(effect.entries);
        return;
      case 'role':
        options.onRole(effect.role, effect.term, effect.leader);
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

  const settleRead = (readId: string, index: LogIndex | undefined): void => {
    reads.get(readId)?.(index);
    reads.delete(readId);
  };

  const ticker = setInterval(
    () => enqueue({ kind: 'tick', nowMs: clock.monotonicMs(), random: options.random() }),
    TICK_MS,
  );

  return {
    receive: (from, message) =>
      enqueue({ kind: 'receive', nowMs: clock.monotonicMs(), random: options.random(), from, message }),
    propose: (proposalId, data) => enqueue({ kind: 'propose', nowMs: clock.monotonicMs(), proposalId, data }),
    readIndex: (timeoutMs) =>
      new Promise((resolve) => {
        readCount += 1;
        const readId = `${readPrefix}-${readCount}`;
        const timer = setTimeout(() => settleRead(readId, undefined), timeoutMs);
        reads.set(readId, (index) => {
          clearTimeout(timer);
          resolve(index);
        });
        enqueue({ kind: 'read', nowMs: clock.monotonicMs(), readId });
      }),
    status: () => ({
      role: raft.role,
      term: raft.term,
      leader: raft.leader,
      commitIndex: raft.commitIndex,
      matchIndex: (peer) => raft.leading?.progress.get(peer)?.match,
    }),
    close: async () => {
      isClosed = true;
      clearInterval(ticker);
      for (const readId of [...reads.keys()]) settleRead(readId, undefined);
      await store.close();
    },
  };
}
