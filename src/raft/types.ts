// The vocabulary of the consensus core: what goes in (events), what comes out (effects), what peers say to each other.
// Pure data. Source: Ongaro, "Consensus: Bridging Theory and Practice" (section numbers below are of that thesis).
import type { LogIndex, PeerId, Term } from '../base/ids.ts';

/** One entry of the log. `data` is opaque here and encoded once, by whoever proposed it. */
export interface Entry {
  readonly index: LogIndex;
  readonly term: Term;
  /** `noop` is what a new leader commits first (§6.4); `config` carries an encoded {@link Membership}. */
  readonly kind: 'command' | 'noop' | 'config';
  readonly data: Uint8Array;
}

/** Who takes part and where. Voters elect and commit; learners receive the log only. Each list is sorted. */
export interface Membership {
  readonly voters: readonly PeerId[];
  readonly learners: readonly PeerId[];
  /** Where each of them is reached, `host:port`; opaque here. */
  readonly addresses: ReadonlyMap<PeerId, string>;
  /**
   * 1 from the start, one more for each recovery from quorum loss, 0 for a peer that has not been told of any membership yet.
   * Peers of different incarnations have nothing to say to each other: their logs may differ in committed entries.
   */
  readonly incarnation: number;
}

/** One step of a membership change: at most one voter differs, so that old and new majorities overlap (thesis §4.1). */
export type MembershipChange =
  | { readonly kind: 'add-learner'; readonly peer: PeerId; readonly address: string }
  /** A learner that has caught up becomes a voter. */
  | { readonly kind: 'promote'; readonly peer: PeerId }
  | { readonly kind: 'remove'; readonly peer: PeerId }
  /** The same peer at another address. */
  | { readonly kind: 'move'; readonly peer: PeerId; readonly address: string };

export type ChangeRefusal =
  | 'not-leader'
  | 'transferring'
  /** The leader has not committed an entry of its own term yet (the single-server bug of 2015). */
  | 'not-ready'
  /** An earlier change is not committed yet. */
  | 'change-pending'
  | 'unknown-peer'
  | 'already-member'
  /** To be promoted: a learner that has not received what is committed. */
  | 'learner-behind'
  /** To be promoted: a learner that does not answer, or too few of those that would be voters then do. */
  | 'no-contact'
  | 'last-voter';

/** How configuration entries and snapshots write a {@link Membership}; given by the shell, since formats live elsewhere. */
export interface MembershipCodec {
  encode(membership: Membership): Uint8Array;
  decode(data: Uint8Array): Membership;
}

/** The replicated state after `index`, and the membership in force there: what stands for the log up to `index`. */
export interface Snapshot {
  readonly index: LogIndex;
  readonly term: Term;
  readonly membership: Membership;
  /** Opaque here. Must never be changed in place. */
  readonly data: Uint8Array;
}

/** What must be durable before it is answered for (§3.8). */
export interface HardState {
  readonly term: Term;
  readonly votedFor: PeerId | undefined;
}

export type Role = 'follower' | 'pre-candidate' | 'candidate' | 'leader';

/** Every message carries the sender's term; the receiver of a higher term steps down (§3.3), pre-votes excepted (§9.6). */
export type RaftMessage =
  | {
      readonly kind: 'vote-request';
      readonly term: Term;
      readonly preVote: boolean;
      readonly lastIndex: LogIndex;
      readonly lastTerm: Term;
      readonly transfer: boolean;
    }
  | { readonly kind: 'vote-reply'; readonly term: Term; readonly preVote: boolean; readonly granted: boolean }
  | {
      readonly kind: 'append-request';
      readonly term: Term;
      readonly prevIndex: LogIndex;
      readonly prevTerm: Term;
      readonly entries: readonly Entry[];
      readonly commitIndex: LogIndex;
      /** Identifies the round, so that a late reply is never taken for a newer one. */
      readonly round: number;
    }
  | {
      readonly kind: 'append-reply';
      readonly term: Term;
      readonly round: number;
      readonly success: boolean;
      /** On success: the last index known to match the leader's log, durable here. */
      readonly matchIndex: LogIndex;
      /** On refusal: where the leader should look next (§3.5, accelerated). */
      readonly hintIndex: LogIndex;
      readonly hintTerm: Term;
    }
  | {
      readonly kind: 'heartbeat-request';
      readonly term: Term;
      readonly commitIndex: LogIndex;
      readonly round: number;
    }
  | { readonly kind: 'heartbeat-reply'; readonly term: Term; readonly round: number }
  /** `proposalId` names this try of it: the proposal's id, and a number that the sender never uses again. */
  | { readonly kind: 'propose'; readonly term: Term; readonly proposalId: string; readonly data: Uint8Array }
  | {
      readonly kind: 'propose-refused';
      readonly term: Term;
      readonly proposalId: string;
      readonly reason: RefusalReason;
    }
  | { readonly kind: 'read-request'; readonly term: Term; readonly readId: string }
  | {
      readonly kind: 'read-reply';
      readonly term: Term;
      readonly readId: string;
      readonly index: LogIndex | undefined;
    }
  | { readonly kind: 'timeout-now'; readonly term: Term }
  /** For a follower that needs entries which are compacted away. Answered by an `append-reply` of the same round. */
  | {
      readonly kind: 'snapshot-request';
      readonly term: Term;
      readonly snapshot: Snapshot;
      readonly round: number;
    };

export type RefusalReason =
  'no-leader' | 'not-leader' | 'queue-full' | 'transferring' | 'too-large' | 'stopped';

/** What the shell tells the core. `nowMs` is monotonic; `random` is in [0, 1). */
export type RaftEvent =
  | { readonly kind: 'tick'; readonly nowMs: number; readonly random: number }
  | {
      readonly kind: 'receive';
      readonly nowMs: number;
      readonly random: number;
      readonly from: PeerId;
      readonly message: RaftMessage;
    }
  /**
   * `proposalId` is unique for ever (peer, start of the process, number); forwarded to the leader where need be. The same one
   * again is another try: within a term it enters the log once, but in another term it may enter once more.
   */
  | {
      readonly kind: 'propose';
      readonly nowMs: number;
      readonly proposalId: string;
      readonly data: Uint8Array;
    }
  | { readonly kind: 'read'; readonly nowMs: number; readonly readId: string }
  /** All `persist` effects up to and including `ticket` are durable. */
  | { readonly kind: 'persisted'; readonly nowMs: number; readonly ticket: number }
  | { readonly kind: 'transfer'; readonly nowMs: number; readonly to: PeerId }
  /** Answered by `change-refused`, or by the commit of a `config` entry. Only a leader takes it: the shell finds the leader. */
  | {
      readonly kind: 'change-membership';
      readonly nowMs: number;
      readonly changeId: string;
      readonly change: MembershipChange;
    }
  /** The shell wrote down its state as applied up to `index`; the log up to there may go. */
  | {
      readonly kind: 'snapshot-taken';
      readonly nowMs: number;
      readonly index: LogIndex;
      readonly data: Uint8Array;
    }
  /** What became of a `snapshot-request` in the network: the transport knows sooner than a timeout. */
  | {
      readonly kind: 'snapshot-sent';
      readonly nowMs: number;
      readonly to: PeerId;
      readonly index: LogIndex;
      readonly arrived: boolean;
    }
  /**
   * Quorum loss, on the word of a person: this peer goes on alone, as the only voter of the next incarnation, in a new term.
   * Everything in its log is taken for committed once that membership is durable.
   */
  | { readonly kind: 'recover'; readonly nowMs: number };

/** What the core asks of the shell, to be carried out in order. */
export type RaftEffect =
  /**
   * Make `hardState`, `snapshot` and `entries` durable together; where the log already has an entry at `entries[0].index`,
   * that entry and all after it are replaced. Answer with the event `persisted`. The core itself holds back every message
   * that depends on the write until then, so that `send` never has to wait.
   */
  | {
      readonly kind: 'persist';
      readonly ticket: number;
      readonly hardState: HardState;
      readonly entries: readonly Entry[];
      /** A newer snapshot, of our own state or installed from the leader. */
      readonly snapshot: PersistedSnapshot | undefined;
    }
  | { readonly kind: 'send'; readonly to: PeerId; readonly message: RaftMessage }
  /** Replace the replicated state by that of the snapshot; the next `commit` goes on after it. */
  | { readonly kind: 'restore'; readonly snapshot: Snapshot }
  /**
   * The membership in force changed: by an appended or truncated entry, or by a snapshot. Not necessarily committed. Comes
   * once for a step, and before what is sent to the new members.
   */
  | { readonly kind: 'membership'; readonly membership: Membership }
  | { readonly kind: 'change-refused'; readonly changeId: string; readonly reason: ChangeRefusal }
  /** Committed entries, each exactly once and in order. */
  | { readonly kind: 'commit'; readonly entries: readonly Entry[] }
  | { readonly kind: 'role'; readonly role: Role; readonly term: Term; readonly leader: PeerId | undefined }
  /** A linearizable read may be served from state applied up to `index` (ReadIndex, §6.4). */
  | { readonly kind: 'read-ready'; readonly readId: string; readonly index: LogIndex }
  | { readonly kind: 'read-refused'; readonly readId: string; readonly reason: RefusalReason }
  /**
   * This try of the proposal certainly did not enter a log; an earlier one may have. A proposal of which a try was neither
   * refused nor committed is of unknown outcome.
   */
  | { readonly kind: 'proposal-refused'; readonly proposalId: string; readonly reason: RefusalReason };

/** Where the log on disk begins after a snapshot: it keeps what follows (`base.index`, `base.term`). */
export interface PersistedSnapshot {
  readonly snapshot: Snapshot;
  readonly base: { readonly index: LogIndex; readonly term: Term };
  /**
   * True: the log does not reach the snapshot or differs from it there, so all of it goes (`base` is then the snapshot's own
   * index and term). False: only what lies at or below `base.index` goes.
   */
  readonly replacesLog: boolean;
}

/** Timing and bounds; all durations in milliseconds. */
export interface RaftSettings {
  readonly heartbeatMs: number;
  /** A follower stands for election after `electionMs` plus up to `electionSpreadMs`, at random, without hearing from a leader. */
  readonly electionMs: number;
  /** Up to eight times this after elections that nobody has won. */
  readonly electionSpreadMs: number;
  readonly maxEntriesPerAppend: number;
  readonly maxBytesPerAppend: number;
  readonly maxInflightAppends: number;
  /** Bytes of entries sent to one follower and not yet answered for. */
  readonly maxInflightBytes: number;
  /** Proposals not yet committed on the leader; more are refused with `queue-full`. */
  readonly maxPendingProposals: number;
  readonly maxProposalBytes: number;
  /** Entries kept below a snapshot, so that a follower that is a little behind needs no snapshot. */
  readonly keptEntries: number;
  /** A snapshot that was sent and not answered for is given up after this, and sent again. */
  readonly snapshotTimeoutMs: number;
}

export const DEFAULT_RAFT_SETTINGS: RaftSettings = {
  heartbeatMs: 125,
  electionMs: 500,
  electionSpreadMs: 300,
  maxEntriesPerAppend: 256,
  maxBytesPerAppend: 1 << 20,
  maxInflightAppends: 64,
  maxInflightBytes: 8 << 20,
  maxPendingProposals: 4096,
  maxProposalBytes: 1 << 20,
  keptEntries: 1000,
  snapshotTimeoutMs: 60_000,
};
