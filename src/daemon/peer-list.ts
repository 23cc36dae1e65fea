// `sentinelctl peer list`: who takes part, in which role, and how far each is. Pure; for people.
import type { PeerId } from '../base/ids.ts';
import type { ClusterState } from '../cluster/state.ts';
import type { PeerListEntry, PeerListView, PeerView } from '../transport/types.ts';
import type { ConsensusStatus } from './consensus.ts';

interface PeerListOptions {
  readonly cluster: string;
  readonly self: PeerId;
  readonly consensus: { readonly status: () => ConsensusStatus };
  readonly state: () => ClusterState;
  readonly isReachable: (peer: PeerId) => boolean;
}

export function peerList(options: PeerListOptions): PeerListView {
  const status = options.consensus.status();
  const { voters, learners, incarnation } = status.membership;
  const entry = (kind: 'voter' | 'learner') => (peer: PeerId) => entryOf(options, status, peer, kind);
  return {
    cluster: options.cluster,
    incarnation,
    featureLevel: options.state().featureLevel,
    leader: status.leader,
    peers: [...voters.map(entry('voter')), ...learners.map(entry('learner'))],
  };
}

function entryOf(
  options: PeerListOptions,
  status: ConsensusStatus,
  peer: PeerId,
  kind: 'voter' | 'learner',
): PeerListEntry {
  const isSelf = peer === options.self;
  const reachable = isSelf || options.isReachable(peer);
  const matchIndex = isSelf ? status.lastIndex : status.matchIndex(peer);
  const known = options.state().peers.get(peer);
  return {
    peer,
    address: status.membership.addresses.get(peer) ?? '',
    kind,
    role: roleOf(status, peer, isSelf, reachable),
    reachable,
    matchIndex,
    lagEntries:
      matchIndex === undefined || status.role !== 'leader' ? undefined : status.lastIndex - matchIndex,
    snapshotIndex: isSelf ? status.snapshotIndex : undefined,
    features: known?.features,
    session: known?.session,
  };
}

/** Of others, only who leads is known; whoever can be reached then follows. */
export function roleOf(
  status: ConsensusStatus,
  peer: PeerId,
  isSelf: boolean,
  reachable: boolean,
): PeerView['role'] {
  if (isSelf) {
    if (status.role === 'pre-candidate') return 'candidate';
    return status.role;
  }
  if (status.leader === peer) return 'leader';
  return reachable && status.leader !== undefined ? 'follower' : 'unknown';
}
