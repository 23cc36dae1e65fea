// What a stalled event loop does: the leader computes for a while and sends nothing. Heartbeats come late by about as much;
// a stall well below the election timeout must not cost the leader its place.
import { delay } from '../../src/base/clock.ts';
import { electionsBetween, type Spread, spreadOf } from './arithmetic.ts';
import { termsOf, waitUntilWhole, watchMembers } from './leader.ts';
import type { SentinelCluster } from './sentinel-cluster.ts';

const STALLS_MS = [50, 200, 400] as const;
/** Gaps before and after belong to the stall too: a heartbeat may have been due at its begin. */
const BEFORE_MS = 400;
const AFTER_MS = 700;

export interface StallResult {
  readonly stallMs: number;
  readonly runs: number;
  /** Largest gap between two heartbeats that a follower saw in each run. */
  readonly largestGapMs: Spread;
  readonly elections: number;
}

export async function measureStalls(
  cluster: SentinelCluster,
  options: { readonly stallCount: number; readonly signal: AbortSignal },
): Promise<StallResult[]> {
  const watchers = watchMembers(cluster);
  try {
    const results: StallResult[] = [];
    for (const stallMs of STALLS_MS) {
      const gaps: number[] = [];
      let elections = 0;
      for (let run = 1; run <= options.stallCount; run++) {
        const { leader } = await waitUntilWhole(watchers, options.signal);
        const before = await termsOf(watchers);
        const followers = cluster.members.filter((member) => member !== leader);
        await Promise.all(followers.map((member) => cluster.ask(member, { kind: 'reset' })));
        await delay(BEFORE_MS, options.signal);
        await cluster.ask(leader, { kind: 'stall', ms: stallMs });
        await delay(AFTER_MS, options.signal);
        gaps.push(await largestGapMs(cluster, followers));
        elections += electionsBetween(before, await termsOf(watchers));
      }
      results.push({ stallMs, runs: options.stallCount, largestGapMs: spreadOf(gaps), elections });
    }
    return results;
  } finally {
    watchers.close();
  }
}

export async function largestGapMs(cluster: SentinelCluster, members: readonly string[]): Promise<number> {
  const figures = await Promise.all(members.map((member) => cluster.figures(member)));
  return Math.max(...figures.map(({ largestHeartbeatGapMs }) => largestHeartbeatGapMs ?? 0));
}
