// What a large snapshot does to heartbeats while it is written down by all members, and while it is on its way to a follower
// that was away: snapshots have a channel of their own, but there is one event loop at each end.
import { delay, until } from '../../src/base/clock.ts';
import { electionsBetween } from './arithmetic.ts';
import { termsOf, waitUntilWhole, watchMembers, type Watchers } from './leader.ts';
import { runLoad } from './load.ts';
import type { SentinelCluster } from './sentinel-cluster.ts';
import { largestGapMs } from './stall.ts';

export interface SnapshotResult {
  readonly megabytes: number;
  /** Largest gap between two heartbeats while the snapshot was taken and written. */
  readonly takingGapMs: number;
  /** From the start of the follower's process until it has caught up. */
  readonly tookMs: number;
  /** Largest gap between two heartbeats that any follower saw meanwhile, the one that receives included. */
  readonly sendingGapMs: number;
  readonly elections: number;
}

const TIMEOUT_MS = 120_000;
const POLL_MS = 20;
const CLIENT_COUNT = 64;
const LOAD_WINDOW_MS = 250;
/** What is written behind the last answer: the snapshot goes to disk beside the log. */
const SETTLE_MS = 1500;
const SMALL_BYTES = 16;

export async function measureSnapshot(
  cluster: SentinelCluster,
  options: { readonly bytes: number; readonly valueBytes: number; readonly signal: AbortSignal },
): Promise<SnapshotResult> {
  const { signal } = options;
  const watchers = watchMembers(cluster);
  try {
    const { leader } = await waitUntilWhole(watchers, signal);
    const before = await termsOf(watchers);
    const [absent, present] = cluster.members.filter((member) => member !== leader);
    if (absent === undefined || present === undefined) throw new Error('too few members for a follower');
    const held = await watchers.viewOf(absent);
    await cluster.kill(absent);
    const both = [leader, present];
    await Promise.all(both.map((member) => cluster.ask(member, { kind: 'grow', bytes: options.bytes })));
    await cluster.ask(present, { kind: 'reset' });
    await loadUntilSnapshot(cluster, both, options);
    await delay(SETTLE_MS, signal);
    const takingGapMs = await largestGapMs(cluster, [present]);

    await cluster.ask(present, { kind: 'reset' });
    const startMs = performance.now();
    cluster.start(absent);
    await waitUntilCaughtUp(watchers, { leader, absent }, signal);
    const tookMs = performance.now() - startMs;
    const { snapshotIndex } = await cluster.figures(absent);
    if (held === undefined || snapshotIndex <= held.appliedIndex)
      throw new Error(`${absent} has caught up without a snapshot: nothing was measured`);
    const sendingGapMs = await largestGapMs(cluster, [present, absent]);
    const elections = electionsBetween(before, await termsOf(watchers));
    await Promise.all(both.map((member) => cluster.ask(member, { kind: 'grow', bytes: SMALL_BYTES })));
    return {
      megabytes: Math.round(options.bytes / 2 ** 20),
      takingGapMs: Math.round(takingGapMs),
      tookMs: Math.round(tookMs),
      sendingGapMs: Math.round(sendingGapMs),
      elections,
    };
  } finally {
    watchers.close();
  }
}

/** Proposes until each of `members` has taken another snapshot: the log of before is then gone. */
async function loadUntilSnapshot(
  cluster: SentinelCluster,
  members: readonly string[],
  options: { readonly valueBytes: number; readonly signal: AbortSignal },
): Promise<void> {
  const snapshots = (): Promise<number[]> =>
    Promise.all(members.map(async (member) => (await cluster.figures(member)).snapshotIndex));
  const first = await snapshots();
  const client = cluster.open(members[0] ?? '');
  const propose = client.proposeBatched ?? client.propose;
  const { valueBytes, signal } = options;
  const what = 'another snapshot';
  try {
    await until({ what, timeoutMs: TIMEOUT_MS, everyMs: 0, signal }, async () => {
      const load = { propose, clientCount: CLIENT_COUNT, valueBytes, signal };
      await runLoad({ ...load, warmUpMs: 0, windowMs: LOAD_WINDOW_MS });
      return (await snapshots()).every((index, at) => index > (first[at] ?? 0));
    });
  } finally {
    client.close();
  }
}

async function waitUntilCaughtUp(
  watchers: Watchers,
  { leader, absent }: { readonly leader: string; readonly absent: string },
  signal: AbortSignal,
): Promise<void> {
  const what = `${absent} to catch up by a snapshot`;
  await until({ what, timeoutMs: TIMEOUT_MS, everyMs: POLL_MS, signal }, async () => {
    const [there, here] = await Promise.all([watchers.viewOf(leader), watchers.viewOf(absent)]);
    return there !== undefined && here !== undefined && here.appliedIndex >= there.appliedIndex;
  });
}
