// Whom this peer talks to, by what its log says. What is committed binds; what may still be truncated only adds: a peer that an
// uncommitted entry removes may be the leader that truncates it, and one that it adds may be the leader that commits it.
// Must never forget, on a restart, a store that the log has registered: a peer with a replaced disk has forgotten its votes.
import type { LogIndex, PeerId } from '../base/ids.ts';
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
export type Stores = ReadonlyMap<PeerId, ReadonlySet<string>>;

/** Incarnation and index are those of the committed membership: a recovery counts from when it is durable. */
export function identityFrom({ committed, pending }: Memberships, stores: Stores): TransportIdentity {
  const all = [committed.membership, ...pending];
  return {
    incarnation: committed.membership.incarnation,
    members: new Set(all.flatMap(({ voters, learners }) => [...voters, ...learners])),
    storeIds: stores,
    membershipIndex: committed.index,
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

/**
 * The stores that the entries above the applied state will register, where they are committed: after a restart the state is
 * that of the last snapshot, and until somebody commits something the log is all that this peer has to go by.
 */
export function storesAhead(
  state: ClusterState,
  entries: readonly Entry[],
): { readonly stores: Stores; readonly upTo: LogIndex } {
  const stores = new Map<PeerId, Set<string>>();
  let ahead = state;
  for (const entry of entries) {
    if (entry.index <= ahead.appliedIndex) continue;
    ahead = applied(ahead, entry);
    for (const { peer, store } of ahead.peers.values()) add(stores, peer, store);
  }
  return { stores, upTo: ahead.appliedIndex };
}

/** The stores that are registered now, and those ahead while they are. */
export function registeredStores(state: ClusterState, ahead: ReturnType<typeof storesAhead>): Stores {
  const stores = new Map<PeerId, Set<string>>();
  for (const { peer, store } of state.peers.values()) add(stores, peer, store);
  if (state.appliedIndex >= ahead.upTo) return stores;
  for (const [peer, ids] of ahead.stores) for (const id of ids) add(stores, peer, id);
  return stores;
}

function applied(state: ClusterState, entry: Entry): ClusterState {
  switch (entry.kind) {
    case 'noop':
      return applyNothing(state, entry.index);
    case 'config':
      return applyMembership(state, entry.index, membershipCodec.decode(entry.data));
    case 'command':
      return apply(state, entry.index, decodeEnvelope(entry.data)).state;
  }
}

function add(stores: Map<PeerId, Set<string>>, peer: PeerId, store: string): void {
  const known = stores.get(peer);
  if (known === undefined) stores.set(peer, new Set([store]));
  else known.add(store);
}
