// Tells the log which site this peer is in, by its configuration: once, and again where the log says something else. An idle cluster
// writes nothing.
import type { PeerId } from '../base/ids.ts';
import { CANDIDATES_FEATURE_LEVEL } from '../cluster/features.ts';
import type { ClusterState } from '../cluster/state.ts';
import type { Replica } from './replica.ts';
import { keepTold } from './tell-log.ts';

/** Until `signal` aborts. */
export function tellSite(options: {
  readonly self: PeerId;
  readonly site: string | undefined;
  readonly replica: Pick<Replica, 'state' | 'subscribe' | 'propose'>;
  readonly signal: AbortSignal;
}): void {
  const { self, site, replica, signal } = options;
  keepTold({
    wanted: (state) =>
      isToTell(state, self, site) ? { kind: 'describe-peer', peer: self, site } : undefined,
    replica,
    signal,
  });
}

/** The log has another site of this peer than its configuration, and every peer understands sites. */
function isToTell(state: ClusterState, self: PeerId, site: string | undefined): boolean {
  const known = state.peers.get(self);
  return known !== undefined && known.site !== site && state.featureLevel >= CANDIDATES_FEATURE_LEVEL;
}
