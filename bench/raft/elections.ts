// How long there is no leader after SIGKILL of the leader, and how long until a client's value is taken again. Measured from
// outside in the same way for both systems: the two others are asked again and again whom they follow.
import { delay, withDeadline } from '../../src/base/clock.ts';
import { type Spread, spreadOf } from './arithmetic.ts';
import { waitForNewLeader, waitUntilWhole, type Watchers } from './leader.ts';

export interface ElectionRun {
  /** From SIGKILL until one of the others names a new leader. */
  readonly leaderMs: number;
  /** From SIGKILL until the new leader has acknowledged a value. */
  readonly acknowledgedMs: number;
}

export interface ElectionResult {
  readonly leaderMs: Spread;
  readonly acknowledgedMs: Spread;
  /** Runs with a new leader within {@link ELECTION_BOUND_MS}. */
  readonly withinBoundCount: number;
  readonly runs: readonly ElectionRun[];
}

export const ELECTION_BOUND_MS = 1000;
const POLL_MS = 3;
const TIMEOUT_MS = 30_000;
const RETRY_MS = 5;
/** The kill comes at a moment that no heartbeat is in step with. */
const SPREAD_MS = 250;

export async function measureElections(
  watchers: Watchers,
  options: {
    readonly killCount: number;
    readonly valueBytes: number;
    readonly signal: AbortSignal;
    readonly onRun: (run: number, result: ElectionRun) => void;
  },
): Promise<ElectionResult> {
  const { signal } = options;
  const runs: ElectionRun[] = [];
  for (let run = 1; run <= options.killCount; run++) {
    const result = await killOnce(watchers, options.valueBytes, signal);
    runs.push(result);
    options.onRun(run, result);
  }
  await waitUntilWhole(watchers, signal);
  return summarizeElections(runs);
}

export function summarizeElections(runs: readonly ElectionRun[]): ElectionResult {
  return {
    leaderMs: spreadOf(runs.map(({ leaderMs }) => leaderMs)),
    acknowledgedMs: spreadOf(runs.map(({ acknowledgedMs }) => acknowledgedMs)),
    withinBoundCount: runs.filter(({ leaderMs }) => leaderMs <= ELECTION_BOUND_MS).length,
    runs,
  };
}

async function killOnce(watchers: Watchers, valueBytes: number, signal: AbortSignal): Promise<ElectionRun> {
  const { contestant } = watchers;
  const before = await waitUntilWhole(watchers, signal);
  await delay(SPREAD_MS + Math.random() * SPREAD_MS, signal);
  const killedMs = performance.now();
  const killed = contestant.kill(before.leader);
  const leader = await waitForNewLeader(watchers, before, {
    timeoutMs: TIMEOUT_MS,
    everyMs: POLL_MS,
    signal,
  });
  const leaderMs = performance.now() - killedMs;
  await acknowledge(watchers, leader, valueBytes, signal);
  const acknowledgedMs = performance.now() - killedMs;
  await killed;
  contestant.start(before.leader);
  return { leaderMs: Math.round(leaderMs), acknowledgedMs: Math.round(acknowledgedMs) };
}

/** Proposes to the new leader until it has taken one value. */
async function acknowledge(
  { contestant }: Watchers,
  leader: string,
  valueBytes: number,
  signal: AbortSignal,
): Promise<void> {
  const deadlineMs = performance.now() + TIMEOUT_MS;
  const client = contestant.open(leader);
  try {
    for (;;) {
      signal.throwIfAborted();
      try {
        await withDeadline('a value to be taken', TIMEOUT_MS, client.propose(Buffer.alloc(valueBytes, 'v')));
        return;
      } catch (error) {
        if (performance.now() > deadlineMs) throw error;
        await delay(RETRY_MS, signal);
      }
    }
  } finally {
    client.close();
  }
}
