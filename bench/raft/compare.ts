// Latency and throughput, ours and etcd's by turns. Who is first changes from round to round, so that neither a machine that
// gets slower nor what the one leaves to the other's disk favours anybody. Leaders are called directly, in both systems.
import { withDeadline } from '../../src/base/clock.ts';
import type { Contestant } from './contestant.ts';
import { termsOf, waitUntilWhole, type Watchers } from './leader.ts';
import {
  electionsBetween,
  medianOf,
  type Pair,
  type Ratio,
  ratioOf,
  type Spread,
  spreadOf,
} from './arithmetic.ts';
import { runLoad } from './load.ts';

/** `batched` means one stream for all clients; etcd has no such call, so its unary call stands beside it. */
export interface Load {
  readonly name: string;
  readonly kind: 'unary' | 'batched';
  readonly clientCount: number;
  /** What is compared. */
  readonly figure: 'latency' | 'throughput';
  /** The ratio to reach, where there is one. */
  readonly targetRatio: number | undefined;
}

export const LATENCY_LOADS: readonly Load[] = [
  { name: 'unary, 1 client', kind: 'unary', clientCount: 1, figure: 'latency', targetRatio: 1 },
  { name: 'stream, 1 client', kind: 'batched', clientCount: 1, figure: 'latency', targetRatio: undefined },
];
export const THROUGHPUT_LOADS: readonly Load[] = [
  { name: 'unary, 64 clients', kind: 'unary', clientCount: 64, figure: 'throughput', targetRatio: 0.7 },
  { name: 'stream, 64 clients', kind: 'batched', clientCount: 64, figure: 'throughput', targetRatio: 1 },
  {
    name: 'unary, 512 clients',
    kind: 'unary',
    clientCount: 512,
    figure: 'throughput',
    targetRatio: undefined,
  },
  { name: 'stream, 512 clients', kind: 'batched', clientCount: 512, figure: 'throughput', targetRatio: 1 },
];

export interface Measured {
  readonly perSecond: number;
  readonly latencyMs: Spread;
}

export interface LoadRound {
  readonly ours: Measured;
  readonly theirs: Measured | undefined;
}

export interface LoadResult {
  readonly load: Load;
  readonly ours: Measured;
  readonly theirs: Measured | undefined;
  readonly ratio: Ratio | undefined;
  readonly rounds: readonly LoadRound[];
}

export interface CompareOptions {
  readonly loads: readonly Load[];
  readonly roundCount: number;
  readonly windowMs: number;
  readonly valueBytes: number;
  readonly signal: AbortSignal;
  readonly onRound: (load: Load, round: number, measured: LoadRound) => void;
}

const WARM_UP_MS = 700;
const ANSWER_TIMEOUT_MS = 20_000;
/** A measurement in which the leader changed says nothing of the load; it is taken again. */
const TRY_COUNT_MAX = 5;

export async function compare(
  ours: Watchers,
  theirs: Watchers | undefined,
  options: CompareOptions,
): Promise<LoadResult[]> {
  const rounds = new Map<Load, LoadRound[]>(options.loads.map((load) => [load, []]));
  for (let round = 1; round <= options.roundCount; round++) {
    for (const load of options.loads) {
      const measured = await measurePair(ours, theirs, load, round % 2 === 0, options);
      rounds.get(load)?.push(measured);
      options.onRound(load, round, measured);
    }
  }
  return [...rounds].map(([load, measured]) => summarize(load, measured));
}

async function measurePair(
  ours: Watchers,
  theirs: Watchers | undefined,
  load: Load,
  theirsFirst: boolean,
  options: CompareOptions,
): Promise<LoadRound> {
  if (theirs === undefined) return { ours: await measure(ours, load, options), theirs: undefined };
  if (theirsFirst) {
    const second = await measure(theirs, load, options);
    return { ours: await measure(ours, load, options), theirs: second };
  }
  return { ours: await measure(ours, load, options), theirs: await measure(theirs, load, options) };
}

async function measure(watchers: Watchers, load: Load, options: CompareOptions): Promise<Measured> {
  for (let attempt = 1; ; attempt++) {
    const { leader } = await waitUntilWhole(watchers, options.signal);
    const before = await termsOf(watchers);
    try {
      const measured = await measureOnce(watchers.contestant, leader, load, options);
      if (electionsBetween(before, await termsOf(watchers)) === 0) return measured;
      throw new Error('the leader changed meanwhile');
    } catch (error) {
      options.signal.throwIfAborted();
      if (attempt >= TRY_COUNT_MAX)
        throw new Error(`${watchers.contestant.name} could not be measured with ${load.name}`, {
          cause: error,
        });
    }
  }
}

async function measureOnce(
  contestant: Contestant,
  leader: string,
  load: Load,
  options: CompareOptions,
): Promise<Measured> {
  const { windowMs, valueBytes, signal } = options;
  const client = contestant.open(leader);
  try {
    const propose = (load.kind === 'batched' ? client.proposeBatched : undefined) ?? client.propose;
    const { perSecond, latenciesMs } = await withDeadline(
      `${load.name} of ${contestant.name}`,
      WARM_UP_MS + windowMs + ANSWER_TIMEOUT_MS,
      runLoad({ propose, clientCount: load.clientCount, valueBytes, warmUpMs: WARM_UP_MS, windowMs, signal }),
    );
    return { perSecond, latencyMs: spreadOf(latenciesMs) };
  } finally {
    client.close();
  }
}

/** Figures are medians over the rounds; the ratio is the median of the ratios of the rounds. */
export function summarize(load: Load, rounds: readonly LoadRound[]): LoadResult {
  const pairs = rounds.flatMap(({ ours, theirs }): Pair[] =>
    theirs === undefined ? [] : [{ ours: figureOf(load, ours), theirs: figureOf(load, theirs) }],
  );
  return {
    load,
    ours: medianMeasured(rounds.map(({ ours }) => ours)),
    theirs: pairs.length === 0 ? undefined : medianMeasured(rounds.flatMap(({ theirs }) => theirs ?? [])),
    ratio: pairs.length === 0 ? undefined : ratioOf(pairs, load.figure === 'latency' ? 'lower' : 'higher'),
    rounds,
  };
}

function figureOf(load: Load, measured: Measured): number {
  return load.figure === 'latency' ? measured.latencyMs.median : measured.perSecond;
}

function medianMeasured(all: readonly Measured[]): Measured {
  const median = (pick: (measured: Measured) => number): number => medianOf(all.map(pick));
  return {
    perSecond: Math.round(median(({ perSecond }) => perSecond)),
    latencyMs: {
      count: all.reduce((sum, { latencyMs }) => sum + latencyMs.count, 0),
      median: median(({ latencyMs }) => latencyMs.median),
      p90: median(({ latencyMs }) => latencyMs.p90),
      p99: median(({ latencyMs }) => latencyMs.p99),
      max: Math.max(...all.map(({ latencyMs }) => latencyMs.max)),
    },
  };
}
