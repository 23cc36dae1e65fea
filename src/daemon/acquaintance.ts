// What the transport is told of whom this peer talks to, from the state of the core and the replicated state. The rules are in
// src/cluster/acquaintance.ts. Must never tell of less than the log holds.
import type { PeerId } from '../base/ids.ts';
import { type Stores, type StoresAhead, storesAhead, storesOf } from '../cluster/acquaintance.ts';
import { apply, applyNothing } from '../cluster/apply.ts';
import { applyMembership } from '../cluster/apply-membership.ts';
import { decodeEnvelope, membershipCodec } from '../cluster/codec.ts';
import type { ClusterState } from '../cluster/state.ts';
import type { Entry, Membership } from '../raft/types.ts';
import type { PeerAddress, TransportIdentity } from '../transport/types.ts';
import type { Config } from './config.ts';
import type { ConsensusStatus } from './consensus.ts';
import { otherPeers } from './membership.ts';

type Memberships = Pick<ConsensusStatus, 'committed' | 'pending'>;

/** Incarnation and index are those of the committed membership: a recovery counts from when it is durable. */
export function identityFrom(
  { committed, pending, membershipIndex }: Memberships & Pick<ConsensusStatus, 'membershipIndex'>,
  stores: Stores,
): TransportIdentity {
  const all = [committed.membership, ...pending];
  return {
    incarnation: committed.membership.incarnation,
    members: new Set(all.flatMap(({ voters, learners }) => [...voters, ...learners])),
    storeIds: stores,
    membershipIndex: committed.index,
    logMembershipIndex: Math.max(membershipIndex, committed.index),
  };
}

/** The other peers of all these memberships, each where the latest of them says. */
export function peersFrom(
  { committed, pending }: Memberships,
  config: Pick<Config, 'peers' | 'peer'>,
): PeerAddress[] {
  const addresses = [committed.membership, ...pending].flatMap((each) => [...each.addresses]);
  const all: Membership = { ...committed.membership, addresses: new Map(addresses) };
  return otherPeers(all, config);
}

/** What the log holds beyond the state, once after a start. */
export function readAhead(state: ClusterState, entries: readonly Entry[]): StoresAhead {
  return storesAhead(state, entries, applied);
}

/** Of every peer that has any. */
export function registeredStores(state: ClusterState, ahead: StoresAhead): Stores {
  const stores = new Map<PeerId, ReadonlySet<string>>();
  for (const peer of new Set([...state.peers.keys(), ...ahead.stores.keys()])) {
    const known = storesOf(state, ahead, peer);
    if (known !== undefined) stores.set(peer, known);
  }
  return stores;
}

/** The state after one more entry. */
export function applied(state: ClusterState, entry: Entry): ClusterState {
  switch (entry.kind) {
    case 'noop':
      return applyNothing(state, entry.index);
    case 'config':
      return applyMembership(state, entry.index, membershipCodec.decode(entry.data));
    case 'command':
      return apply(state, entry.index, decodeEnvelope(entry.data)).state;
  }
}
