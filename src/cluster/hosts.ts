// What the configurations of the hosts say, as their peers have declared it: which node each runs, which formation a group belongs to, and
// which servers are only watched. Pure. A peer of an older version declares nothing, and nothing follows from that.
import type { GroupId, NodeId, PeerId } from '../base/ids.ts';
import type { HostedNode, ServerWord, WatchedServer } from './commands.ts';
import { majority } from './quorum.ts';
import { type ClusterState, type NodeState, type WatchedState, nodesOfGroup } from './state.ts';

/** Of a group that no configuration places elsewhere. */
export const DEFAULT_FORMATION = 'default';

/** How many servers one configuration may have watched. */
export const WATCHED_COUNT_MAX = 100;

/** The host of a node names another one in its configuration, or none. */
export interface Disowned {
  readonly peer: PeerId;
  /** What it runs now. */
  readonly runs: HostedNode | undefined;
}

/** Where the configuration of the node's own host no longer names it: nobody looks after it. Undefined where it does, or has not said. */
export function disowned(
  { peers }: Pick<ClusterState, 'peers'>,
  { node, peer }: Pick<NodeState, 'node' | 'peer'>,
): Disowned | undefined {
  const host = peers.get(peer)?.host;
  return host === undefined || host.runs?.node === node ? undefined : { peer, runs: host.runs };
}

/** For people: what has become of it, and what to do. */
export function disownedText(node: NodeId, { peer, runs }: Disowned): string {
  const now =
    runs === undefined ? 'its configuration does not name it' : `its configuration names ${runs.node}`;
  return `host ${peer} no longer runs node ${node} (${now})`;
}

/** The upstream that the node's owners have given it, where that is no node of its group; a name that was misspelled, or that has gone since. */
export function missingUpstream(
  { nodes }: Pick<ClusterState, 'nodes'>,
  { group, options }: Pick<NodeState, 'group' | 'options'>,
): NodeId | undefined {
  const upstream = options?.upstream;
  return upstream === undefined || nodes.get(upstream)?.group === group ? undefined : upstream;
}

/** For people: what comes of it, and what to do. */
export function missingUpstreamText(
  { node, group, peer }: Pick<NodeState, 'node' | 'group' | 'peer'>,
  upstream: NodeId,
): string {
  return `group ${group} has no node ${upstream}, which ${node} is to stream from (node.upstream of host ${peer}): ${node} follows the primary, and is still not counted for commits; correct the name, or leave it out`;
}

/** The formation that most configurations of the group's hosts name; of those that as many name, the first by name. */
export function formationOf(state: Pick<ClusterState, 'peers' | 'nodes'>, group: GroupId): string {
  const counts = formationsOf(state, group);
  const [most] = [...counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
  return most?.[0] ?? DEFAULT_FORMATION;
}

/** How many of the group's hosts name each formation. */
export function formationsOf(
  state: Pick<ClusterState, 'peers' | 'nodes'>,
  group: GroupId,
): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const { node, peer } of nodesOfGroup(state, group)) {
    const runs = state.peers.get(peer)?.host?.runs;
    if (runs?.node === node && runs.group === group)
      counts.set(runs.formation, (counts.get(runs.formation) ?? 0) + 1);
  }
  return counts;
}

/**
 * Every server that some peer's configuration has watched, in the order of their names. All voters watch it; where two configurations differ,
 * the one of the first peer by name counts.
 */
export function watchedServers({ peers }: Pick<ClusterState, 'peers'>): readonly WatchedServer[] {
  const servers = new Map<NodeId, WatchedServer>();
  for (const peer of [...peers.keys()].sort())
    for (const server of peers.get(peer)?.host?.watch ?? [])
      if (!servers.has(server.server)) servers.set(server.server, server);
  return [...servers.values()].sort((a, b) => (a.server < b.server ? -1 : 1));
}

/**
 * What a majority of the voters sees: that it is down, for whatever reason, or that it is up, in the same role and on the same timeline.
 * Undefined where no majority sees the same.
 */
export function conclusion(voters: readonly PeerId[], words: WatchedState['words']): ServerWord | undefined {
  const heard = words.filter(({ peer }) => voters.includes(peer)).map(({ word }) => word);
  const needed = majority(voters.length);
  for (const word of heard) if (heard.filter((other) => isAlike(word, other)).length >= needed) return word;
  return undefined;
}

/** Two words that tell of the same; why it is down may be seen differently. */
function isAlike(a: ServerWord, b: ServerWord): boolean {
  if (a.kind === 'down' || b.kind === 'down') return a.kind === b.kind;
  return a.role === b.role && a.timeline === b.timeline;
}

/** Whether a conclusion has to be replaced by `word`. */
export function isNews(before: ServerWord | undefined, word: ServerWord): boolean {
  return before === undefined || !isAlike(before, word);
}

export function sameWord(a: ServerWord | undefined, b: ServerWord | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  if (a.kind === 'down' || b.kind === 'down')
    return a.kind === 'down' && b.kind === 'down' && a.evidence === b.evidence;
  return isAlike(a, b);
}
