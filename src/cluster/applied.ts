// Small steps that the apply-*.ts files share: finding a group at an epoch, replacing a group, a node or a peer.
import type { Epoch, GroupId, NodeId } from '../base/ids.ts';
import type { Command } from './commands.ts';
import type { ClusterState, GroupState, NodeState, PeerState } from './state.ts';

/** The next state, or why the command does not fit the present one. */
export type Applied = ClusterState | { readonly refused: string };

/** One command of the log, by its kind. */
export type CommandOf<K extends Command['kind']> = Extract<Command, { readonly kind: K }>;

export function refuse(reason: string): { readonly refused: string } {
  return { refused: reason };
}

export function isRefused<T extends object>(
  value: T | { readonly refused: string },
): value is { readonly refused: string } {
  return 'refused' in value;
}

/** The group, where it stands at exactly this epoch; commands of an older epoch have no effect. */
export function groupAt(
  state: ClusterState,
  id: GroupId,
  epoch: Epoch,
): GroupState | { readonly refused: string } {
  const group = state.groups.get(id);
  if (group === undefined) return refuse(`there is no group ${id}`);
  if (group.epoch !== epoch) return refuse(`group ${id} is at epoch ${group.epoch}, not ${epoch}`);
  return group;
}

export function withGroup(state: ClusterState, group: GroupState): ClusterState {
  return { ...state, groups: withEntry(state.groups, group.id, group) };
}

export function withNode(state: ClusterState, id: NodeId, node: NodeState): ClusterState {
  return { ...state, nodes: withEntry(state.nodes, id, node) };
}

export function withPeer(state: ClusterState, peer: PeerState): ClusterState {
  return { ...state, peers: withEntry(state.peers, peer.peer, peer) };
}

/** A copy with one entry more or replaced, in the order of the keys: the order is part of the state, for refusals name the first. */
export function withEntry<K extends string, V>(map: ReadonlyMap<K, V>, key: K, value: V): ReadonlyMap<K, V> {
  if (map.has(key)) return new Map(map).set(key, value);
  return new Map([...map, [key, value] as const].sort(([a], [b]) => (a < b ? -1 : 1)));
}
