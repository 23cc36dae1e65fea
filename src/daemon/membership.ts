// The membership that a peer begins with, from its configuration, and the addresses that a membership gives the transport.
// Once the store holds a membership, the configuration's `peers` count no more. Pure.
import type { PeerId } from '../base/ids.ts';
import type { Membership } from '../raft/types.ts';
import type { PeerAddress } from '../transport/types.ts';
import { NOBODY } from './beginning.ts';
import { formatEndpoint, parseEndpoint } from './config-address.ts';
import type { Config } from './config.ts';

/** All peers of the configuration as voters; of a joining peer nobody: it is told by the leader that adds it. */
export function initialMembership(config: Pick<Config, 'peers' | 'isJoining'>): Membership {
  if (config.isJoining) return NOBODY;
  const sorted = config.peers.toSorted((a, b) => (a.peer < b.peer ? -1 : 1));
  return {
    voters: sorted.map(({ peer }) => peer),
    learners: [],
    addresses: new Map(sorted.map((peer) => [peer.peer, formatEndpoint(peer)])),
    incarnation: 1,
  };
}

/** Where the other peers are; a peer that was told of no membership yet takes its configuration's word. */
export function otherPeers(membership: Membership, config: Pick<Config, 'peers' | 'peer'>): PeerAddress[] {
  if (membership.incarnation === 0) return config.peers.filter(({ peer }) => peer !== config.peer);
  const others: PeerAddress[] = [];
  for (const [peer, address] of membership.addresses) {
    const endpoint = parseEndpoint(address);
    if (peer !== config.peer && endpoint !== undefined) others.push({ peer, ...endpoint });
  }
  return others;
}

/** How the other peers reach `peer`: as the membership says, else as the configuration does. */
export function addressOf(membership: Membership, peer: PeerId, config: Pick<Config, 'peers'>): string {
  const configured = config.peers.find((each) => each.peer === peer);
  return membership.addresses.get(peer) ?? (configured === undefined ? '' : formatEndpoint(configured));
}
