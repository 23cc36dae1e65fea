// The leader's part in fencing from outside: where a failover waits for proof that the former primary is stopped, it runs the fence
// command and puts its success into the log. Must never run it twice at once, nor for a node that answers again, nor once it leads no more.
import { type FenceCommand, type FenceResult, runFenceCommand } from '../actions/fence-command.ts';
import { type Clock, settledWithin } from '../base/clock.ts';
import type { PeerId } from '../base/ids.ts';
import type { Command } from '../cluster/commands.ts';
import type { ClusterState } from '../cluster/state.ts';
import { type FenceTarget, fenceTargets } from '../failover/fence-target.ts';
import type { View } from '../failover/view.ts';
import type { ProposalOutcome } from './replica.ts';

const LOOK_EVERY_MS = 200;
/** It has to have been needed for so long: a leader that was just elected has not heard of every agent yet. */
const SETTLE_MS = 1000;
const PROPOSAL_TIMEOUT_MS = 5000;
const PROPOSALS_MAX = 5;
const RETRY_MS = 5000;
const RETRY_MS_MAX = 60_000;
const CLOSE_MS = 3000;

export interface FenceRunner {
  setLeading(isLeading: boolean): void;
  /** Looks at once whether it is needed, or needed no more; does nothing on a peer that is not leader. */
  consider(): void;
  /** Ends what is under way; resolves when nothing is any more, or after a few seconds. */
  close(): Promise<void>;
}

interface Attempt {
  readonly target: FenceTarget;
  nextMs: number;
  failureCount: number;
  running: { readonly abort: AbortController; readonly work: Promise<void> } | undefined;
}

export function startFenceRunner(options: {
  readonly self: PeerId;
  readonly cluster: string;
  readonly fence: FenceCommand | undefined;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly state: () => ClusterState;
  readonly view: () => View;
  /** A quorum round: true where this peer still leads, and has applied what was committed before. */
  readonly confirm: () => Promise<boolean>;
  readonly propose: (command: Command, timeoutMs: number) => Promise<ProposalOutcome>;
  readonly run?: typeof runFenceCommand;
  readonly closeMs?: number;
  readonly log: (level: 'info' | 'warn' | 'error', message: string, fields: object) => void;
}): FenceRunner {
  const { fence, clock } = options;
  const run = options.run ?? runFenceCommand;
  const attempts = new Map<string, Attempt>();
  let isLeading = false;
  let isClosed = false;

  const isWanted = (target: FenceTarget): boolean =>
    isLeading &&
    fenceTargets(options.state(), options.view(), options.self).some((now) => keyOf(now) === keyOf(target));

  const look = (): void => {
    if (fence === undefined) return;
    const targets = isLeading ? fenceTargets(options.state(), options.view(), options.self) : [];
    const wanted = new Set(targets.map(keyOf));
    for (const [key, attempt] of attempts) {
      if (wanted.has(key)) continue;
      attempt.running?.abort.abort();
      // One that is still ending keeps its place: another must not run beside it.
      if (attempt.running === undefined) attempts.delete(key);
    }
    const nowMs = clock.monotonicMs();
    for (const target of targets) {
      const key = keyOf(target);
      const attempt = attempts.get(key) ?? newAttempt(target, nowMs);
      attempts.set(key, attempt);
      const isBusy = [...attempts.values()].some(
        (other) => other.running !== undefined && other.target.node === target.node,
      );
      if (isBusy || nowMs < attempt.nextMs) continue;
      const abort = new AbortController();
      const work = carryOut(fence, attempt, abort.signal).finally(() => (attempt.running = undefined));
      attempt.running = { abort, work };
    }
  };

  const carryOut = async (command: FenceCommand, attempt: Attempt, signal: AbortSignal): Promise<void> => {
    const { target } = attempt;
    const { group, node, epoch, incarnation, host } = target;
    const fields = { group, node, epoch, incarnation, host };
    if (!(await options.confirm()) || signal.aborted || !isWanted(target)) {
      attempt.nextMs = clock.monotonicMs() + SETTLE_MS;
      return;
    }
    options.log(
      'warn',
      'the fence command is run: nothing else proves that the former primary is stopped',
      fields,
    );
    const result = await run({ fence: command, cluster: options.cluster, target, signal });
    if (result.kind === 'done') {
      options.log('warn', 'the fence command says that the former primary is off', { ...fields, ...result });
      // True whatever became of the leadership meanwhile; apply refuses it at another epoch.
      await put({ kind: 'node-off', group, epoch, node, by: 'fence-command' });
      return;
    }
    if (signal.aborted) {
      options.log('info', 'the fence command was called off: it is not needed any more', {
        ...fields,
        ...result,
      });
      return;
    }
    await failed(attempt, result, fields);
  };

  const failed = async (
    attempt: Attempt,
    result: Extract<FenceResult, { readonly kind: 'failed' }>,
    fields: object,
  ): Promise<void> => {
    const { group, node, epoch } = attempt.target;
    const pauseMs = Math.min(RETRY_MS * 2 ** attempt.failureCount, RETRY_MS_MAX);
    attempt.failureCount += 1;
    attempt.nextMs = clock.monotonicMs() + pauseMs;
    options.log('error', 'the fence command could not switch the former primary off', {
      ...fields,
      ...result,
      retryMs: pauseMs,
    });
    await put({ kind: 'fence-failed', group, epoch, node, reason: result.reason });
  };

  /** Until a leader has taken or refused it. */
  const put = async (command: Command): Promise<void> => {
    for (let count = 0; count < PROPOSALS_MAX && !(isClosed && count > 0); count += 1)
      if ((await options.propose(command, PROPOSAL_TIMEOUT_MS)).kind !== 'unknown') return;
  };

  const timer = setInterval(look, LOOK_EVERY_MS);
  return {
    setLeading(now) {
      isLeading = now;
      look();
    },
    consider: look,
    async close() {
      clearInterval(timer);
      isLeading = false;
      look();
      isClosed = true;
      // It may be waiting for a Raft leader, whom it then tells no more.
      const works = [...attempts.values()].flatMap(({ running }) => running?.work ?? []);
      await settledWithin(Promise.allSettled(works), options.closeMs ?? CLOSE_MS);
    },
  };
}

const keyOf = ({ incarnation, epoch, group }: FenceTarget): string => `${group} ${incarnation} ${epoch}`;

const newAttempt = (target: FenceTarget, nowMs: number): Attempt => ({
  target,
  nextMs: nowMs + SETTLE_MS,
  failureCount: 0,
  running: undefined,
});
