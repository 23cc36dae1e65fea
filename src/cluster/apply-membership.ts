// A membership comes into force: who counts from here on, who is forgotten, and, where the log was recovered by one peer alone,
// every group held until all of its nodes have said where they stand.
import { type LogIndex, type PeerId, epoch as toEpoch } from '../base/ids.ts';
import type { Membership } from '../raft/types.ts';
import { forgettingUnwatched, watchedByVoters } from './apply-hosts.ts';
import type { ClusterState, GroupState, NodeState, PeerState, RemovedNode } from './state.ts';

export function applyMembership(state: ClusterState, index: LogIndex, membership: Membership): ClusterState {
  const before = state.membership.incarnation;
  const isRecovered = before > 0 && membership.incarnation > before;
  const next: ClusterState = {
    ...state,
    appliedIndex: index,
    membership,
    membershipIndex: index,
    peers: membersOnly(state.peers, membership),
    nodes: judgedByVoters(state.nodes, membership.voters),
    groups: isRecovered ? mapValues(state.groups, (group) => recovered(group, index)) : state.groups,
    removed: isRecovered ? mapValues(state.removed, doubtful) : state.removed,
  };
  return watchedByVoters(forgettingUnwatched(state, next));
}

/** A peer that comes back after it was removed is a new one: it may come with another store. */
function membersOnly(
  peers: ReadonlyMap<PeerId, PeerState>,
  { voters, learners }: Membership,
): ReadonlyMap<PeerId, PeerState> {
  const kept = [...peers].filter(([peer]) => voters.includes(peer) || learners.includes(peer));
  if (kept.length === peers.size) return peers;
  // mark: registration-forgotten
  return new Map(kept);
}

/** What a former voter judged must not count again should it come back. */
function judgedByVoters(nodes: ClusterState['nodes'], voters: readonly PeerId[]): ClusterState['nodes'] {
  const isVoice = (entry: { readonly peer: PeerId }): boolean => voters.includes(entry.peer);
  if ([...nodes.values()].every((node) => node.subjectiveDown.every(isVoice))) return nodes;
  // mark: judgement-of-removed-voter
  return mapValues(nodes, (node): NodeState => ({
    ...node,
    subjectiveDown: node.subjectiveDown.filter(isVoice),
  }));
}

/**
 * The lost part of the log may have held promotions and changes of the rule: nothing the group's state says about them counts
 * any more. `primary` and `timeline` are the last ones known.
 */
function recovered(group: GroupState, index: LogIndex): GroupState {
  // mark: recovered-group
  const { phase } = group;
  // It must not take writes by itself; nor may it go on, for it may have been promoted, and what was written since would be replaced.
  if (phase.kind === 'following')
    return { ...group, epoch: toEpoch(index), phase: { ...phase, isDoubtful: true } };
  return {
    ...group,
    epoch: toEpoch(index),
    phase: {
      kind: 'fencing',
      primary: phase.primary,
      timeline: phase.kind === 'creating' ? group.highestTimeline : phase.timeline,
      cause: { kind: 'recovered' },
      reports: [],
      off: [],
      reinstate: undefined,
    },
    rule: { members: [], acks: 0 },
    next: undefined,
    floor: undefined,
    cascades: [],
  };
}

/** It may have been let in again since, and been the primary: nothing of it is stopped or destroyed on the word of the log that is left. */
const doubtful = (removed: RemovedNode): RemovedNode => ({ ...removed, leaving: 'leave', isDoubtful: true });

function mapValues<K, V>(map: ReadonlyMap<K, V>, change: (value: V) => V): ReadonlyMap<K, V> {
  return new Map([...map].map(([key, value]) => [key, change(value)]));
}
