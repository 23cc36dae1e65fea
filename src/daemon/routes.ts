// How this peer reaches others where its configuration's `via` says otherwise than the log: through a forwarded port, a tunnel, a
// proxy. Only where it connects to changes: names, and what is said to others, are those of the log. Pure.
import type { NodeId, PeerId } from '../base/ids.ts';
import type { Duty } from '../failover/duties.ts';
import type { Target } from '../health/watch.ts';
import type { PeerAddress } from '../transport/types.ts';
import type { Endpoint } from './config-address.ts';

export interface Routes {
  readonly peers: ReadonlyMap<PeerId, Endpoint>;
  readonly nodes: ReadonlyMap<NodeId, Endpoint>;
}

/** Raft and reports. */
export function routedPeer(peer: PeerAddress, routes: Routes): PeerAddress {
  return { ...peer, ...routes.peers.get(peer.peer) };
}

/** Probes. */
export function routedTargets(targets: readonly Target[], routes: Routes): Target[] {
  return targets.map((target) => ({ ...target, ...routes.nodes.get(target.node) }));
}

/** The WAL stream, and what a rewind or a clone reads. */
export function routedDuty(duty: Duty, routes: Routes): Duty {
  if (duty.kind !== 'follow' || duty.upstream.site === 'outside') return duty;
  return { ...duty, upstream: { ...duty.upstream, ...routes.nodes.get(duty.upstream.node) } };
}
