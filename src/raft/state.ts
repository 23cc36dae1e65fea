// Everything one peer knows, as plain data owned by the caller of `step`. Nothing here decides anything.
// Must stay readable: tests and the status page look straight at these fields.
import type { LogIndex, PeerId, Term } from '../base/ids.ts';
import type { Log } from './log.ts';
import type { Progress } from './progress.ts';
import type { RecentIds } from './recent.ts';
import type {
  Membership,
  MembershipCodec,
  PersistedSnapshot,
  RaftEffect,
  RaftMessage,
  RaftSettings,
  Role,
  Snapshot,
} from './types.ts';

export interface Raft {
  readonly self: PeerId;
  readonly settings: RaftSettings;
  readonly codec: MembershipCodec;

  /** In force: that of the newest `config` entry in the log, committed or not; else the snapshot's; else the initial one. */
  membership: Membership;
  /** Index of the `config` entry that `membership` comes from; 0 where the log holds none. Above `commitIndex`: a pending change. */
  membershipIndex: LogIndex;
  /** Index of the newest `config` entry in the log that is of an earlier incarnation than the one in force; 0 for none. */
  earlierIncarnationIndex: LogIndex;
  /** What the shell was last told is in force. */
  announcedMembership: Membership;
  /** Every `config` entry that the log holds, oldest first. */
  readonly configs: ConfigPosition[];
  /** From the configuration: in force until the log or a snapshot says otherwise. */
  readonly initialMembership: Membership;

  term: Term;
  votedFor: PeerId | undefined;
  role: Role;
  leader: PeerId | undefined;
  readonly log: Log;
  commitIndex: LogIndex;
  /** The newest one, not necessarily durable yet. `log.base.index <= snapshot.index <= commitIndex`. */
  snapshot: Snapshot | undefined;

  /** Monotonic time and random number of the event at hand; there is no other source of either. */
  nowMs: number;
  random: number;
  /** When to stand for election unless a leader is heard from. */
  electionDeadlineMs: number;
  /** When `leader` was last heard from. */
  leaderHeardAtMs: number;
  /** Elections in a row that this peer stood in, that a majority took part in, and that brought no leader. */
  undecided: number;
  /** This peer, and the voters that have answered it since it stood last or heard a leader. */
  answered: Set<PeerId>;

  /** Present exactly while `role` is `pre-candidate` or `candidate`: the votes received. */
  ballot: Map<PeerId, boolean> | undefined;
  /** Present exactly while `role` is `leader`. */
  leading: Leading | undefined;
  readonly durability: Durability;
  /** Reads of this peer that the leader was asked for: readId -> deadline. */
  readonly forwardedReads: Map<string, number>;
  /** How often this process passed a proposal on. */
  attemptCount: number;
  /** What others passed on to us lately: a message that arrives twice is decided once. */
  readonly seenAttempts: RecentIds;

  /** Effects of the step at hand, in order. */
  effects: RaftEffect[];
}

export interface ConfigPosition {
  readonly index: LogIndex;
  readonly membership: Membership;
}

export interface Leading {
  /** Index of the no-op that began this term; nothing may be read before it is committed (§6.4). */
  readonly termStartIndex: LogIndex;
  /** Every other voter and learner of the membership in force. */
  readonly progress: Map<PeerId, Progress>;
  /** Number of the last round of appends or heartbeats begun in this term. */
  round: number;
  heartbeatDueMs: number;
  transfer: Transfer | undefined;
  /** Ids of the latest proposals that entered the log in this term, each once however often it is tried. */
  readonly accepted: RecentIds;
  /** In order of arrival. */
  reads: PendingRead[];
}

export interface Transfer {
  readonly to: PeerId;
  readonly deadlineMs: number;
  timeoutNowSent: boolean;
}

export interface PendingRead {
  readonly readId: string;
  /** The follower that asked; `undefined` for a read of our own. */
  readonly from: PeerId | undefined;
  readonly deadlineMs: number;
  /** The commit index when the read was taken up, and the heartbeat round that must confirm it; absent before that. */
  confirm: { readonly index: LogIndex; readonly round: number } | undefined;
}

export interface Durability {
  /** Number of the last `persist` effect. */
  issuedTicket: number;
  /** Everything up to this ticket is durable. */
  durableTicket: number;
  /** Last index known durable here and not truncated since. */
  durableIndex: LogIndex;
  /** First index that no `persist` effect carries yet. */
  unissuedIndex: LogIndex;
  /** A snapshot that no `persist` effect carries yet. */
  snapshot: PersistedSnapshot | undefined;
  /** Whether term or vote changed since the last `persist` effect. */
  hardStateDirty: boolean;
  /** The last ticket that carried a changed term or vote. */
  hardStateTicket: number;
  /** Tickets issued and not yet durable, oldest first. */
  writes: InflightWrite[];
  /** Messages that wait for a write. */
  held: HeldMessage[];
  /** The disk has not answered for several election timeouts: this peer must not lead. */
  stalled: boolean;
}

export interface InflightWrite {
  readonly ticket: number;
  readonly issuedAtMs: number;
  /** Of the snapshot it carries, for which even a healthy disk needs time. */
  readonly snapshotBytes: number;
  /** Last index this write makes durable; lowered when entries it carries are replaced before it completes. */
  lastIndex: LogIndex;
}

export interface HeldMessage {
  readonly to: PeerId;
  readonly message: RaftMessage;
  /** Our term when it was made; it is dropped when the term changes. */
  readonly term: Term;
  readonly afterTicket: number;
  readonly afterIndex: LogIndex;
}
