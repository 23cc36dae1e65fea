// Which nodes may be promoted and which may be counted for commits, by what their owners have said of them: options of nodes, sites of
// peers, settings of the group. Pure. What lasts for a while only (fenced, paused) is asideReason's.
//
// Invariant: a node that may not be promoted comes into no sync rule. So whatever a rule acknowledges is on nodes of which each may take over,
// and a node that may not be promoted is passed over, however far it is, unless a rule of before still counts it: then it is the last choice
// (see candidate.ts).
import type { MemberId, NodeId, PeerId } from '../base/ids.ts';
import { isCounted } from './apply-slots.ts';
import { disowned, disownedText } from './hosts.ts';
import type { Failback, GroupSettings, NodeOptions } from './commands.ts';
import { isOfFloor } from './quorum.ts';
import {
  hasFollowed,
  hasUnknownRule,
  type ClusterState,
  type GroupState,
  type NodeState,
  isUnprotected,
  nodesOfGroup,
} from './state.ts';

export const NO_OPTIONS: NodeOptions = { noFailover: false, noSync: false, applyDelayMs: 0 };

export const hasOptions = ({ noFailover, noSync, applyDelayMs, upstream, source }: NodeOptions): boolean =>
  noFailover || noSync || applyDelayMs > 0 || upstream !== undefined || source !== undefined;

/**
 * Why the node is not promoted unless a person forces it by its name; undefined where it may be. Whoever is or was to be the primary may be
 * so again: that is no failover to it.
 */
export function promotionBar(state: ClusterState, group: GroupState, node: NodeId): string | undefined {
  const { phase } = group;
  // A site leader is no primary, and may be one that is never to be.
  const isStandby = phase.kind === 'following' || hasFollowed(group);
  if (phase.primary === node && !isStandby) return undefined;
  if (phase.kind === 'fencing' && phase.reinstate === node) return undefined;
  return bar(state, group, node);
}

/**
 * Whether what was acknowledged may be on that standby alone: a rule counts it, or one below a floor that is in force, or nobody knows the
 * rule. With no acknowledgements only the primary is sure to hold everything, and no floor helps.
 */
export function mayBeNeeded(group: GroupState, member: MemberId): boolean {
  if (hasUnknownRule(group) || isCounted(group, member)) return true;
  return group.rule.acks > 0 && isOfFloor(group.floor, member);
}

/**
 * Whether a node is promoted only where nobody else can be: it may not be (see {@link promotionBar}), but has not left the rule yet. To wait
 * for it to leave would leave a group without a candidate: no rule changes after the primary is gone. A switchover on purpose can go back.
 */
export function isLastChoice(
  state: ClusterState,
  group: GroupState,
  { node, member }: { readonly node: NodeId; readonly member?: MemberId | undefined },
): boolean {
  if (member === undefined || promotionBar(state, group, node) === undefined) return false;
  const isOnPurpose = group.phase.kind === 'fencing' && group.phase.cause.kind === 'planned';
  return !isOnPurpose && mayBeNeeded(group, member);
}

/** Why no sync rule counts the node, although it may stream; undefined where one may. */
export function syncBar(state: ClusterState, group: GroupState, node: NodeId): string | undefined {
  const { noSync, upstream } = state.nodes.get(node)?.options ?? NO_OPTIONS;
  if (noSync) return 'never counted for commits (no_sync)';
  if (upstream !== undefined) return `a cascading standby (upstream ${upstream}), never counted for commits`;
  return bar(state, group, node);
}

/** The standbys that a sync rule may count, whether they are well or not. */
export function countableStandbys(state: ClusterState, group: GroupState): readonly NodeState[] {
  return nodesOfGroup(state, group.id).filter(
    ({ node }) => node !== group.phase.primary && syncBar(state, group, node) === undefined,
  );
}

function bar(state: ClusterState, group: GroupState, id: NodeId): string | undefined {
  const node = state.nodes.get(id);
  if (node === undefined) return undefined;
  const gone = disowned(state, node);
  if (gone !== undefined) return `without an agent: ${disownedText(id, gone)}`;
  const { noFailover, applyDelayMs } = node.options ?? NO_OPTIONS;
  if (noFailover) return 'never promoted (no_failover, or priority 0)';
  if (applyDelayMs > 0) return `a delayed replica (apply_delay ${applyDelayMs} ms), which is never promoted`;
  return siteBar(state, group.settings, node);
}

function siteBar(state: ClusterState, { sitePolicy }: GroupSettings, node: NodeState): string | undefined {
  if (sitePolicy !== 'majority') return undefined;
  const [site, main] = [siteOf(state, node.peer), majoritySite(state)];
  if (site === undefined || main === undefined || site === main) return undefined;
  return `in site ${site}, and most voters are in ${main} (site_policy majority)`;
}

function siteOf(state: ClusterState, peer: PeerId): string | undefined {
  return state.peers.get(peer)?.site;
}

export function siteOfNode(state: ClusterState, node: NodeId): string | undefined {
  const peer = state.nodes.get(node)?.peer;
  return peer === undefined ? undefined : siteOf(state, peer);
}

/** The one site that holds more than half of the voters, where there is one. */
export function majoritySite(state: ClusterState): string | undefined {
  const { voters } = state.membership;
  const counts = new Map<string, number>();
  for (const voter of voters) {
    const site = siteOf(state, voter);
    if (site !== undefined) counts.set(site, (counts.get(site) ?? 0) + 1);
  }
  for (const [site, count] of counts) if (2 * count > voters.length) return site;
  return undefined;
}

/**
 * After a failback, whatever became of it, no other one begins for so long: twice as long with each that follows soon. A primary that a node
 * cannot keep would else be given to it every hour, for ever.
 */
export const FAILBACK_PAUSE_MS = 3_600_000;
export const FAILBACK_PAUSE_MS_MAX = 24 * FAILBACK_PAUSE_MS;

type Failbacks = Pick<GroupState, 'failbackAtMs' | 'failbackCount'>;

function failbackPauseMs({ failbackCount }: Failbacks): number {
  return Math.min(FAILBACK_PAUSE_MS * 2 ** Math.max(0, failbackCount - 1), FAILBACK_PAUSE_MS_MAX);
}

/** By wall clocks of hosts, of which one may be far ahead: a time that lies further in the future than the pause says nothing. */
function isSoon(group: Failbacks, atMs: number, forMs: number): boolean {
  return group.failbackAtMs !== undefined && Math.abs(atMs - group.failbackAtMs) < forMs;
}

/** One begins at `atMs`. The count begins anew once there was none for twice the pause. */
export function failbackAt(group: Failbacks, atMs: number): Failbacks {
  const isRepeated = isSoon(group, atMs, 2 * failbackPauseMs(group));
  return { failbackAtMs: atMs, failbackCount: isRepeated ? Math.min(group.failbackCount + 1, 6) : 1 };
}

/** Whether the node is one that the group should be led by. */
export function isPreferred(state: ClusterState, failback: Failback, node: NodeId): boolean {
  const { kind, name } = parsedFailback(failback);
  if (kind === 'node') return node === name;
  return kind === 'site' && siteOfNode(state, node) === name;
}

export function parsedFailback(failback: Failback): { readonly kind: string; readonly name: string } {
  const [kind = 'off', name = ''] = failback.split(':');
  return { kind, name };
}

/** Why no failback from the present primary may begin at `atMs` (wall time), whatever its target. */
export function failbackRefusal(state: ClusterState, group: GroupState, atMs: number): string | undefined {
  const { failback } = group.settings;
  if (failback === 'off') return `group ${group.id} has failback off`;
  if (isUnprotected(group)) return `group ${group.id} is being adopted: it is a person who ends that`;
  if (isPreferred(state, failback, group.phase.primary))
    return `${group.phase.primary}, the primary, is preferred already`;
  const pauseMs = failbackPauseMs(group);
  if (isSoon(group, atMs, pauseMs))
    return `the last failback of group ${group.id} is less than ${pauseMs / 60_000} min ago`;
  return undefined;
}
