// Carries out restarts that were scheduled for this peer's node, once the log says that they have begun: by the steps of `sentinelctl node
// restart`. Must never restart a server that is not the one the log names: then it was done already.
import { type Clock, delay, settledWithin } from '../base/clock.ts';
import type { NodeId } from '../base/ids.ts';
import type { Command } from '../cluster/commands.ts';
import type { ClusterState, GroupState, NodeRestart } from '../cluster/state.ts';
import { RESTART_VALID_MS } from '../failover/decide-restarts.ts';
import type { SteerOutcome } from '../transport/types.ts';
import type { ProposalOutcome } from './replica.ts';

const RETRY_MS = 5000;
const PROPOSAL_TIMEOUT_MS = 5000;
const PROPOSALS_MAX = 10;
const CLOSE_MS = 3000;

export interface RestartRunner {
  /** Looks whether there is anything to do. */
  consider(): void;
  /** What is under way is broken off; it goes on when sentineld runs again. */
  close(): Promise<void>;
}

export function startRestartRunner(options: {
  readonly node: NodeId;
  readonly clock: Pick<Clock, 'wallMs'>;
  readonly state: () => ClusterState;
  /** What was committed before this call is applied; false where no leader answers. */
  readonly confirm: () => Promise<boolean>;
  /** When the PostgreSQL that runs here was started, in seconds since 1970; undefined: none runs. */
  readonly serverStartedAtS: () => number | undefined;
  readonly restart: (inPlace: boolean, signal: AbortSignal) => Promise<SteerOutcome>;
  readonly propose: (command: Command, timeoutMs: number) => Promise<ProposalOutcome>;
  readonly log: (level: 'info' | 'warn', message: string, fields: object) => void;
  readonly retryMs?: number;
}): RestartRunner {
  const { node } = options;
  const closing = new AbortController();
  let running: Promise<void> | undefined;
  /** Why the last attempt came to nothing. */
  let lastReason: string | undefined;

  const present = (): { readonly group: GroupState; readonly restart: NodeRestart } | undefined => {
    for (const group of options.state().groups.values())
      for (const restart of group.restarts)
        if (restart.node === node && restart.serverStartedAtS !== undefined) return { group, restart };
    return undefined;
  };

  const carryOut = async (): Promise<void> => {
    lastReason = undefined;
    while (!closing.signal.aborted) {
      // The leader may have given it up, or a person called it off, since this peer applied its log.
      const isRead = await options.confirm();
      const found = present();
      if (found === undefined) return;
      const outcome = isRead ? await attempt(found.restart) : undefined;
      if (outcome !== undefined && !closing.signal.aborted) return end(found, outcome);
      await delay(options.retryMs ?? RETRY_MS, closing.signal);
    }
  };

  /** What has become of it; undefined: it is to be tried again. */
  const attempt = async ({ serverStartedAtS, atMs, inPlace }: NodeRestart): Promise<string | undefined> => {
    const runsSinceS = options.serverStartedAtS();
    if (runsSinceS !== undefined && runsSinceS !== serverStartedAtS) return 'done, it runs anew';
    const isLate = (): boolean => options.clock.wallMs() - atMs > RESTART_VALID_MS;
    if (isLate()) return lastReason ?? 'not carried out in time, its peer was away';
    // Broken off half-way, or it has crashed: it is started by the agent, if at all, and that is all that is wanted.
    if (runsSinceS === undefined) {
      lastReason = 'failed: PostgreSQL does not run';
      return undefined;
    }
    options.log('info', 'a scheduled restart begins', { atMs });
    const outcome = await options.restart(inPlace, closing.signal);
    if (outcome.kind === 'done') return `done: ${outcome.detail}`;
    const reason = outcome.kind === 'refused' ? outcome.reason : `peer ${outcome.peer} looks after it`;
    options.log('warn', 'a scheduled restart could not be carried out', { reason });
    lastReason = `failed: ${reason}`;
    // Such as a standby that runs anew and does not stream: another restart of it is not what was asked for.
    const isAnew =
      options.serverStartedAtS() !== undefined && options.serverStartedAtS() !== serverStartedAtS;
    if (isAnew) return lastReason;
    return isLate() ? lastReason : undefined;
  };

  const end = async (
    { group, restart }: NonNullable<ReturnType<typeof present>>,
    outcome: string,
  ): Promise<void> => {
    const base = { kind: 'schedule-restart', group: group.id, node, at: undefined } as const;
    for (let count = 0; count < PROPOSALS_MAX && !closing.signal.aborted; count += 1) {
      const command = { ...base, onlyAtMs: restart.atMs, outcome };
      if ((await options.propose(command, PROPOSAL_TIMEOUT_MS)).kind !== 'unknown') return;
    }
  };

  const consider = (): void => {
    if (running !== undefined || closing.signal.aborted || present() === undefined) return;
    running = carryOut()
      .catch((error: unknown) => {
        if (!closing.signal.aborted)
          options.log('warn', 'a scheduled restart failed', { error: (error as Error).message });
      })
      .finally(() => (running = undefined));
  };

  return {
    consider,
    async close() {
      closing.abort();
      if (running !== undefined) await settledWithin(running, CLOSE_MS);
    },
  };
}
