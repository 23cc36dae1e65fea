// The replicated state: what every peer knows after applying the same log. Plain data; changed only by apply.ts.
import type { Epoch, GroupId, LogIndex, MemberId, NodeId, PeerId, Timeline } from '../base/ids.ts';
import type { Lsn } from '../base/lsn.ts';
import type { Membership } from '../raft/types.ts';
import type {
  Command,
  CutReport,
  Evidence,
  FailoverCause,
  GroupSettings,
  HostDeclaration,
  Leaving,
  LogicalSlotWanted,
  NodeRegistration,
  RestoreReached,
  ScheduledRestart,
  ScheduledSwitchover,
  ServerWord,
  SiteHistory,
  SyncRule,
  TimelineBranch,
} from './commands.ts';

export type { TimelineBranch } from './commands.ts';

/** One peer's standing judgement that a node is down. Counts only towards a failover from `epoch`. */
export interface SubjectiveDown {
  readonly peer: PeerId;
  readonly epoch: Epoch;
  readonly evidence: Evidence;
  readonly index: LogIndex;
}

export interface NodeState extends NodeRegistration {
  readonly subjectiveDown: readonly SubjectiveDown[];
}

/** A node that a person has taken out: what its agent is to know when it comes back, however late that is. */
export interface RemovedNode {
  readonly node: NodeId;
  readonly group: GroupId;
  /** The peer whose agent managed it. */
  readonly peer: PeerId;
  /** Its data directory at the time: no other one is destroyed. */
  readonly member: MemberId | undefined;
  readonly leaving: Leaving;
  /**
   * The log was recovered since, and the part that is lost may have let the node in again: it may hold what nobody else does. It is cut off
   * and no more, and its group waits for it, until a person has it registered or removes it once more.
   */
  readonly isDoubtful: boolean;
}

/**
 * Why a group is being fenced: as its `begin-failover` says, or because the log itself was recovered by one peer alone. Then
 * nobody knows what was committed after the end of that peer's log, the sync rule included (see {@link hasUnknownRule}).
 */
export type FencingCause =
  | FailoverCause
  | { readonly kind: 'recovered' }
  /** The group has followed another site, and nobody in it has acknowledged anything; see apply-site.ts. `to`: a person has named that node. */
  | { readonly kind: 'followed'; readonly to?: NodeId };

/** A standby that takes, or took, what it lacks from another one that is cut off as well, at the present epoch. */
export interface WalFetch {
  readonly node: NodeId;
  readonly from: NodeId;
  /** Where `from` stood, and has stood since. */
  readonly upTo: { readonly timeline: Timeline; readonly position: Lsn };
  /** It has cut itself off again and reported: its report says where it stands. Until then it stands there or above. */
  readonly isOver: boolean;
  /** Why it is waited for no longer. */
  readonly failed: string | undefined;
  /** Another node could have been promoted as it was. */
  readonly preference?: true;
}

/** What a cascading standby streams from at present. */
export interface CascadeState {
  readonly node: NodeId;
  /** Undefined: the primary. */
  readonly upstream: NodeId | undefined;
  /** How often it was turned away from its upstream since the last promotion: it goes back later each time. */
  readonly lostCount: number;
}

/**
 * Where a group stands. The table of transitions is in apply.ts and docs/failover.md.
 * `primary` is the node that is, was, or is to be the primary at this epoch.
 */
export type Phase =
  | { readonly kind: 'creating'; readonly primary: NodeId }
  | { readonly kind: 'running'; readonly primary: NodeId; readonly timeline: Timeline }
  /** A standby of another site: no node is open for writes, and none is to be. */
  | {
      readonly kind: 'following';
      /** The site leader: it streams from there, the others from it. */
      readonly primary: NodeId;
      /** The log was recovered since, and nobody knows what was promoted meanwhile: its nodes are left as they are until a person has said. */
      readonly isDoubtful: boolean;
    }
  | {
      readonly kind: 'fencing';
      /** The former primary, to be cut off. */
      readonly primary: NodeId;
      /** Its timeline. */
      readonly timeline: Timeline;
      readonly cause: FencingCause;
      readonly reports: readonly CutReport[];
      /** Nodes that are known to be off at this epoch, in the order of their names. */
      readonly off: readonly NodeId[];
      /** Why the fence command last failed to switch the primary off, where it did. */
      readonly fenceFailed?: string;
      /** The primary of a switchover on purpose whose target failed: it is to be the primary again, if it can. */
      readonly reinstate: NodeId | undefined;
      /** In the order in which they began; each node once. Absent: none. */
      readonly fetches?: readonly WalFetch[];
      /**
       * Of a group that has followed another site: nodes that are cut off too, but whose WAL is not known to be from there. Nothing is promoted
       * or proved by what they say. Absent: none.
       */
      readonly strange?: readonly CutReport[];
    }
  | {
      readonly kind: 'promoting';
      /** The candidate. */
      readonly primary: NodeId;
      readonly timeline: Timeline;
      readonly previous: NodeId;
      /** Where the candidate stood when it was chosen: the new timeline begins there. */
      readonly from: { readonly timeline: Timeline; readonly position: Lsn };
      /** Why the candidate's agent gave up, where it did. */
      readonly failed: string | undefined;
      /** Whether `previous` was switched over on purpose. */
      readonly isPlanned: boolean;
    };

/**
 * Since a promotion until enough new members have flushed its switch point: a candidate of the next failover stands at or
 * above it, or the reports also satisfy the rule from before (with the floor that was in force then).
 */
export interface Floor {
  readonly timeline: Timeline;
  /** The candidate's timeline and position before its promotion. */
  readonly from: { readonly timeline: Timeline; readonly position: Lsn };
  readonly rule: SyncRule;
  readonly next: SyncRule | undefined;
  readonly before: Floor | undefined;
}

/** Until `untilMs` (wall time, ms since 1970), or until a person ends it. */
export interface Pause {
  readonly untilMs: number | undefined;
}

/** Of one node. In maintenance a person works on it; a primary can be paused only. */
export interface NodePause extends Pause {
  readonly node: NodeId;
  readonly isMaintenance: boolean;
}

/** A member that does not stream, of a node that is not paused. Wall times in ms since 1970. */
export interface AbsentMember {
  readonly member: MemberId;
  readonly sinceMs: number;
  /** Since when no node keeps a slot for it; undefined while they all do. */
  readonly givenUpAtMs: number | undefined;
}

/** One change of settings or parameters, for people; bounded, so that values are cut short. */
export interface SettingsRecord {
  readonly index: LogIndex;
  readonly atMs: number;
  readonly by: string;
  readonly differences: readonly SettingsDifference[];
  /** So many more than are listed. */
  readonly more: number;
}

export interface SettingsDifference {
  /** A key of {@link GroupSettings}, `postgresql.NAME`, `logical_slots.NAME`, or `hba`: then one rule that was added or taken out, or all of them in another order. */
  readonly key: string;
  /** Undefined: not set. */
  readonly from: string | undefined;
  readonly to: string | undefined;
}

/** A logical replication slot that the primary is to have. */
export interface LogicalSlot extends LogicalSlotWanted {
  readonly name: string;
  /** Index of the entry that asked for it: another one of the same name has another. */
  readonly setAt: LogIndex;
  /**
   * `wanted`: not made yet. `lost`: it was made, and the primary has it no more, or not as it was; it is not made again by itself. `unset`: to
   * be dropped.
   */
  readonly standing: 'wanted' | 'made' | 'lost' | 'unset';
  /** We have made it, or are about to. False: nobody has yet, or somebody else, and then it is not dropped by us. */
  readonly isOurs: boolean;
  /** Why it is lost, for people. */
  readonly reason: string | undefined;
}

export interface GroupState {
  readonly id: GroupId;
  readonly epoch: Epoch;
  readonly phase: Phase;
  readonly settings: GroupSettings;
  /** Of its PostgreSQL servers, by lower-case name, in the order of the names. */
  readonly parameters: ReadonlyMap<string, string>;
  /** Rules for pg_hba.conf of its servers, in their order, before those of a node's own configuration file. */
  readonly hba: readonly string[];
  /** In the order of their names; see logical-slots.ts. */
  readonly logicalSlots: readonly LogicalSlot[];
  /** Index of the entry that last changed settings or parameters; 0: none has since feature level 4. */
  readonly settingsRevision: LogIndex;
  /** The latest changes, oldest first; see {@link SETTINGS_RECORD_COUNT_MAX}. */
  readonly settingsHistory: readonly SettingsRecord[];
  readonly rule: SyncRule;
  /** A change of the rule under way; both rules bind until it is committed. `change` is the index that began it. */
  readonly next: { readonly rule: SyncRule; readonly change: LogIndex } | undefined;
  readonly floor: Floor | undefined;
  /** Highest timeline ever assigned or reported in the group. */
  readonly highestTimeline: Timeline;
  readonly branches: readonly TimelineBranch[];
  readonly systemIdentifier: string | undefined;
  /** The last finished or given-up failover, for people. */
  readonly failovers: number;
  /** Nodes whose PostgreSQL a person keeps stopped, in the order of their names. */
  readonly fenced: readonly NodeId[];
  /**
   * Wall times (ms since 1970) at which the group began to fail over by itself, oldest first: as far as they lay within the window at the
   * last of them, and nobody has acknowledged them since. See {@link isHeld}.
   */
  readonly recentFailovers: readonly number[];
  readonly scheduled: ScheduledSwitchover | undefined;
  /** The group as a whole; see {@link isPaused}. */
  readonly paused: Pause | undefined;
  /** In the order of their names; see {@link asideReason}. */
  readonly pausedNodes: readonly NodePause[];
  /** In the order of their names; see apply-slots.ts. */
  readonly absent: readonly AbsentMember[];
  /** Wall time (ms since 1970) at which the last failback began. */
  readonly failbackAtMs: number | undefined;
  /** So many failbacks have followed each other soon, that one included; 0: there was none. */
  readonly failbackCount: number;
  /** Adopted nodes whose server still runs as somebody else has started it, in the order of their turns; see {@link isUnprotected}. */
  readonly toAdopt: readonly NodeId[];
  /** Standbys that stream from another one, or have since the last promotion, in the order of their names; see apply-cascade.ts. */
  readonly cascades: readonly CascadeState[];
  /** It began, or is to begin, with a data directory that was restored from a backup. */
  readonly restore: GroupRestore | undefined;
  /** In the order of the names of their nodes, one for each at the most; see apply-restarts.ts. */
  readonly restarts: readonly NodeRestart[];
  /** It began by following another site; see site-history.ts. Absent: it did not. */
  readonly site?: FollowedSite;
}

export interface FollowedSite {
  /** Undefined: nobody has told yet. */
  readonly history: SiteHistory | undefined;
  /** The first timeline that was assigned here: lower ones are the other site's. Undefined: none was. */
  readonly opened: Timeline | undefined;
}

export interface GroupRestore {
  /** Undefined until recovery has come to its target. */
  readonly reached:
    | (RestoreReached & {
        /** The timeline that is opened there. */
        readonly assigned: Timeline;
      })
    | undefined;
}

export interface NodeRestart extends ScheduledRestart {
  readonly node: NodeId;
}

/**
 * A member of the Raft group as its own process registered it, and which of that process's proposals were applied: each counts
 * once. The registration goes when the peer leaves the membership.
 */
export interface PeerState {
  readonly peer: PeerId;
  /** Random id of its Raft store. Another store under the same name has forgotten what it voted for. */
  readonly store: string;
  /** Id of the present run of the process; proposals of an earlier run are refused. */
  readonly session: string;
  readonly openedAt: LogIndex;
  /** Every proposal of the session with a lower sequence was applied, or is given up by its proposer. */
  readonly floor: number;
  /** Sequences at or above `floor` that were applied, ascending; at most {@link DONE_COUNT_MAX}. */
  readonly done: readonly number[];
  /** The highest feature level its version knows. */
  readonly features: number;
  /** Where it and its node are, by its configuration. */
  readonly site?: string | undefined;
  /** What its configuration says of its host; undefined: it has not said, an older version does not. */
  readonly host?: HostDeclaration | undefined;
}

/** What is known of a server that is only watched. Where it is, its peers' declarations say; see hosts.ts. */
export interface WatchedState {
  readonly server: NodeId;
  /** Of each voter that has judged it, in the order of their names. */
  readonly words: readonly { readonly peer: PeerId; readonly word: ServerWord }[];
  /** What a majority of the voters saw last. */
  readonly concluded: ServerWord | undefined;
}

/** One line of `sentinelctl events`: a command that was applied (or refused, with the reason). */
export interface ClusterEvent {
  readonly index: LogIndex;
  readonly proposedAtMs: number;
  readonly command: Command;
  readonly refused: string | undefined;
}

/**
 * The latest events, oldest first (event-list.ts). Plain readonly data; the oldest go by whole chunks, so that equal contents are
 * equal lists.
 */
export interface EventList {
  /** Each of the same length. */
  readonly chunks: readonly (readonly ClusterEvent[])[];
  /** What came after the chunks: too few for another one. */
  readonly latest: readonly ClusterEvent[];
}

export interface ClusterState {
  readonly appliedIndex: LogIndex;
  /** In force at `appliedIndex`; a quorum is a majority of its voters. */
  readonly membership: Membership;
  /** Index of the entry that said so; 0 for the initial one. */
  readonly membershipIndex: LogIndex;
  /**
   * The peers that the cluster began with, in the order of their names: peers that disagree about them do not belong together, though their
   * logs look alike. Empty where that is not known: the log was begun by a version that did not keep them. Nothing is decided by it in `apply`.
   */
  readonly founders: readonly PeerId[];
  /** Members that have opened a session, in the order of their names. */
  readonly peers: ReadonlyMap<PeerId, PeerState>;
  /** See features.ts. */
  readonly featureLevel: number;
  /** In the order of their names. */
  readonly groups: ReadonlyMap<GroupId, GroupState>;
  /** In the order of their names. */
  readonly nodes: ReadonlyMap<NodeId, NodeState>;
  /** In the order of their names. None of them is in `nodes`. */
  readonly removed: ReadonlyMap<NodeId, RemovedNode>;
  /** Servers that are only watched and that somebody has judged, in the order of their names. */
  readonly watched: ReadonlyMap<NodeId, WatchedState>;
  /** The latest events; read them with `listEvents`. */
  readonly events: EventList;
}

export const DONE_COUNT_MAX = 1000;
export const SETTINGS_RECORD_COUNT_MAX = 50;

/**
 * Whether nobody knows by which rule the group's primary acknowledged: after a recovery of the log, until a promotion. `rule` says
 * nothing then, and only the cut reports of all nodes together prove that nothing acknowledged is left out.
 */
export function hasUnknownRule(group: Pick<GroupState, 'phase'>): boolean {
  return group.phase.kind === 'fencing' && group.phase.cause.kind === 'recovered';
}

/** The database that the group has is being replaced by another one, which has yet to run: nobody writes to it. */
export const isReplacingDatabase = ({ phase, systemIdentifier }: GroupState): boolean =>
  phase.kind === 'creating' && systemIdentifier !== undefined;

/** It followed another site before the log was recovered, and may have been promoted since: its nodes are left as they are until a person has said. */
export function isDoubtfulSite({ phase }: Pick<GroupState, 'phase'>): boolean {
  return phase.kind === 'following' && phase.isDoubtful;
}

/** What people are told who ask for anything else meanwhile. */
export const doubtfulSiteText = (id: GroupId): string =>
  `group ${id} was recovered, and may have been promoted in the part of the log that is lost: say first how it goes on, sentinelctl site promote ${id} or sentinelctl site lead NODE`;

/** It has followed another site until a person ended that: nobody in the group has acknowledged anything yet. */
export function hasFollowed(group: Pick<GroupState, 'phase'>): boolean {
  return group.phase.kind === 'fencing' && group.phase.cause.kind === 'followed';
}

/** What its phase's `primary` is called, with the command that makes another node it. */
export function primaryWord({ id, phase }: Pick<GroupState, 'id' | 'phase'>): {
  readonly name: string;
  readonly remedy: string;
} {
  return phase.kind === 'following'
    ? { name: `the site leader of group ${id}`, remedy: 'sentinelctl site lead another node first' }
    : { name: `the primary of group ${id}`, remedy: 'fail over first (sentinelctl failover)' };
}

/**
 * False while all that is known of the primary's timeline is that it was assigned: the promotion was given up before it was
 * reported as done. Such a group cannot be given back to that primary, it may never have opened it.
 */
export function isTimelineOpen(group: GroupState, timeline: Timeline): boolean {
  return group.floor?.timeline !== timeline || group.branches.some((branch) => branch.timeline === timeline);
}

/** Too many failovers in too short a time: none is proposed any more until a person has acknowledged them. */
export function isHeld(group: GroupState): boolean {
  return group.recentFailovers.length >= group.settings.maxFailovers;
}

/** No failover of a group that runs begins by itself. One that has begun is finished. */
export function isPaused(group: GroupState): boolean {
  return group.paused !== undefined || pauseOf(group, group.phase.primary) !== undefined;
}

/**
 * The primary is an adopted server that runs with settings that are not ours: nobody could keep it from acknowledging commits, and no rule
 * says on whom they are. No failover begins by itself, and no rule is made, until it was restarted or switched over.
 */
export function isUnprotected(group: Pick<GroupState, 'toAdopt' | 'phase'>): boolean {
  return group.toAdopt.includes(group.phase.primary);
}

export function pauseOf(group: Pick<GroupState, 'pausedNodes'>, node: NodeId): NodePause | undefined {
  return group.pausedNodes.find((pause) => pause.node === node);
}

/**
 * Why the node is kept out of the sync rule and out of the choice of a candidate; undefined where it is not. A paused primary is not:
 * whoever is or was to be the primary on a person's word takes part in a failover as ever.
 */
export function asideReason(
  group: Pick<GroupState, 'fenced' | 'pausedNodes' | 'phase'>,
  node: NodeId,
): 'fenced' | 'paused' | 'in maintenance' | undefined {
  if (group.fenced.includes(node)) return 'fenced';
  const pause = pauseOf(group, node);
  const { phase } = group;
  if (pause === undefined || phase.primary === node) return undefined;
  if (phase.kind === 'fencing' && phase.reinstate === node) return undefined;
  return pause.isMaintenance ? 'in maintenance' : 'paused';
}

/** The command that lets the node take part again, as it was set aside. */
export function asideRemedy(reason: NonNullable<ReturnType<typeof asideReason>>, node: NodeId): string {
  const command = {
    fenced: `unfence ${node}`,
    paused: `resume --node ${node}`,
    'in maintenance': `maintenance off ${node}`,
  };
  return `sentinelctl ${command[reason]}`;
}

/** `pg2 is fenced; sentinelctl unfence pg2 ends that`; undefined where the node is not aside. */
export function asideText(group: Parameters<typeof asideReason>[0], node: NodeId): string | undefined {
  const reason = asideReason(group, node);
  return reason && `${node} is ${reason}; ${asideRemedy(reason, node)} ends that`;
}

/** Of each group its nodes, by the map they come from: that map is never changed, so it is sorted out once, not for every question. */
const nodesByGroup = new WeakMap<ClusterState['nodes'], ReadonlyMap<GroupId, readonly NodeState[]>>();
const NO_NODES: readonly NodeState[] = [];

/** The nodes of a group, in the order of their names. */
export function nodesOfGroup({ nodes }: Pick<ClusterState, 'nodes'>, group: GroupId): readonly NodeState[] {
  let sorted = nodesByGroup.get(nodes);
  if (sorted === undefined) {
    sorted = sortedByGroup(nodes);
    nodesByGroup.set(nodes, sorted);
  }
  return sorted.get(group) ?? NO_NODES;
}

function sortedByGroup(nodes: ClusterState['nodes']): ReadonlyMap<GroupId, readonly NodeState[]> {
  const sorted = new Map<GroupId, NodeState[]>();
  for (const node of nodes.values()) {
    const known = sorted.get(node.group);
    if (known === undefined) sorted.set(node.group, [node]);
    else known.push(node);
  }
  for (const known of sorted.values()) known.sort((a, b) => (a.node < b.node ? -1 : 1));
  return sorted;
}
