// What the daemon sees of the network: messages out without waiting, messages in by callback. No gRPC type leaves this folder.
import type { LogIndex, NodeId, PeerId } from '../base/ids.ts';
import type {
  GroupSettings,
  LogicalSlotChange,
  LogicalSlotWanted,
  ParameterChange,
  ScheduledSwitchover,
} from '../cluster/commands.ts';
import type { AgentReport, Upkeep } from '../cluster/report.ts';
import type { LogicalSlot, SettingsDifference, SettingsRecord } from '../cluster/state.ts';
import type { RaftMessage } from '../raft/types.ts';

export interface PeerAddress {
  readonly peer: PeerId;
  readonly host: string;
  readonly port: number;
}

/** What decides whom this peer talks to; it changes with the log. */
export interface TransportIdentity {
  /** Of the latest committed membership; 0: nothing is known yet (a joining peer), and every peer of the cluster is listened to. */
  readonly incarnation: number;
  /** Voters and learners of that membership and of those in the log that may still be truncated; may include this peer. */
  readonly members: Iterable<PeerId>;
  /** The stores that the log has registered for each peer; one that comes with another is refused: its disk was replaced. */
  readonly storeIds: ReadonlyMap<PeerId, ReadonlySet<string>>;
  /**
   * Log index of the entry (or snapshot) that the committed membership comes from; 0 or left out: the initial one. A peer that
   * is no member here is still listened to when its own membership is newer than ours: it joined while this peer was away, and
   * may be the leader that has to tell so (thesis §4.1).
   */
  readonly membershipIndex?: number | undefined;
  /** The same of the latest membership in this peer's log, committed or not; left out: that of the committed one. */
  readonly logMembershipIndex?: number | undefined;
  /** The peers that the cluster began with, in the order of their names; left out or empty: not known. */
  readonly founders?: readonly PeerId[] | undefined;
}

export interface Transport {
  /**
   * Never waits; what does not fit into the bounded queue of that peer is dropped (Raft sends again). A `snapshot-request` goes
   * out in chunks on a connection of its own, one at a time for each peer; its end is told to `handlers.onSnapshotSent`.
   */
  send(to: PeerId, message: RaftMessage): void;
  /** Sends the latest report to every other peer; a newer one replaces one not yet sent. */
  broadcastReport(report: AgentReport): void;
  /** Whether a peer has been heard from within the last `withinMs`. */
  isReachable(peer: PeerId, withinMs: number): boolean;
  /** The peers that answered within the last `withinMs` that this one has no part in their cluster, and why. */
  refusals(withinMs: number): readonly { readonly peer: PeerId; readonly reason: string }[];
  /**
   * Why the process of that name that called last must not take part as it is: it was founded with other peers. Undefined where it has not called
   * within the last `withinMs`: it may have been put right since.
   */
  foundingConflict(peer: PeerId, withinMs: number): string | undefined;
  /**
   * The other peers and where they are, from now on (this peer itself is passed over). Links to peers that are left out are
   * closed, those to another address opened anew. Before {@link setIdentity}, where both change.
   */
  setPeers(peers: readonly PeerAddress[]): void;
  /** Judges every open link again and closes those that are no longer right. */
  setIdentity(identity: TransportIdentity): void;
  close(): Promise<void>;
}

/** All are called from the network: they may only enqueue. */
export interface TransportHandlers {
  onMessage(from: PeerId, message: RaftMessage): void;
  onReport(from: PeerId, report: AgentReport): void;
  /** Refused connection of a peer that belongs elsewhere; said once for each peer and reason. */
  onRefused(detail: string): void;
  /** A peer of this cluster lives in a later incarnation: the cluster was recovered without this peer. Said once for each. */
  onHigherIncarnation(from: PeerId, incarnation: number): void;
  /** The end of a `snapshot-request`: `arrived` when the receiver has it whole (not yet durable), false when it was given up. */
  onSnapshotSent(to: PeerId, index: LogIndex, arrived: boolean): void;
}

/** Answers of the admin service; every peer serves it. Times are wall-clock milliseconds, for people. */
export interface AdminHandlers {
  status(): StatusView;
  /** Calls `listener` at once and after every change (at most every 50 ms) until the signal aborts. */
  watch(listener: (status: StatusView) => void, signal: AbortSignal): void;
  /** `sentinelctl failover`. Forwarded to the leader by the log itself. */
  failover(request: FailoverRequest, signal: AbortSignal): Promise<FailoverOutcome>;
  steer(request: SteerRequest, signal: AbortSignal): Promise<SteerOutcome>;
  settings(request: { readonly group: string | undefined }): SettingsOutcome;
  /** The latest `limit` events, oldest first. */
  events(request: { readonly group: string | undefined; readonly limit: number }): readonly EventView[];
  readonly peers: PeerHandlers;
}

/** `sentinelctl peer`. `signal` aborts when the caller is gone. Changes are for the leader; recover is for the peer asked. */
export interface PeerHandlers {
  list(): PeerListView;
  /** Adds a learner and, unless `learnerOnly`, promotes it when it has caught up. `address` is `host:port`. */
  add(
    request: { readonly peer: PeerId; readonly address: string; readonly learnerOnly: boolean },
    signal: AbortSignal,
  ): Promise<PeerChangeOutcome>;
  promote(request: { readonly peer: PeerId }, signal: AbortSignal): Promise<PeerChangeOutcome>;
  remove(request: { readonly peer: PeerId }, signal: AbortSignal): Promise<PeerChangeOutcome>;
  move(
    request: { readonly peer: PeerId; readonly address: string },
    signal: AbortSignal,
  ): Promise<PeerChangeOutcome>;
  /** Hands leadership over. */
  transfer(request: { readonly to: PeerId }, signal: AbortSignal): Promise<PeerChangeOutcome>;
  /** Quorum loss: this peer goes on alone. `lost` are the voters that a person says are gone for good. */
  recover(request: { readonly lost: readonly PeerId[] }, signal: AbortSignal): Promise<PeerChangeOutcome>;
}

export type PeerChangeOutcome =
  /** `detail`: what was done, one sentence for a person. */
  | { readonly kind: 'done'; readonly detail: string }
  | { readonly kind: 'refused'; readonly reason: string }
  /** `leader`: where to ask instead, if known. */
  | {
      readonly kind: 'not-leader';
      readonly leader?: { readonly peer: string; readonly address: string } | undefined;
    };

export interface PeerListView {
  readonly cluster: string;
  readonly incarnation: number;
  readonly featureLevel: number;
  readonly leader: string | undefined;
  readonly peers: readonly PeerListEntry[];
}

export interface PeerListEntry {
  readonly peer: string;
  readonly address: string;
  readonly kind: 'voter' | 'learner';
  readonly role: PeerView['role'];
  readonly reachable: boolean;
  /** The last entry known to be on that peer's disk; only the leader knows it of others. */
  readonly matchIndex: number | undefined;
  /** Entries that it lacks of the leader's log; only the leader knows. */
  readonly lagEntries: number | undefined;
  /** Up to where its log is compacted, or the snapshot being sent to it reaches. */
  readonly snapshotIndex?: number | undefined;
  /** Highest feature level its version has; undefined until it has opened a session. */
  readonly features: number | undefined;
  readonly session?: string | undefined;
}

export interface FailoverRequest {
  /** May be left out where there is only one. */
  readonly group: string | undefined;
  readonly to: NodeId | undefined;
  /** Only says what would happen. */
  readonly dryRun?: boolean;
  /** Acknowledged writes may be lost. */
  readonly acceptDataLoss?: boolean;
  /** With `acceptDataLoss`: a person's word that the primary's host is off, or its PostgreSQL stopped for good. */
  readonly oldPrimaryIsOff?: boolean;
}

/** Those of {@link SteerRequest} whose dry run is a request of its own, `plan`. */
export type PlannedRequest =
  /** Its PostgreSQL is stopped and stays so; a primary is switched over first. */
  | { readonly kind: 'fence'; readonly node: NodeId }
  | { readonly kind: 'unfence'; readonly node: NodeId }
  /** The failovers so far: the group may fail over by itself again. */
  | { readonly kind: 'acknowledge'; readonly group: string | undefined }
  | {
      readonly kind: 'schedule';
      readonly group: string | undefined;
      /** Undefined: none any more. */
      readonly at: ScheduledSwitchover | undefined;
    }
  /** What is left out stays as it is. */
  | {
      readonly kind: 'settings';
      readonly group: string | undefined;
      readonly change: Partial<GroupSettings>;
      /** Of PostgreSQL, in the order of their names, each once. */
      readonly parameters?: readonly ParameterChange[];
      /** Rules for pg_hba.conf, in the place of those before. */
      readonly hba?: readonly string[];
      /** In the order of their names, each once. */
      readonly logicalSlots?: readonly LogicalSlotChange[];
      /** Only where nothing has changed since that revision. */
      readonly onlyRevision?: LogIndex;
      /** Who asks, by their own word. */
      readonly by?: string;
    };

/** What a person asks of a group or a node beside a failover. Groups may be left out where there is only one. */
export type SteerRequest =
  | PlannedRequest
  /** Only says what would happen, or why it could not be done; nothing is changed. */
  | { readonly kind: 'plan'; readonly of: PlannedRequest }
  /** The group does not fail over by itself; with `node`, its agent leaves that node's PostgreSQL alone. */
  | {
      readonly kind: 'pause';
      readonly group: string | undefined;
      readonly node: NodeId | undefined;
      /** Undefined: until it is resumed. */
      readonly forMs: number | undefined;
      readonly dryRun: boolean;
    }
  /** Of a node: from maintenance too. */
  | {
      readonly kind: 'resume';
      readonly group: string | undefined;
      readonly node: NodeId | undefined;
      readonly dryRun: boolean;
    }
  /** A primary is switched over first, to `to` where that is given. */
  | {
      readonly kind: 'maintenance';
      readonly node: NodeId;
      readonly to: NodeId | undefined;
      readonly forMs: number | undefined;
      readonly dryRun: boolean;
    }
  /**
   * Carried out by the node's own agent; unregister, drop and register by any peer. `inPlace`: a restart also of a primary. `destroy`: a drop
   * removes its data directory as well. `acceptsLoss`: of an unregister or a drop after a recovery of the log.
   */
  | {
      readonly kind: 'node';
      readonly node: NodeId;
      readonly action: NodeAction;
      readonly inPlace: boolean;
      readonly dryRun: boolean;
      readonly destroy?: true;
      readonly acceptsLoss?: true;
    }
  /** Of one node, at a wall time (ms since 1970) of the leader's host; undefined: none any more. */
  | {
      readonly kind: 'schedule-restart';
      readonly node: NodeId;
      readonly atMs: number | undefined;
      readonly inPlace: boolean;
      readonly dryRun: boolean;
    }
  /** A group is made of servers that run already. */
  | { readonly kind: 'adopt'; readonly group: string | undefined; readonly dryRun: boolean }
  /** A group that follows another site becomes an ordinary one. */
  | {
      readonly kind: 'promote-site';
      readonly group: string | undefined;
      readonly dryRun: boolean;
      /** That node and no other, whatever is lost. */
      readonly to?: NodeId;
    }
  /** Another node of its group streams from the other site. `acceptsLoss`: of what was written here, if it was promoted in a part of the log that is lost. */
  | {
      readonly kind: 'lead-site';
      readonly node: NodeId;
      readonly dryRun: boolean;
      readonly acceptsLoss?: true;
    };

export const NODE_ACTIONS = [
  'restart',
  'reload',
  'reinit',
  'rejoin',
  'unregister',
  'drop',
  'register',
  'follow',
  'replace-database',
] as const;
export type NodeAction = (typeof NODE_ACTIONS)[number];

export type SteerOutcome =
  /** `detail`: what was done, one sentence for a person. `settings`: of a plan of settings. */
  | { readonly kind: 'done'; readonly detail: string; readonly settings?: SettingsPlan }
  | { readonly kind: 'refused'; readonly reason: string }
  /** Only the peer whose agent looks after the node can do it. `address`: `host:port`. */
  | { readonly kind: 'elsewhere'; readonly peer: string; readonly address: string };

/** What a change of settings would change. */
export interface SettingsPlan {
  readonly changes: readonly SettingsDifference[];
  /** Parameters among them that PostgreSQL takes at its next start only. */
  readonly lateParameters: readonly string[];
  /** The nodes that would have to be restarted for them. */
  readonly restartNodes: readonly string[];
}

/** What is wanted of a group, in the log. */
export interface SettingsView {
  readonly group: string;
  /** Index of the entry that last changed them; 0: none has. */
  readonly revision: LogIndex;
  readonly settings: GroupSettings;
  readonly parameters: readonly ParameterView[];
  /** Parameters that are not set for the group and wait for a restart all the same, such as one that was unset; left out where there is none. */
  readonly pendingOthers?: readonly { readonly name: string; readonly nodes: readonly string[] }[];
  /** Rules for pg_hba.conf, in their order. */
  readonly hba: readonly string[];
  /** Nodes on which they are not in force, or not known to be. */
  readonly hbaPending: readonly { readonly node: string; readonly reason: string }[];
  /** In the order of their names. */
  readonly logicalSlots: readonly LogicalSlotView[];
  /** The latest changes, oldest first. */
  readonly history: readonly SettingsRecord[];
}

/** A logical replication slot, and how it stands on the nodes. */
export interface LogicalSlotView {
  readonly name: string;
  readonly wanted: LogicalSlotWanted;
  readonly standing: LogicalSlot['standing'];
  /** For people: what is to know of it, one sentence each. */
  readonly notes: readonly string[];
}

/** A parameter of PostgreSQL, for every server of the group. */
export interface ParameterView {
  readonly name: string;
  readonly value: string;
  /** Nodes whose PostgreSQL takes it at its next start only. */
  readonly pendingRestart: readonly string[];
  /** Nodes whose own configuration file says otherwise. */
  readonly overrides: readonly string[];
}

export type SettingsOutcome =
  | { readonly kind: 'view'; readonly view: SettingsView }
  | { readonly kind: 'refused'; readonly reason: string };

export type FailoverOutcome =
  | {
      readonly kind: 'done';
      readonly group: string;
      readonly from: string;
      readonly to: string;
      readonly epoch: number;
      readonly tookMs: number;
    }
  | { readonly kind: 'refused'; readonly reason: string }
  /** Of a dry run. */
  | {
      readonly kind: 'planned';
      readonly group: string;
      readonly from: string;
      readonly to: string | undefined;
      /** What would happen, one sentence each. */
      readonly steps: readonly string[];
      /** Why it could not be done now. */
      readonly obstacle: string | undefined;
      /** What would be lost at most, as far as it is known. */
      readonly lossBytes: number | undefined;
    };

export interface EventView {
  readonly index: number;
  readonly atMs: number;
  readonly group: string | undefined;
  readonly kind: string;
  readonly text: string;
  readonly refused: string | undefined;
}

export interface StatusView {
  readonly cluster: string;
  readonly answeredBy: string;
  readonly atMs: number;
  readonly leader: string | undefined;
  readonly term: number;
  /** Left out in the answer of an older version. */
  readonly incarnation?: number | undefined;
  readonly commitIndex: number;
  readonly appliedIndex: number;
  readonly peers: readonly PeerView[];
  readonly groups: readonly GroupView[];
  /** Things a person should look at, one sentence each. */
  readonly warnings: readonly string[];
  // Left out in the answer of an older version:
  /** The group that each of the warnings is about, in their order; empty: the cluster as a whole. */
  readonly warningGroups?: readonly string[] | undefined;
  /** Servers that are only watched. */
  readonly watched?: readonly WatchedView[] | undefined;
  /** Registered in groups that are not created yet; left out where there is none, and in the answer of an older version. */
  readonly waiting?: readonly WaitingNode[] | undefined;
}

export interface WaitingNode {
  readonly node: string;
  readonly group: string;
  readonly peer: string;
  /** It has a database: the group is created on it. */
  readonly hasData: boolean;
}

/** A server that is only watched. Figures are as the answering peer sees them. */
export interface WatchedView {
  readonly server: string;
  readonly address: string;
  readonly formation: string;
  /** By a majority of the voters. */
  readonly state: 'up' | 'down' | 'unknown';
  readonly role: 'primary' | 'standby' | 'none';
  readonly timeline: number | undefined;
  readonly lsn: string | undefined;
  /** Of a standby: received and not replayed yet, and the age of what it replayed last where there is such. */
  readonly lagBytes: number | undefined;
  readonly lagMs: number | undefined;
  /** Voters that hold it for down, with their evidence: `b: refused`. */
  readonly heldDownBy: readonly string[];
  /** What the answering peer sees, where that is not simply an answer. */
  readonly message: string | undefined;
}

export interface PeerView {
  readonly peer: string;
  readonly address: string;
  readonly role: 'leader' | 'follower' | 'candidate' | 'unknown';
  readonly reachable: boolean;
  readonly matchIndex: number | undefined;
  // Left out in the answer of an older version, and where not known:
  /** `joining`: has been told of no membership yet. */
  readonly kind?: 'voter' | 'learner' | 'joining' | undefined;
  readonly incarnation?: number | undefined;
  readonly features?: number | undefined;
  readonly snapshotIndex?: number | undefined;
  readonly lagEntries?: number | undefined;
  /** The node that it runs by its configuration; empty: none, it is a witness. */
  readonly runs?: string | undefined;
}

export interface GroupView {
  readonly group: string;
  /** creating, following, running, fencing, promoting. */
  readonly phase: string;
  readonly epoch: number;
  readonly primary: string | undefined;
  readonly durability: string;
  /** For people: `1 of pg2, pg3`, or `alone`. */
  readonly rule: string;
  readonly ruleChange: string | undefined;
  readonly nodes: readonly NodeView[];
  // Left out in the answer of an older version:
  readonly settings?: GroupSettings | undefined;
  readonly scheduled?: { readonly atMs: number; readonly to: string | undefined } | undefined;
  readonly paused?: PauseView | undefined;
  /** The named set of groups that it belongs to. */
  readonly formation?: string | undefined;
  /** How it began, where that was with a restored data directory. */
  readonly restore?: RestoreView | undefined;
  /** Restarts of its nodes that are scheduled, or under way. */
  readonly restarts?: readonly RestartView[] | undefined;
  /** Of a group that follows another site: the servers there. */
  readonly source?: string | undefined;
  /** It did so before the log was recovered, and nobody knows whether it does still. */
  readonly isDoubtful?: true;
  /** It had a database, and its writes wait until the one that takes its place runs. */
  readonly isReplacingDatabase?: true;
}

export interface RestoreView {
  readonly target: string;
  /** Where recovery stopped. */
  readonly fromTimeline: number;
  readonly lsn: string;
  /** The timeline that was opened there. */
  readonly timeline: number;
  /** Wall time (ms since 1970) of the last transaction that was recovered. */
  readonly lastTransactionMs: number | undefined;
}

export interface RestartView {
  readonly node: string;
  readonly atMs: number;
  readonly inPlace: boolean;
  readonly begun: boolean;
}

/** Of a group, or of one node, which may be in maintenance. */
export interface PauseView {
  /** Undefined: until somebody ends it. */
  readonly untilMs: number | undefined;
  readonly maintenance: boolean;
}

export interface NodeView {
  readonly node: string;
  readonly address: string;
  readonly peer: string;
  /** primary, standby, or `-` for a node that is neither at present. */
  readonly role: 'primary' | 'standby' | 'none';
  /** running, streaming, cut, promoting, stopped, fenced, paused, maintenance, starting, cloning, rewinding, failed, unknown (no report). */
  readonly state: string;
  readonly timeline: number | undefined;
  readonly lsn: string | undefined;
  /** Behind the primary, in bytes; undefined where unknown. */
  readonly lagBytes: number | undefined;
  /** sync, quorum, async, or undefined on a primary. */
  readonly sync: string | undefined;
  readonly member: string | undefined;
  /** Peers that hold it for down, with their evidence: `b: refused`. */
  readonly heldDownBy: readonly string[];
  readonly message: string | undefined;
  // Left out in the answer of an older version:
  /** Parameters of PostgreSQL that it takes at its next start only. */
  readonly pendingRestart?: readonly string[] | undefined;
  readonly paused?: PauseView | undefined;
  readonly fenced?: boolean | undefined;
  /** The sync rule counts it. */
  readonly counted?: boolean | undefined;
  /** Of a running primary: a guard watches over it. */
  readonly guarded?: boolean | undefined;
  readonly upkeep?: Upkeep | undefined;
  /** Why it is not promoted by itself, and why no commit waits for it; undefined where it may be, and one may. */
  readonly notPromoted?: string | undefined;
  readonly notCounted?: string | undefined;
  /** Of a cascading standby: the node that its owners have it stream from. */
  readonly upstream?: string | undefined;
  /** False: it follows the primary meanwhile. Left out where it has no upstream. */
  readonly upstreamUsed?: boolean | undefined;
  /** Of a node whose agent does not report: how long at least the answering peer has heard nothing of it. */
  readonly silentMs?: number | undefined;
  /** Left out where there is none. */
  readonly probeRefusals?: readonly ProbeRefusal[] | undefined;
}

/** A peer whose probes a node's PostgreSQL does not let in, with its answer. */
export interface ProbeRefusal {
  readonly peer: string;
  readonly why: string;
}
