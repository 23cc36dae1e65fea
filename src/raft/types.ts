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

/** Who takes part. Voters elect and commit; learners receive the log only. */
export interface Membership {
  readonly voters: readonly PeerId[];
  readonly learners: readonly PeerId[];
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
  | { readonly kind: 'timeout-now'; readonly term: Term };

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
  /** `proposalId` is unique for ever (peer, start of the process, number); forwarded to the leader where need be. */
  | {
      readonly kind: 'propose';
      readonly nowMs: number;
      readonly proposalId: string;
      readonly data: Uint8Array;
    }
  | { readonly kind: 'read'; readonly nowMs: number; readonly readId: string }
  /** All `persist` effects up to and including `ticket` are durable. */
  | { readonly kind: 'persisted'; readonly nowMs: number; readonly ticket: number }
  | { readonly kind: 'transfer'; readonly nowMs: number; readonly to: PeerId };

/** What the core asks of the shell, to be carried out in order. */
export type RaftEffect =
  /**
   * Make `hardState` and `entries` durable together; where the log already has an entry at `entries[0].index`, that entry
   * and all after it are replaced. Answer with the event `persisted`. The core itself holds back every message that
   * depends on the write until then, so that `send` never has to wait.
   */
  | {
      readonly kind: 'persist';
      readonly ticket: number;
      readonly hardState: HardState;
      readonly entries: readonly Entry[];
    }
  | { readonly kind: 'send'; readonly to: PeerId; readonly message: RaftMessage }
  /** Committed entries, each exactly once and in order. */
  | { readonly kind: 'commit'; readonly entries: readonly Entry[] }
  | { readonly kind: 'role'; readonly role: Role; readonly term: Term; readonly leader: PeerId | undefined }
  /** A linearizable read may be served from state applied up to `index` (ReadIndex, §6.4). */
  | { readonly kind: 'read-ready'; readonly readId: string; readonly index: LogIndex }
  | { readonly kind: 'read-refused'; readonly readId: string; readonly reason: RefusalReason }
  /** The proposal certainly did not enter the log here; a proposal that is neither refused nor committed is of unknown outcome. */
  | { readonly kind: 'proposal-refused'; readonly proposalId: string; readonly reason: RefusalReason };

/** Timing and bounds; all durations in milliseconds. */
export interface RaftSettings {
  readonly heartbeatMs: number;
  /** A follower stands for election after `electionMs` plus up to `electionSpreadMs`, at random, without hearing from a leader. */
  readonly electionMs: number;
  readonly electionSpreadMs: number;
  readonly maxEntriesPerAppend: number;
  readonly maxBytesPerAppend: number;
  readonly maxInflightAppends: number;
  /** Bytes of entries sent to one follower and not yet answered for. */
  readonly maxInflightBytes: number;
  /** Proposals not yet committed on the leader; more are refused with `queue-full`. */
  readonly maxPendingProposals: number;
  readonly maxProposalBytes: number;
}

export const DEFAULT_RAFT_SETTINGS: RaftSettings = {
  heartbeatMs: 100,
  electionMs: 500,
  electionSpreadMs: 300,
  maxEntriesPerAppend: 256,
  maxBytesPerAppend: 1 << 20,
  maxInflightAppends: 64,
  maxInflightBytes: 8 << 20,
  maxPendingProposals: 4096,
  maxProposalBytes: 1 << 20,
};
