// Hands the leadership of the log to another voter where this peer leads on the host of a primary (failover/placement.ts says when).
// Must never hold up the peer: it looks now and then, and a hand-over that fails is tried again much later.
import type { Clock } from '../base/clock.ts';
import type { PeerId } from '../base/ids.ts';
import type { ClusterState } from '../cluster/state.ts';
import { betterLeader, isQuiet } from '../failover/placement.ts';
import type { Consensus } from './consensus.ts';

const LOOK_EVERY_MS = 1000;
const TRANSFER_TIMEOUT_MS = 3000;

export interface LeaderPlacement {
  close(): void;
}

export function startLeaderPlacement(options: {
  readonly self: PeerId;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly state: () => ClusterState;
  readonly consensus: Pick<Consensus, 'status' | 'transfer'>;
  readonly isReachable: (peer: PeerId) => boolean;
  readonly onMove: (to: PeerId) => void;
}): LeaderPlacement {
  const { self, consensus } = options;
  /** Kept over reigns: a leadership that comes back at once is not sent away again at once. */
  const tried = new Map<PeerId, number>();
  let reign: { readonly term: number; readonly electedAtMs: number } | undefined;
  let quietSinceMs: number | undefined;

  const look = (): void => {
    const { role, term, membership, commitIndex, matchIndex } = consensus.status();
    const nowMs = options.clock.monotonicMs();
    if (role !== 'leader') {
      reign = undefined;
      quietSinceMs = undefined;
      return;
    }
    if (reign?.term !== term) reign = { term, electedAtMs: nowMs };
    const state = options.state();
    quietSinceMs = isQuiet(state) ? (quietSinceMs ?? nowMs) : undefined;
    const upToDate = membership.voters.filter(
      (voter) => voter !== self && options.isReachable(voter) && (matchIndex(voter) ?? 0) >= commitIndex,
    );
    const { electedAtMs } = reign;
    const to = betterLeader(state, { self, nowMs, electedAtMs, quietSinceMs, tried, upToDate });
    if (to === undefined) return;
    tried.set(to, nowMs);
    options.onMove(to);
    consensus.transfer(to, TRANSFER_TIMEOUT_MS).catch(() => undefined);
  };
  const timer = setInterval(look, LOOK_EVERY_MS);
  return { close: () => clearInterval(timer) };
}
