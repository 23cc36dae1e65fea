// Tells the log which site this peer is in, by its configuration: once, and again where the log says something else. An idle cluster
// writes nothing.
import type { PeerId } from '../base/ids.ts';
import { CANDIDATES_FEATURE_LEVEL } from '../cluster/features.ts';
import type { ClusterState } from '../cluster/state.ts';
import type { Replica } from './replica.ts';

const PROPOSAL_TIMEOUT_MS = 2000;
const RETRY_MS = 1000;

/** Until `signal` aborts. */
export function tellSite(options: {
  readonly self: PeerId;
  readonly site: string | undefined;
  readonly replica: Pick<Replica, 'state' | 'subscribe' | 'propose'>;
  readonly signal: AbortSignal;
}): void {
  const { self, site, replica, signal } = options;
  let isUnderWay = false;
  const look = (): void => {
    if (signal.aborted || isUnderWay || !isToTell(replica.state, self, site)) return;
    isUnderWay = true;
    const again = (): void => {
      isUnderWay = false;
      look();
    };
    const later = (): void => void setTimeout(again, RETRY_MS).unref();
    replica.propose({ kind: 'describe-peer', peer: self, site }, PROPOSAL_TIMEOUT_MS).then(later, later);
  };
  replica.subscribe(look);
  look();
}

/** The log has another site of this peer than its configuration, and every peer understands sites. */
function isToTell(state: ClusterState, self: PeerId, site: string | undefined): boolean {
  const known = state.peers.get(self);
  return known !== undefined && known.site !== site && state.featureLevel >= CANDIDATES_FEATURE_LEVEL;
}
