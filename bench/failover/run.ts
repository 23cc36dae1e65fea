// One run: writers, the event, the failover, the return, the count. The cluster is whole before and after it, so that many
// runs share one.
import { delay, until } from '../../src/base/clock.ts';
import type { StatusView } from '../../src/transport/types.ts';
import { clusterAdmin, type ClusterAdmin } from '../../harness/admin.ts';
import type { Attempt } from '../../harness/attempt.ts';
import { INSERT, readBack } from '../../harness/clients.ts';
import { GROUP } from '../../harness/cluster-config.ts';
import { checkHistory, largestGap, outageOf } from '../../harness/history.ts';
import type { Host } from '../../harness/host.ts';
import type { LocalCluster } from '../../harness/local-cluster.ts';
import {
  CLIENT_DEFAULTS,
  startStubbornWriter,
  startWriter,
  type Writer,
  type WriterSettings,
} from '../../harness/writer.ts';
import type { BenchOptions } from './options.ts';

export interface RunResult {
  readonly run: number;
  readonly outageMs: number;
  /** From the event until all nodes stream and count in the rule again (for `freeze`, SIGCONT is in between). */
  readonly wholeAgainMs: number;
  /** The largest gap between two acknowledgements in the whole time after the event. */
  readonly largestGapMs: number;
  readonly primaryBefore: string;
  readonly primaryAfter: string;
  readonly epoch: number;
  /** The Raft leader was on the host that was hit. */
  readonly leaderHit: boolean;
  readonly acked: number;
  readonly unknown: number;
  readonly lost: number;
  readonly doubles: number;
  readonly duplicates: number;
  readonly lateReplies: number;
  /** Why a switchover was called off, else null; the old primary goes on, and the outage is what the attempt cost. */
  readonly calledOff: string | null;
}

export interface RunContext {
  readonly cluster: LocalCluster;
  readonly options: BenchOptions;
  readonly client: WriterSettings['client'];
  readonly signal: AbortSignal;
}

export const PACE_MS = 2;
export const STUBBORN_PACE_MS = 10;
const HEALTHY_TIMEOUT_MS = 180_000;
const FAILOVER_TIMEOUT_MS = 60_000;
const CONNECT_TIMEOUT_MS = 10_000;
const ACKED_BEFORE_MIN = 100;
/** The event comes at a time that no probe or heartbeat is in step with. */
const WRITING_BEFORE_MS = { least: 700, spread: 500 } as const;
const WRITING_AFTER_MS = 1000;
const FENCING_POLL_MS = 5;
const AGENT_LATER_MS = 1000;

/** Ids that were acknowledged in this run are handed to `onAcked`, to be looked for once more at the very end. */
export async function runOnce(
  context: RunContext,
  run: number,
  onAcked: (id: string) => void,
): Promise<RunResult> {
  const { cluster, options, signal } = context;
  await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
  const before = await cluster.primary();
  const leader = (await cluster.admin.status()).leader;
  const ending = new AbortController();
  // Not through the host that will be hit: it may hang rather than refuse.
  const admin = clusterAdmin(cluster.hosts.filter((host) => host !== before).map(({ address }) => address));
  const primaries = trackPrimaries(admin, before.node, AbortSignal.any([signal, ending.signal]));
  const { follower, stubborn } = startWriters(context, run);
  const writers = [follower, ...stubborn];
  try {
    await Promise.all(writers.map((writer) => writer.connected(CONNECT_TIMEOUT_MS)));
    await waitForAcks(follower, 'writes before the event', signal, (acks) => acks.length >= ACKED_BEFORE_MIN);
    await delay(WRITING_BEFORE_MS.least + Math.random() * WRITING_BEFORE_MS.spread, signal);

    const { eventMs, calledOff } = await strike(context, before);
    const thawedMs = options.event === 'freeze' ? thaw(context, admin, before, eventMs) : undefined;
    // From when on an acknowledgement by the old primary ends the outage too.
    let againMs = calledOff === null ? Number.POSITIVE_INFINITY : performance.now();
    thawedMs?.then((atMs) => (againMs = atMs)).catch(() => undefined);
    await waitForAcks(follower, 'a write acknowledged after the event', signal, (acks) =>
      acks.some(({ node, endMs }) => endMs > eventMs && (node !== before.node || endMs > againMs)),
    );
    if (thawedMs !== undefined) await thawedMs.then(() => delay(options.stubbornForMs, signal));
    const group = await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
    const wholeAgainMs = performance.now() - eventMs;
    await delay(WRITING_AFTER_MS, signal);
    await Promise.all(writers.map((writer) => writer.stop()));

    const attempts = writers.flatMap((writer) => [...writer.attempts]);
    const there = await readBack(cluster.hostOf(group.primary ?? ''), prefixOf(run));
    const verdict = checkHistory({ attempts, readBack: there, primaries: primaries.seen });
    const worst = largestGap(follower.attempts, eventMs, Number.POSITIVE_INFINITY);
    // Without a takeover (thawed too soon for one) the outage is simply the largest gap.
    const outage = outageOf(follower.attempts, eventMs) ?? worst;
    if (outage === undefined || worst === undefined)
      throw new Error('the outage cannot be measured: nothing was acknowledged after the event');
    for (const { id, outcome } of attempts) if (outcome === 'acked') onAcked(id);
    return {
      run,
      outageMs: Math.round(outage.ms),
      wholeAgainMs: Math.round(wholeAgainMs),
      largestGapMs: Math.round(worst.ms),
      primaryBefore: before.node,
      primaryAfter: group.primary ?? '',
      epoch: group.epoch,
      leaderHit: leader === before.peer,
      acked: verdict.acked,
      unknown: verdict.unknown,
      lost: verdict.lost.length,
      doubles: verdict.doubles.length,
      duplicates: verdict.duplicates.length,
      lateReplies: verdict.lateReplies.length,
      calledOff,
    };
  } finally {
    ending.abort();
    admin.close();
    await Promise.all(writers.map((writer) => writer.stop()));
  }
}

const prefixOf = (run: number): string => `run${run}-`;

/**
 * One client that follows, and two pinned to every node: one waits for its insert for ever (its session survives a freeze),
 * one gives up after the statement timeout and connects to the same node again.
 */
function startWriters(
  { cluster, client }: RunContext,
  run: number,
): { follower: Writer; stubborn: Writer[] } {
  const common = { ...CLIENT_DEFAULTS, client, insert: INSERT };
  const targets = cluster.hosts.map(({ target }) => target);
  const follower = startWriter({ ...common, name: `${prefixOf(run)}client`, paceMs: PACE_MS, targets });
  const stubborn = targets.flatMap((target) =>
    [undefined, CLIENT_DEFAULTS.statementTimeoutMs].map((statementTimeoutMs) => {
      const name = `${prefixOf(run)}${target.node}-${statementTimeoutMs === undefined ? 'patient' : 'hasty'}`;
      return startStubbornWriter({ ...common, name, paceMs: STUBBORN_PACE_MS, statementTimeoutMs, target });
    }),
  );
  return { follower, stubborn };
}

interface Struck {
  readonly eventMs: number;
  readonly calledOff: string | null;
}

/** Lets the event happen; returns its monotonic time. Only a switchover may be called off. */
async function strike({ cluster, options, signal }: RunContext, primary: Host): Promise<Struck> {
  switch (options.event) {
    case 'crash': {
      if (options.lagBeforeMs > 0) {
        primary.stopWalSenders();
        await delay(options.lagBeforeMs, signal);
      }
      const eventMs = performance.now();
      primary.killPostmaster();
      return { eventMs, calledOff: null };
    }
    case 'freeze': {
      const eventMs = performance.now();
      await primary.freeze();
      return { eventMs, calledOff: null };
    }
    case 'switchover': {
      const eventMs = performance.now();
      const outcome = await cluster.admin.failover({ group: GROUP, to: undefined }, FAILOVER_TIMEOUT_MS);
      return { eventMs, calledOff: outcome.kind === 'refused' ? outcome.reason : null };
    }
  }
}

/** Sends SIGCONT when it is time; returns when that was. */
async function thaw(
  { options, signal }: RunContext,
  admin: ClusterAdmin,
  host: Host,
  eventMs: number,
): Promise<number> {
  if (options.thawAfter !== 'fencing') {
    await delay(eventMs + options.thawAfter - performance.now(), signal);
    host.thaw();
    return performance.now();
  }
  const what = 'the failover to begin';
  await until({ what, timeoutMs: FAILOVER_TIMEOUT_MS, everyMs: FENCING_POLL_MS, signal }, async () => {
    const group = (await admin.status()).groups.find((each) => each.group === GROUP);
    return group !== undefined && (group.phase !== 'running' || group.primary !== host.node);
  });
  host.thaw('postgres');
  const thawedMs = performance.now();
  await delay(AGENT_LATER_MS, signal);
  host.thaw();
  return thawedMs;
}

interface Primaries {
  readonly seen: readonly string[];
}

/** The primaries in the order of their epochs, as the log has them; a resumed one is not listed twice. */
function trackPrimaries(admin: ClusterAdmin, first: string, signal: AbortSignal): Primaries {
  const seen = [first];
  const take = (status: StatusView): void => {
    const group = status.groups.find((each) => each.group === GROUP);
    if (group?.phase === 'promoting' || group?.phase === 'running') {
      if (group.primary !== undefined && group.primary !== seen.at(-1)) seen.push(group.primary);
    }
  };
  admin.watch(take, signal).catch(() => undefined);
  return { seen };
}

async function waitForAcks(
  writer: Writer,
  what: string,
  signal: AbortSignal,
  condition: (acks: readonly Attempt[]) => boolean,
): Promise<void> {
  const acks = (): Attempt[] => writer.attempts.filter(({ outcome }) => outcome === 'acked');
  await until({ what, timeoutMs: FAILOVER_TIMEOUT_MS, everyMs: 20, signal }, () => condition(acks()));
}
