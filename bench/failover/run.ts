// One run: writers, a quiet stretch for comparison, the event, the return, the count. The cluster is whole before and after it,
// so that many runs share one.
import { delay, until } from '../../src/base/clock.ts';
import type { StatusView } from '../../src/transport/types.ts';
import { clusterAdmin, type ClusterAdmin } from '../../harness/admin.ts';
import type { Attempt } from '../../harness/attempt.ts';
import { INSERT, readBack } from '../../harness/clients.ts';
import { GROUP } from '../../harness/cluster-config.ts';
import { checkHistory, largestGap, outageOf } from '../../harness/history.ts';
import type { LocalCluster } from '../../harness/local-cluster.ts';
import {
  CLIENT_DEFAULTS,
  startStubbornWriter,
  startWriter,
  type Writer,
  type WriterSettings,
} from '../../harness/writer.ts';
import type { BenchOptions, Event } from './options.ts';
import { collectSteps, type Step } from './steps.ts';
import { strike, takeAim, TAKES_OVER } from './strike.ts';

export interface RunResult {
  readonly run: number;
  /** What the event cost the client that follows the primary; where the primary stays, the largest gap until the end. */
  readonly outageMs: number;
  /** The largest gap between two acknowledgements in the quiet stretch before the event, and how long that stretch was. */
  readonly controlGapMs: number;
  readonly controlMs: number;
  /** From the event until all nodes stream and count in the rule again; what was taken away came back in between. */
  readonly wholeAgainMs: number;
  /** The largest gap between two acknowledgements in the whole time after the event. */
  readonly largestGapMs: number;
  /** What was hit, for people. */
  readonly hit: string;
  readonly primaryBefore: string;
  readonly primaryAfter: string;
  readonly epoch: number;
  /** There was a failover or a switchover. */
  readonly failedOver: boolean;
  /** The Raft leader was among what was hit. */
  readonly leaderHit: boolean;
  readonly acked: number;
  readonly unknown: number;
  readonly lost: number;
  readonly doubles: number;
  readonly duplicates: number;
  readonly lateReplies: number;
  /** Why a switchover was called off, else null; the old primary goes on, and the outage is what the attempt cost. */
  readonly calledOff: string | null;
  /** Only where they were asked for. */
  readonly steps?: readonly Step[];
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
const CONTROL_MS = { takeover: 1000, upgrade: 10_000, spread: 500 } as const;
const WRITING_AFTER_MS = 1000;

/** How long clients write undisturbed before the event: where the primary stays about as long as the event takes. */
function controlLengthMs({ event, awayMs }: { readonly event: Event; readonly awayMs: number }): number {
  if (TAKES_OVER[event]) return CONTROL_MS.takeover;
  return event === 'upgrade' ? CONTROL_MS.upgrade : awayMs + WRITING_AFTER_MS;
}

/** Ids that were acknowledged in this run are handed to `onAcked`, to be looked for once more at the very end. */
export async function runOnce(
  context: RunContext,
  run: number,
  onAcked: (id: string) => void,
): Promise<RunResult> {
  const { cluster, options, signal } = context;
  const { event } = options;
  const { epoch: epochBefore } = await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
  const before = await cluster.primary();
  const { leader } = await cluster.admin.status();
  const aim = takeAim({ event, run, hosts: cluster.hosts, primary: before, leader });
  const ending = new AbortController();
  // Not through a host that will be hit: it may hang rather than refuse.
  const spared = cluster.hosts.filter((host) => !aim.hosts.includes(host));
  const admin = clusterAdmin((spared.length > 0 ? spared : cluster.hosts).map(({ address }) => address));
  const primaries = trackPrimaries(admin, before.node, AbortSignal.any([signal, ending.signal]));
  const { follower, stubborn } = startWriters(context, run);
  const writers = [follower, ...stubborn];
  try {
    await Promise.all(writers.map((writer) => writer.connected(CONNECT_TIMEOUT_MS)));
    await waitForAcks(follower, 'writes before the event', signal, (acks) => acks.length >= ACKED_BEFORE_MIN);
    const controlFromMs = performance.now();
    await delay(controlLengthMs(options) + Math.random() * CONTROL_MS.spread, signal);

    const { eventMs, calledOff, returning } = await strike({ cluster, options, aim, admin, signal });
    // From when on an acknowledgement by the old primary ends the outage too.
    let againMs = calledOff === null && TAKES_OVER[event] ? Number.POSITIVE_INFINITY : performance.now();
    returning?.then((atMs) => (againMs = atMs)).catch(() => undefined);
    const isOver = ({ node, startMs, endMs }: Attempt): boolean =>
      endMs > eventMs && (node !== before.node || startMs > againMs);
    const afterwards = 'a write acknowledged after the event';
    await waitForAcks(follower, afterwards, signal, (acks) => acks.some(isOver));
    if (returning !== undefined) await returning.then(() => delay(options.stubbornForMs, signal));
    const group = await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
    const wholeMs = performance.now();
    await delay(WRITING_AFTER_MS, signal);
    await waitForAcks(follower, 'a write acknowledged once all is whole again', signal, (acks) =>
      acks.some(({ startMs }) => startMs > wholeMs),
    );
    await Promise.all(writers.map((writer) => writer.stop()));

    const attempts = writers.flatMap((writer) => [...writer.attempts]);
    const there = await readBack(cluster.hostOf(group.primary ?? ''), prefixOf(run));
    const verdict = checkHistory({ attempts, readBack: there, primaries: primaries.seen });
    const worst = largestGap(follower.attempts, eventMs, Number.POSITIVE_INFINITY);
    const control = largestGap(follower.attempts, controlFromMs, eventMs);
    // Without a takeover (none is due, or it was thawed too soon for one) the outage is simply the largest gap.
    const outage = outageOf(follower.attempts, eventMs) ?? worst;
    if (outage === undefined || worst === undefined || control === undefined)
      throw new Error('the outage cannot be measured: nothing was acknowledged before or after the event');
    for (const { id, outcome } of attempts) if (outcome === 'acked') onAcked(id);
    const hit = aim.text;
    return {
      run,
      outageMs: Math.round(outage.ms),
      controlGapMs: Math.round(control.ms),
      controlMs: Math.round(eventMs - controlFromMs),
      wholeAgainMs: Math.round(wholeMs - eventMs),
      largestGapMs: Math.round(worst.ms),
      hit,
      primaryBefore: before.node,
      primaryAfter: group.primary ?? '',
      epoch: group.epoch,
      failedOver: group.epoch !== epochBefore,
      leaderHit: aim.hosts.some(({ peer }) => peer === leader),
      acked: verdict.acked,
      unknown: verdict.unknown,
      lost: verdict.lost.length,
      doubles: verdict.doubles.length,
      duplicates: verdict.duplicates.length,
      lateReplies: verdict.lateReplies.length,
      calledOff,
      ...(options.hasSteps
        ? { steps: await collectSteps({ cluster, eventMs, hit, outage, attempts: follower.attempts }) }
        : {}),
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
  const targets = cluster.hosts.filter(({ isWitness }) => !isWitness).map(({ target }) => target);
  const follower = startWriter({ ...common, name: `${prefixOf(run)}client`, paceMs: PACE_MS, targets });
  const stubborn = targets.flatMap((target) =>
    [undefined, CLIENT_DEFAULTS.statementTimeoutMs].map((statementTimeoutMs) => {
      const name = `${prefixOf(run)}${target.node}-${statementTimeoutMs === undefined ? 'patient' : 'hasty'}`;
      return startStubbornWriter({ ...common, name, paceMs: STUBBORN_PACE_MS, statementTimeoutMs, target });
    }),
  );
  return { follower, stubborn };
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
