// Full throughput for a long time: a load must never cause an election. Every failure is counted and the load goes on.
import { delay, withDeadline } from '../../src/base/clock.ts';
import { electionsBetween, type Spread, spreadOf } from './arithmetic.ts';
import type { Load } from './compare.ts';
import { termsOf, waitUntilWhole, type Watchers } from './leader.ts';
import { runLoad } from './load.ts';

export interface SteadyResult {
  readonly name: string;
  readonly seconds: number;
  readonly elections: number;
  /** How often the load broke off and began anew. */
  readonly failures: readonly string[];
  readonly perSecond: number;
  readonly latencyMs: Spread | undefined;
}

const ANSWER_TIMEOUT_MS = 20_000;
const PAUSE_MS = 200;

export async function runSteady(
  watchers: Watchers,
  options: {
    readonly load: Pick<Load, 'kind' | 'clientCount' | 'name'>;
    readonly steadyMs: number;
    readonly valueBytes: number;
    readonly signal: AbortSignal;
  },
): Promise<SteadyResult> {
  const { load, valueBytes, signal } = options;
  await waitUntilWhole(watchers, signal);
  const before = await termsOf(watchers);
  const endMs = performance.now() + options.steadyMs;
  const failures: string[] = [];
  // A loop, not a spread: there may be a million of them.
  const latenciesMs: number[] = [];
  let answered = 0;
  while (performance.now() < endMs) {
    const { leader } = await waitUntilWhole(watchers, signal);
    const client = watchers.contestant.open(leader);
    try {
      const propose = (load.kind === 'batched' ? client.proposeBatched : undefined) ?? client.propose;
      const windowMs = Math.max(1, endMs - performance.now());
      const result = await withDeadline(
        `${load.name} of ${watchers.contestant.name}`,
        windowMs + ANSWER_TIMEOUT_MS,
        runLoad({ propose, clientCount: load.clientCount, valueBytes, warmUpMs: 0, windowMs, signal }),
      );
      answered += result.latenciesMs.length;
      for (const ms of result.latenciesMs) latenciesMs.push(ms);
    } catch (error) {
      signal.throwIfAborted();
      failures.push(error instanceof Error ? error.message : String(error));
      await delay(PAUSE_MS, signal);
    } finally {
      client.close();
    }
  }
  await waitUntilWhole(watchers, signal);
  return {
    name: load.name,
    seconds: options.steadyMs / 1000,
    elections: electionsBetween(before, await termsOf(watchers)),
    failures,
    perSecond: Math.round((answered / options.steadyMs) * 1000),
    latencyMs: latenciesMs.length === 0 ? undefined : spreadOf(latenciesMs),
  };
}
