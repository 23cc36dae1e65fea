// Where the Raft leader should be: not on the host of a primary, so that losing that host costs no election on top of the failover.
// Pure. Must never move it while anything is under way, nor back and forth: it goes only to a voter that hosts fewer primaries.
import type { PeerId } from '../base/ids.ts';
import type { ClusterState } from '../cluster/state.ts';

/** A leader stays for so long after its election. */
export const SETTLE_MS = 5000;
/** All has to have been quiet for so long before it moves. */
export const QUIET_MS = 5000;
/** Between two moves of one process: one that does not come about, or is undone, is not made again and again. */
export const RETRY_MS = 60_000;

export interface Placement {
  readonly self: PeerId;
  readonly nowMs: number;
  /** When this peer was elected. */
  readonly electedAtMs: number;
  /** Since when {@link isQuiet} has held; undefined: it does not. */
  readonly quietSinceMs: number | undefined;
  /** When its process last tried to hand over to whom, in whatever reign. */
  readonly tried: ReadonlyMap<PeerId, number>;
  /** Other voters that can be reached and hold all that is committed. */
  readonly upToDate: readonly PeerId[];
}

/** No group is being created, failed over or promoted, or about to be: nobody holds its primary for down. */
export function isQuiet(state: ClusterState): boolean {
  return [...state.groups.values()].every(
    ({ phase, next }) =>
      phase.kind === 'running' &&
      next === undefined &&
      (state.nodes.get(phase.primary)?.subjectiveDown.length ?? 0) === 0,
  );
}

/** The voter that should lead in this peer's place; undefined where it stays. */
export function betterLeader(state: ClusterState, placement: Placement): PeerId | undefined {
  const { self, nowMs, electedAtMs, quietSinceMs, tried, upToDate } = placement;
  if (nowMs - electedAtMs < SETTLE_MS) return undefined;
  if (quietSinceMs === undefined || nowMs - quietSinceMs < QUIET_MS) return undefined;
  for (const triedAtMs of tried.values()) if (nowMs - triedAtMs < RETRY_MS) return undefined;
  const counts = primariesByPeer(state);
  const countOf = (peer: PeerId): number => counts.get(peer) ?? 0;
  const triedAt = (peer: PeerId): number => tried.get(peer) ?? Number.NEGATIVE_INFINITY;
  const [best] = upToDate
    .filter((peer) => state.membership.voters.includes(peer))
    .toSorted(
      (a, b) =>
        countOf(a) - countOf(b) ||
        (triedAt(a) === triedAt(b) ? (a < b ? -1 : 1) : triedAt(a) < triedAt(b) ? -1 : 1),
    );
  return best !== undefined && countOf(best) < countOf(self) ? best : undefined;
}

function primariesByPeer(state: ClusterState): ReadonlyMap<PeerId, number> {
  const counts = new Map<PeerId, number>();
  for (const { phase } of state.groups.values()) {
    const peer = state.nodes.get(phase.primary)?.peer;
    if (peer !== undefined) counts.set(peer, (counts.get(peer) ?? 0) + 1);
  }
  return counts;
}
