// duties(state, node): what the log asks of one node, as data. The agent compares it with what it finds and acts; it never
// acts on anything else. Every duty carries the epoch, and an agent whose fence file holds a higher one ignores it.
import {
  type Epoch,
  type GroupId,
  type LogIndex,
  type MemberId,
  type NodeId,
  type Timeline,
  epoch as toEpoch,
} from '../base/ids.ts';
import type { Lsn } from '../base/lsn.ts';
import { upstreamOf } from '../cluster/apply-cascade.ts';
import { isCounted } from '../cluster/apply-removal.ts';
import type { Following } from '../cluster/apply-site.ts';
import { isGivenUp } from '../cluster/apply-slots.ts';
import type { Leaving, SyncRule } from '../cluster/commands.ts';
import {
  type ClusterState,
  type GroupRestore,
  type GroupState,
  type NodeState,
  type Phase,
  type RemovedNode,
  type TimelineBranch,
  asideReason,
  isPaused,
  isUnprotected,
  nodesOfGroup,
} from '../cluster/state.ts';

/** Where a standby streams from. */
export interface Upstream {
  readonly node: NodeId;
  readonly host: string;
  readonly port: number;
  readonly timeline: Timeline;
  /** While the upstream is only being promoted: where its new timeline begins. A node beyond that cannot follow directly. */
  readonly from: CandidateStanding | undefined;
  /**
   * False until the upstream's promotion is committed as done and, where it has members, they hold its switch point: no rewind or
   * clone from it before, for both take the machine's time from the clients that wait. In a strict group those may be waiting for
   * this very node.
   */
  readonly isReady: boolean;
  /**
   * Of a group that follows another site: `outside` for the site leader, whose upstream is there and known to its own configuration alone,
   * `inside` for the others. No timeline of the log counts: those are the other site's.
   */
  readonly site?: 'outside' | 'inside';
}

/** A standby that is cut off takes what it lacks from another one. */
export type Fetch =
  | { readonly kind: 'from'; readonly source: FetchSource }
  /** It is waited for no longer: cut off again, and said where it stands. */
  | { readonly kind: 'given-up' };

export interface FetchSource {
  readonly node: NodeId;
  readonly host: string;
  readonly port: number;
  readonly timeline: Timeline;
  /** Where the source stands, and stays. */
  readonly position: Lsn;
  /** No longer than this, where another node could be promoted as it is. */
  readonly limitMs?: number;
}

/** For all of a fetch that is not needed, only preferred; its node gives up a little earlier, so that it has cut itself off again by then. */
export const PREFERENCE_FETCH_MS = 1000;
const PREFERENCE_STREAM_MS = 700;

interface DutyBase {
  readonly group: GroupId;
  /** Comes before the epoch in the order of fencing tokens: a recovery of the log takes epochs back. */
  readonly incarnation: number;
  readonly epoch: Epoch;
  /** Replication slots to keep on this node: one for each other member of the group, but for those that are given up. */
  readonly slots: readonly MemberId[];
}

/** Where the candidate stood when it was chosen; it must not open below that. */
export interface CandidateStanding {
  readonly timeline: Timeline;
  readonly position: Lsn;
}

export type Duty =
  /** `isRemoved`: it is not to be registered, as long as the log says that it was taken out. */
  | { readonly kind: 'none'; readonly reason: string; readonly isRemoved?: true }
  /** Fenced by a person: PostgreSQL is stopped and stays so. */
  | ({ readonly kind: 'stopped'; readonly reason: string } & DutyBase)
  /** Paused or in maintenance: PostgreSQL is left as it is, running or not. */
  | ({ readonly kind: 'hands-off'; readonly reason: string } & DutyBase)
  /** Taken out by a person: not registered again. */
  | ({
      readonly kind: 'removed';
      readonly leaving: Leaving;
      /** The data directory that this is about; no other one is destroyed. */
      readonly member: MemberId | undefined;
      readonly reason: string;
    } & DutyBase)
  /** First primary of a new group: make a data directory and open it for writes. */
  | ({
      readonly kind: 'create';
      /** The data directory is to be restored from a backup. */
      readonly restore?: GroupRestore;
    } & DutyBase)
  | ({
      readonly kind: 'primary';
      readonly timeline: Timeline;
      readonly rule: SyncRule;
      readonly next: { readonly rule: SyncRule; readonly change: LogIndex } | undefined;
      /** The switch point that the rule's members still have to reach, if any. */
      readonly floor: Lsn | undefined;
      /** Nobody takes over by itself: after a crash it is started at once, and what a person has shut down stays so. */
      readonly isPaused: boolean;
      /** Cascading standbys that stream from another one at present: nobody moves their slots on here. Absent: none. */
      readonly elsewhere?: readonly MemberId[];
      /** An adopted server, which goes on with the settings it has until somebody restarts it or switches over. */
      readonly isUnprotected?: true;
    } & DutyBase)
  /**
   * Planned switchover: stop cleanly, so that all WAL is shipped, and report. `rule` is the one it still takes writes under: a leased
   * primary goes on having its lease renewed, by this epoch, until it has stopped.
   */
  | ({ readonly kind: 'hand-over'; readonly timeline: Timeline; readonly rule: SyncRule } & DutyBase)
  /**
   * End every WAL stream, replay what is here, report. `wasPrimary`: it is rarely needed, and its recovery would take the machine's
   * time from the promotion, so it stays stopped for a while first.
   */
  | ({ readonly kind: 'cut'; readonly wasPrimary: boolean; readonly fetch?: Fetch } & DutyBase)
  | ({
      readonly kind: 'promote';
      readonly timeline: Timeline;
      readonly rule: SyncRule;
      readonly from: CandidateStanding;
    } & DutyBase)
  | ({
      readonly kind: 'follow';
      readonly upstream: Upstream;
      readonly branches: readonly TimelineBranch[];
      /** Of a group that has followed another site, and does no longer: how the timelines before those of the log came about there. */
      readonly inherited?: readonly TimelineBranch[];
      /** Cascading standbys that stream from this node: their slots are theirs to move on. Absent: none. */
      readonly readers?: readonly MemberId[];
      /** Whether this node's present member id counts in the rule: then its data directory must not be touched. */
      readonly isCounted: boolean;
      /** An adopted standby, whose turn it is: its server is stopped and started with our settings. */
      readonly isAdopted?: true;
    } & DutyBase);

export function duties(state: ClusterState, id: NodeId): Duty {
  const node = state.nodes.get(id);
  const removed = state.removed.get(id);
  if (removed !== undefined) return removedDuty(state, removed);
  if (node === undefined) return { kind: 'none', reason: 'not registered yet' };
  const group = state.groups.get(node.group);
  if (group === undefined) return { kind: 'none', reason: `group ${node.group} is not created yet` };
  const base: DutyBase = {
    group: group.id,
    incarnation: state.membership.incarnation,
    epoch: group.epoch,
    slots: otherMembers(state, group, id),
  };
  if (group.fenced.includes(id))
    return { kind: 'stopped', reason: `fenced: sentinelctl unfence ${id} lets it start again`, ...base };
  const aside = asideReason(group, id);
  // While it is counted for commits it follows, and is cut, as ever: it leaves the sync rule first.
  if (aside !== undefined && !isCounted(group, node))
    return { kind: 'hands-off', reason: `${aside}: PostgreSQL is left as it is`, ...base };
  const phase = group.phase;
  switch (phase.kind) {
    case 'creating':
      return phase.primary === id
        ? { kind: 'create', ...restoreOf(group), ...base }
        : { kind: 'none', reason: `waiting for ${phase.primary}, the first primary` };
    case 'following':
      return followSiteDuty(state, group, phase, node, base);
    case 'running':
      return phase.primary === id
        ? primaryDuty(state, group, phase.timeline, base)
        : followDuty(state, group, node, base);
    case 'fencing': {
      const { kind: cause } = phase.cause;
      // After a recovery every report is needed, and who was the primary is not known.
      if (cause === 'recovered') return { kind: 'cut', wasPrimary: false, ...base };
      if (cause !== 'planned')
        return {
          kind: 'cut',
          wasPrimary: phase.primary === id && cause !== 'followed',
          ...fetchOf(state, phase, id),
          ...base,
        };
      if (phase.primary === id)
        return { kind: 'hand-over', timeline: phase.timeline, rule: group.rule, ...base };
      const isHandedOver = phase.reports.some((report) => report.node === phase.primary);
      return isHandedOver
        ? { kind: 'cut', wasPrimary: false, ...base }
        : followDuty(state, group, node, base);
    }
    case 'promoting':
      if (phase.primary !== id) return followDuty(state, group, node, base);
      return { kind: 'promote', timeline: phase.timeline, rule: group.rule, from: phase.from, ...base };
  }
}

/** A group that has a database already goes on with another one (apply-replacement.ts): that is there. */
const restoreOf = ({ restore, systemIdentifier }: GroupState): { readonly restore?: GroupRestore } =>
  restore === undefined || systemIdentifier !== undefined ? {} : { restore };

function fetchOf(
  state: ClusterState,
  { fetches = [] }: Extract<Phase, { readonly kind: 'fencing' }>,
  id: NodeId,
): { readonly fetch?: Fetch } {
  const fetch = fetches.find(({ node, isOver }) => node === id && !isOver);
  const source = fetch && state.nodes.get(fetch.from);
  if (fetch === undefined) return {};
  if (fetch.failed !== undefined || source === undefined) return { fetch: { kind: 'given-up' } };
  const { node, host, port } = source;
  const limit = fetch.preference === undefined ? {} : { limitMs: PREFERENCE_STREAM_MS };
  return { fetch: { kind: 'from', source: { node, host, port, ...fetch.upTo, ...limit } } };
}

/** What the agent of a node that was removed says from its first pass after that on; the peer that was asked to remove it knows it by that. */
export function removedText({ node, group, isDoubtful }: RemovedNode): string {
  const since = isDoubtful ? ' before the log was recovered, and perhaps let in again since' : '';
  return `removed from group ${group}${since}: sentinelctl node register ${node} lets it join again`;
}

function removedDuty(state: ClusterState, removed: RemovedNode): Duty {
  const { group, leaving, member } = removed;
  return {
    kind: 'removed',
    leaving,
    member,
    reason: removedText(removed),
    group,
    incarnation: state.membership.incarnation,
    epoch: state.groups.get(group)?.epoch ?? toEpoch(0),
    slots: [],
  };
}

function primaryDuty(state: ClusterState, group: GroupState, timeline: Timeline, base: DutyBase): Duty {
  const switchLsn = group.branches.find((branch) => branch.timeline === timeline)?.switchLsn;
  return {
    kind: 'primary',
    timeline,
    rule: group.rule,
    next: group.next,
    floor: group.floor !== undefined && group.rule.acks > 0 ? switchLsn : undefined,
    isPaused: isPaused(group),
    ...named(
      'elsewhere',
      cascadesWhere(state, group, () => true),
    ),
    ...(isUnprotected(group) ? { isUnprotected: true } : {}),
    ...base,
  };
}

function followDuty(state: ClusterState, group: GroupState, node: NodeState, base: DutyBase): Duty {
  const phase = group.phase;
  const primary = state.nodes.get(phase.primary);
  if (primary === undefined || phase.kind === 'creating' || phase.kind === 'following')
    return { kind: 'none', reason: `waiting for ${phase.primary}` };
  const cascaded = phase.kind === 'promoting' ? undefined : upstreamOf(state, group, node.node);
  const { node: upstream, host, port } = cascaded ?? primary;
  const before = turnBefore(group, node.node);
  if (before !== undefined) return { kind: 'none', reason: `waiting until ${before} is taken over` };
  return {
    kind: 'follow',
    upstream: {
      node: upstream,
      host,
      port,
      timeline: phase.timeline,
      from: phase.kind === 'promoting' ? phase.from : undefined,
      isReady:
        phase.kind === 'running' &&
        (group.floor === undefined || group.rule.acks === 0 || group.settings.durability === 'strict'),
    },
    branches: group.branches,
    ...(group.site === undefined ? {} : { inherited: group.site.history?.branches ?? [] }),
    isCounted: isCounted(group, node),
    ...named(
      'readers',
      cascadesWhere(state, group, (from) => from === node.node),
    ),
    ...(group.toAdopt.includes(node.node) ? { isAdopted: true } : {}),
    ...base,
  };
}

/** The site leader streams from the other site, the others from it. */
function followSiteDuty(
  state: ClusterState,
  group: GroupState,
  phase: Following,
  { node: id }: NodeState,
  base: DutyBase,
): Duty {
  const leader = state.nodes.get(phase.primary);
  if (phase.isDoubtful)
    return {
      kind: 'none',
      reason: `the log was recovered, and group ${group.id} may have been promoted in the part that is lost: sentinelctl site lead NODE has it follow the other site again, sentinelctl site promote ${group.id} makes a primary of the node that holds the most`,
    };
  if (leader === undefined) return { kind: 'none', reason: `waiting for ${phase.primary}` };
  const isLeader = leader.node === id;
  if (!isLeader && leader.member === undefined)
    return { kind: 'none', reason: `waiting until ${leader.node} is cloned from the other site` };
  const readers = base.slots.filter(() => isLeader);
  return {
    kind: 'follow',
    upstream: {
      node: leader.node,
      host: leader.host,
      port: leader.port,
      timeline: group.highestTimeline,
      from: undefined,
      isReady: true,
      site: isLeader ? 'outside' : 'inside',
    },
    branches: [],
    isCounted: false,
    ...named('readers', readers),
    ...base,
  };
}

/** Adopted standbys are restarted one after the other; undefined where it is this one's turn, or it runs with our settings already. */
function turnBefore(group: GroupState, id: NodeId): NodeId | undefined {
  const { toAdopt, phase } = group;
  if (!toAdopt.includes(id)) return undefined;
  const first = toAdopt.find((node) => node !== phase.primary && asideReason(group, node) === undefined);
  return first === id ? undefined : first;
}

const named = <K extends string>(name: K, members: readonly MemberId[]) =>
  (members.length === 0 ? {} : { [name]: members }) as { readonly [_ in K]?: readonly MemberId[] };

/** Of the standbys that stream from another one, those whose upstream fits. */
function cascadesWhere(
  state: ClusterState,
  group: GroupState,
  fits: (upstream: NodeId) => boolean,
): readonly MemberId[] {
  return group.cascades.flatMap(({ node }) => {
    const [upstream, member] = [upstreamOf(state, group, node), state.nodes.get(node)?.member];
    return upstream !== undefined && member !== undefined && fits(upstream.node) ? [member] : [];
  });
}

function otherMembers(state: ClusterState, group: GroupState, id: NodeId): MemberId[] {
  return nodesOfGroup(state, group.id)
    .filter((node) => node.node !== id)
    .flatMap((node) => (node.member === undefined || isGivenUp(group, node.member) ? [] : [node.member]));
}
