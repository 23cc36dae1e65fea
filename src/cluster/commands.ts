// What may be written to the log. Each command is a proposal: `apply` checks it again against the state it meets, so a
// command that no longer fits is refused there, on every peer alike. The wire form is in codec.ts.
import type { Epoch, GroupId, LogIndex, MemberId, NodeId, PeerId, Timeline } from '../base/ids.ts';
import type { Lsn } from '../base/lsn.ts';

/**
 * Every acknowledged commit was flushed by at least `acks` of `members`; `acks` 0 means that the primary runs alone. More acks than
 * members: nothing can be acknowledged, until others have joined (durability `strict`, after a promotion).
 */
export interface SyncRule {
  readonly members: readonly MemberId[];
  readonly acks: number;
  /**
   * Present only where `acks` is 0 (durability `async`): the primary accepts writes only under a lease, and another node may be
   * promoted once that has run out, without what it had not received.
   */
  readonly leased?: true;
}

/**
 * What a commit waits for. `quorum`: standbys, as long as there are any; `strict`: standbys, always; `async`: none, and a failover
 * may lose the last writes.
 */
export type Durability = 'quorum' | 'strict' | 'async';

/** What its owners want of a group. In the log, so that every peer decides by the same. */
export interface GroupSettings {
  readonly durability: Durability;
  /** Standbys that flush a commit before it is acknowledged, 1 or more; with `quorum` all of them where there are fewer. Unused with `async`. */
  readonly acks: number;
  /** `async`: how long the primary may accept writes after it asked a leader that has a quorum. */
  readonly leaseMs: number;
  /** `async`: no standby that is known to lack more than this is promoted without a person's word. */
  readonly maxLagBytes: number;
  /** So many failovers within `failoverWindowMs` make the group hold until a person acknowledges them. */
  readonly maxFailovers: number;
  readonly failoverWindowMs: number;
  /** How long the replication slots of a member that is absent are kept. */
  readonly slotRetentionMs: number;
  /** How much WAL a replication slot may keep. */
  readonly maxSlotWalBytes: number;
  /** What a failover makes of the sites that peers are in; see eligibility.ts. */
  readonly sitePolicy: SitePolicy;
  /** Which node, or a node of which site, is made the primary again once it has streamed well for `failbackAfterMs`. */
  readonly failback: Failback;
  readonly failbackAfterMs: number;
}

/**
 * `prefer`: of candidates that stand equally far, one in the site of the old primary goes first. `majority`: that, and where one site holds more
 * than half of the voters, no node of another site is promoted or counted.
 */
export type SitePolicy = 'ignore' | 'prefer' | 'majority';

/** A node or site by its name. */
export type Failback = 'off' | `node:${string}` | `site:${string}`;

/** What a logical replication slot is to be. */
export interface LogicalSlotWanted {
  readonly database: string;
  readonly plugin: string;
  readonly isTwoPhase: boolean;
}

export interface LogicalSlotChange {
  readonly name: string;
  /** Undefined: it is dropped. */
  readonly wanted: LogicalSlotWanted | undefined;
}

/** A parameter of PostgreSQL that a group's servers are given; lower case. `value` undefined: no longer. */
export interface ParameterChange {
  readonly name: string;
  readonly value: string | undefined;
}

/** Why one peer holds a node for down. The kinds are those of docs/detection.md. */
export type Evidence =
  /** The node's own agent saw every PostgreSQL process gone. */
  | 'processes-gone'
  /** The open connection was closed or reset and new ones are refused. */
  | 'refused'
  /** No answer, or new connections hang. */
  | 'no-answer'
  /** It answers, but writes fail: disk full, read-only, hung fsync. */
  | 'write-failing'
  /** "starting up" or "in recovery" for too long where a primary is expected. */
  | 'in-recovery';

/** Why a failover begins. */
export type FailoverCause =
  /** A quorum of standing subjective-down entries. */
  | { readonly kind: 'down' }
  /** A person asked for it: switchover while the primary is well. */
  | { readonly kind: 'planned'; readonly to: NodeId | undefined }
  /** The promotion of this epoch was reported as failed by its own agent. */
  | { readonly kind: 'promotion-failed' }
  /** A person accepts that acknowledged writes may be lost, where no node is sure to hold them all. */
  | { readonly kind: 'forced'; readonly to: NodeId | undefined };

/** A switchover that begins by itself at a wall time of the leader's host, in milliseconds since 1970. */
export interface ScheduledSwitchover {
  readonly atMs: number;
  readonly to: NodeId | undefined;
}

/** A restart of one node's PostgreSQL at a wall time of the leader's host, in milliseconds since 1970. */
export interface ScheduledRestart {
  readonly atMs: number;
  /** Also of a primary. */
  readonly inPlace: boolean;
  /** It has begun: when the PostgreSQL that is to be replaced had started, in seconds since 1970 by its own host. */
  readonly serverStartedAtS?: number;
}

/** Where the recovery of a restored data directory has stopped. */
export interface RestoreReached {
  readonly systemIdentifier: string;
  readonly timeline: Timeline;
  readonly position: Lsn;
  /** The highest that the archive and the data directory know of. */
  readonly highestTimeline: Timeline;
  /** What was asked for; for people. */
  readonly target: string;
  /** Wall time (ms since 1970) of the last transaction that was recovered; undefined where there was none. */
  readonly lastTransactionMs: number | undefined;
}

/** Whose word it is that a node is off. */
export type OffWitness = 'fence-command' | 'operator';

/**
 * What its agent does to the PostgreSQL of a node that is removed. `leave`: it runs on, cut off from its upstream; `destroy`: it is
 * stopped, and its data directory removed.
 */
export type Leaving = 'leave' | 'stop' | 'destroy';

/** Where a member stands after it cut its WAL streams: timeline of its last valid record, and that record's end. */
export interface CutReport {
  readonly node: NodeId;
  readonly member: MemberId;
  readonly timeline: Timeline;
  readonly position: Lsn;
  /** True where PostgreSQL is stopped (the former primary); false for a standby that is up and cut. */
  readonly stopped: boolean;
}

/** One branch of timelines: `timeline` left `parent` at `switchLsn`. */
export interface TimelineBranch {
  readonly timeline: Timeline;
  readonly parent: Timeline;
  readonly switchLsn: Lsn;
}

/** The timelines of another site. */
export interface SiteHistory {
  /** The present one. */
  readonly timeline: Timeline;
  /** The way to it. */
  readonly branches: readonly TimelineBranch[];
}

/** A node as its own agent describes it. */
export interface NodeRegistration {
  readonly node: NodeId;
  readonly group: GroupId;
  /** The peer whose agent manages the node. */
  readonly peer: PeerId;
  readonly host: string;
  readonly port: number;
  /** Absent until the node has a data directory of its own. */
  readonly member: MemberId | undefined;
  /** PostgreSQL's system identifier, in decimal; absent without a data directory. */
  readonly systemIdentifier: string | undefined;
  readonly priority: number;
  /** Absent: none. */
  readonly options?: NodeOptions;
}

/** What its configuration says of the part a node takes. */
export interface NodeOptions {
  /** It is never promoted, unless a person forces it by its name. */
  readonly noFailover: boolean;
  /** No commit waits for it. */
  readonly noSync: boolean;
  /** It replays so much later than its primary wrote (`recovery_min_apply_delay`): it is never promoted either. 0: at once. */
  readonly applyDelayMs: number;
  /** The standby that it streams from, while that is well: then, and as long as this stands, no commit waits for it. Absent: the primary. */
  readonly upstream?: NodeId;
  /** The servers of another site that it can stream from, such as `a:5432,b:5432`: then its group begins by following that. */
  readonly source?: string;
}

/** What a peer's configuration says of its host. */
export interface HostDeclaration {
  /** Undefined: it runs no PostgreSQL, it is a witness. */
  readonly runs: HostedNode | undefined;
  /** Servers that are to be watched and nothing else, in the order of their names, each once. */
  readonly watch: readonly WatchedServer[];
}

export interface HostedNode {
  readonly node: NodeId;
  readonly group: GroupId;
  /** The named set of groups that the group belongs to. */
  readonly formation: string;
}

/** A PostgreSQL server that is only watched: it is told of, and never touched. */
export interface WatchedServer {
  readonly server: NodeId;
  readonly host: string;
  readonly port: number;
  readonly formation: string;
}

/** How a watched server is. */
export type ServerWord =
  | {
      readonly kind: 'up';
      /** Undefined: it does not let us in to ask. */
      readonly role: 'primary' | 'standby' | undefined;
      readonly timeline: Timeline | undefined;
    }
  | { readonly kind: 'down'; readonly evidence: Evidence };

export type Command =
  | ({ readonly kind: 'register-node' } & NodeRegistration)
  /** Chooses the group's first primary; the index at which it commits is the group's first epoch. */
  | { readonly kind: 'create-group'; readonly group: GroupId; readonly primary: NodeId }
  /** The first primary is up and takes writes. */
  | {
      readonly kind: 'group-ready';
      readonly group: GroupId;
      readonly epoch: Epoch;
      readonly member: MemberId;
      readonly systemIdentifier: string;
      readonly timeline: Timeline;
    }
  | {
      readonly kind: 'subjective-down';
      readonly peer: PeerId;
      readonly node: NodeId;
      readonly epoch: Epoch;
      readonly evidence: Evidence;
    }
  | { readonly kind: 'subjective-up'; readonly peer: PeerId; readonly node: NodeId; readonly epoch: Epoch }
  | {
      readonly kind: 'begin-failover';
      readonly group: GroupId;
      readonly epoch: Epoch;
      readonly cause: FailoverCause;
      /** The switchover is the one that is scheduled for this time: it is scheduled no longer. */
      readonly scheduledAtMs?: number;
      /** The switchover is the one that the group's `failback` asks for. */
      readonly isFailback?: true;
    }
  | ({
      readonly kind: 'cut-report';
      readonly group: GroupId;
      readonly epoch: Epoch;
      /** The node had ended its fetch of WAL by then, if it had one: an earlier report may still come in after that. */
      readonly afterFetch?: true;
      /** What it holds is not known to be from the other site that its group has followed; see site-history.ts. */
      readonly isStrange?: true;
    } & CutReport)
  | {
      readonly kind: 'promote';
      readonly group: GroupId;
      readonly epoch: Epoch;
      readonly candidate: NodeId;
      readonly timeline: Timeline;
      readonly rule: SyncRule;
    }
  | {
      readonly kind: 'promoted';
      readonly group: GroupId;
      readonly epoch: Epoch;
      readonly node: NodeId;
      readonly timeline: Timeline;
      readonly switchLsn: Lsn;
    }
  | {
      readonly kind: 'promotion-failed';
      readonly group: GroupId;
      readonly epoch: Epoch;
      readonly node: NodeId;
      readonly reason: string;
    }
  /**
   * A standby that has cut its streams takes what it lacks from another one that has, too, so that it can be promoted: it connects to that
   * one alone, cuts itself off again, and reports anew (apply-fetch.ts).
   */
  | {
      readonly kind: 'fetch-wal';
      readonly group: GroupId;
      readonly epoch: Epoch;
      readonly node: NodeId;
      readonly from: NodeId;
      /** Another node could be promoted as it is: little time is given for this one. */
      readonly preference?: true;
    }
  /** It is waited for no longer; the node itself, or the leader, says so. */
  | {
      readonly kind: 'fetch-failed';
      readonly group: GroupId;
      readonly epoch: Epoch;
      readonly node: NodeId;
      readonly reason: string;
    }
  /** A cascading standby streams from the upstream that its owners gave it, or, where that is left out, from the primary. */
  | {
      readonly kind: 'use-upstream';
      readonly group: GroupId;
      readonly epoch: Epoch;
      readonly node: NodeId;
      readonly upstream: NodeId | undefined;
    }
  /** Gives the group back to its primary with the same rule, nobody having been promoted: a false alarm. */
  | { readonly kind: 'resume'; readonly group: GroupId; readonly epoch: Epoch }
  | {
      readonly kind: 'begin-rule-change';
      readonly group: GroupId;
      readonly epoch: Epoch;
      readonly next: SyncRule;
    }
  /** The primary has verified that it enforces `next` and that `next.acks` members flushed all it acknowledged before. */
  | {
      readonly kind: 'commit-rule';
      readonly group: GroupId;
      readonly epoch: Epoch;
      readonly change: LogIndex;
    }
  /** A person changes what is wanted of a group. What is not named stays, whoever has changed it meanwhile. */
  | {
      readonly kind: 'change-settings';
      readonly group: GroupId;
      readonly settings: Partial<GroupSettings>;
    }
  /** As `change-settings`, with parameters of PostgreSQL, and recorded with who asked for it. What is not named stays. */
  | {
      readonly kind: 'configure';
      readonly group: GroupId;
      readonly settings: Partial<GroupSettings>;
      /** In the order of their names, each once. */
      readonly parameters: readonly ParameterChange[];
      /** Rules for pg_hba.conf, in the place of those before; left out: those stay. */
      readonly hba?: readonly string[];
      /** In the order of their names, each once. */
      readonly logicalSlots?: readonly LogicalSlotChange[];
      /** Only where nothing has changed since that revision. */
      readonly onlyRevision?: LogIndex;
      /** By their own word; for people. */
      readonly by: string;
    }
  /** The node's PostgreSQL is stopped and stays so; it is neither member nor candidate until it is unfenced. */
  | { readonly kind: 'fence-node'; readonly node: NodeId }
  | { readonly kind: 'unfence-node'; readonly node: NodeId }
  /** A person has looked at the failovers so far: the group may fail over by itself again. */
  | { readonly kind: 'acknowledge-failovers'; readonly group: GroupId }
  /** Proof, for a failover under way, that the node's host is off or its PostgreSQL stopped for good. */
  | {
      readonly kind: 'node-off';
      readonly group: GroupId;
      readonly epoch: Epoch;
      readonly node: NodeId;
      readonly by: OffWitness;
    }
  /** A fence command could not switch the node off. For people; the leader tries again. */
  | {
      readonly kind: 'fence-failed';
      readonly group: GroupId;
      readonly epoch: Epoch;
      readonly node: NodeId;
      readonly reason: string;
    }
  /** Replaces the one that is scheduled; `at` undefined: none any more. */
  | {
      readonly kind: 'schedule-switchover';
      readonly group: GroupId;
      readonly at: ScheduledSwitchover | undefined;
      /** Only in the place of the one that is scheduled for this time. */
      readonly onlyAtMs?: number;
    }
  /**
   * Until it is ended: the group does not fail over by itself, or, of a node, its agent leaves PostgreSQL as it is and the node is neither
   * member nor candidate. A paused primary goes on, and its group does not fail over by itself. Takes the place of an earlier one.
   */
  | {
      readonly kind: 'pause';
      readonly group: GroupId;
      readonly node: NodeId | undefined;
      /** Of a node: a person works on it, so it cannot be the primary. */
      readonly isMaintenance: boolean;
      /** Wall time (ms since 1970) at which the leader proposes its end. */
      readonly untilMs: number | undefined;
    }
  | {
      readonly kind: 'end-pause';
      readonly group: GroupId;
      readonly node: NodeId | undefined;
      /** Only the one that was to last until then. */
      readonly onlyUntilMs?: number;
    }
  /**
   * The node leaves its group and the log, and is not registered again before it is readmitted. Of one that was removed already: its agent
   * is to do more than it was told at first.
   */
  | {
      readonly kind: 'remove-node';
      readonly group: GroupId;
      readonly node: NodeId;
      readonly leaving: Leaving;
      /** After a recovery of the log: what the node alone may hold is given up. */
      readonly acceptsLoss?: true;
    }
  | { readonly kind: 'readmit-node'; readonly group: GroupId; readonly node: NodeId }
  /** `acks` of the rule's members have flushed the switch point of the last promotion. */
  | { readonly kind: 'floor-passed'; readonly group: GroupId; readonly epoch: Epoch }
  /** A peer's process has started: what it proposes from now on counts once, and what its earlier runs proposed no longer. */
  | {
      readonly kind: 'open-session';
      readonly peer: PeerId;
      /** Random, new for each start of the process. */
      readonly session: string;
      /** Random id of the peer's Raft store. */
      readonly store: string;
      /** The highest feature level this version knows. */
      readonly features: number;
      /** How far the proposer had applied the log: a late copy has not seen the session that replaced it, and is refused. */
      readonly seenIndex: LogIndex;
    }
  /** The member's node is not heard, or does not stream: for how long its slots are kept counts from here. */
  | { readonly kind: 'mark-absent'; readonly group: GroupId; readonly member: MemberId }
  /** It was absent for longer than its slots are kept: every node drops them. */
  | { readonly kind: 'give-up-slot'; readonly group: GroupId; readonly member: MemberId }
  /** It is back: every node keeps a slot for it. */
  | { readonly kind: 'mark-present'; readonly group: GroupId; readonly member: MemberId }
  /**
   * Creates a group out of servers that run already and that somebody else has made: the primary goes on as it is, unprotected, and its
   * standbys are taken over one after the other.
   */
  | {
      readonly kind: 'adopt-group';
      readonly group: GroupId;
      readonly primary: NodeId;
      readonly systemIdentifier: string;
      readonly timeline: Timeline;
      /** In the order of their turns. */
      readonly standbys: readonly NodeId[];
    }
  /** The server of an adopted node runs with our settings now. */
  | {
      readonly kind: 'node-adopted';
      readonly group: GroupId;
      readonly epoch: Epoch;
      readonly node: NodeId;
    }
  /**
   * The group goes on with another database, which its primary's data directory holds: what pg_upgrade has made, for one. It begins anew with that
   * primary, under its name and with its settings; every other node joins it by a clone.
   */
  | {
      readonly kind: 'replace-database';
      readonly group: GroupId;
      readonly epoch: Epoch;
      readonly primary: NodeId;
      /** System identifiers of the database before and of the one after. */
      readonly from: string;
      readonly to: string;
    }
  /**
   * As `create-group`, with a first data directory that the administrator's command restores. `reached`: of the first primary at that epoch,
   * whose recovery has come to its target; a timeline is assigned to it.
   */
  | {
      readonly kind: 'restore-group';
      readonly group: GroupId;
      readonly primary: NodeId;
      readonly reached?: RestoreReached & { readonly epoch: Epoch };
    }
  /** Replaces the one that is scheduled for the node; `at` undefined: none any more. */
  | {
      readonly kind: 'schedule-restart';
      readonly group: GroupId;
      readonly node: NodeId;
      readonly at: ScheduledRestart | undefined;
      /** Only in the place of the one that is scheduled for this time. */
      readonly onlyAtMs?: number;
      /** What has become of it; for people. */
      readonly outcome?: string;
    }
  /** The primary's agent is about to make a logical slot, there being none, has made it, found one as asked for, has lost it, or there is none any more that it would have to drop. */
  | {
      readonly kind: 'logical-slot';
      readonly group: GroupId;
      readonly epoch: Epoch;
      readonly node: NodeId;
      readonly name: string;
      /** Index of the entry that asked for the slot. */
      readonly setAt: LogIndex;
      readonly outcome: 'making' | 'made' | 'found' | 'lost' | 'gone';
      /** Of one that is lost, for people. */
      readonly reason: string | undefined;
    }
  /**
   * That node is the site leader: it streams from a primary of another site, and the others of its group from it. Without an epoch the group
   * begins with it.
   */
  | {
      readonly kind: 'lead-site';
      readonly group: GroupId;
      readonly epoch: Epoch | undefined;
      readonly node: NodeId;
      /** On a person's word: the present one may be well. */
      readonly isAsked?: true;
    }
  /** On a person's word: the group follows the other site no longer, and its best node becomes the primary. */
  | {
      readonly kind: 'promote-site';
      readonly group: GroupId;
      readonly epoch: Epoch;
      /** That node and no other, whatever is lost. */
      readonly to?: NodeId;
    }
  /** The site leader says which way the other site's timelines have come, as the primary there has told it. */
  | {
      readonly kind: 'tell-site';
      readonly group: GroupId;
      readonly epoch: Epoch;
      readonly node: NodeId;
      readonly history: SiteHistory;
    }
  /** From here on the log may hold what level `level` brought (features.ts). */
  | { readonly kind: 'set-feature-level'; readonly level: number }
  /** A peer says which site it is in; undefined: none. */
  | { readonly kind: 'describe-peer'; readonly peer: PeerId; readonly site: string | undefined }
  /** A peer says what its configuration has of its host, in the place of what it said before. */
  | { readonly kind: 'declare-host'; readonly peer: PeerId; readonly host: HostDeclaration }
  /** What one peer sees of a watched server. */
  | {
      readonly kind: 'judge-server';
      readonly peer: PeerId;
      readonly server: NodeId;
      readonly word: ServerWord;
    }
  /** What a majority of the voters sees of it, and has not seen before. */
  | {
      readonly kind: 'conclude-server';
      readonly server: NodeId;
      readonly word: ServerWord;
      /** The conclusion that it replaces. */
      readonly before: ServerWord | undefined;
    };

/** A command as it stands in the log. */
export interface Envelope {
  /**
   * The run of the proposing process, opened by an `open-session` of its own. Empty in entries of the first format, which are applied
   * as often as they come.
   */
  readonly session: string;
  /** 1, 2, 3... within the session; 0 for its `open-session`, which may come more than once. */
  readonly sequence: number;
  /** The proposer waits for none of its proposals below this one any more: those that come later have no effect. */
  readonly answeredBelow: number;
  /** Wall time at the proposer, for people. All that goes by it is when a group holds after too many failovers, and how soon a failback may follow another. */
  readonly proposedAtMs: number;
  readonly command: Command;
}

/** Unique for ever. The proposer learns the outcome by it, and Raft tells proposals apart by it. */
export function proposalIdOf(envelope: Pick<Envelope, 'session' | 'sequence'>): string {
  return `${envelope.session}-${envelope.sequence}`;
}
