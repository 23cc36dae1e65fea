// The elected leader's part: after every change and at least every 100 ms it asks `decide` what should be proposed, and
// proposes it. It holds no state of its own but the time since when conditions have lasted; a new leader starts afresh.
import type { Clock } from '../base/clock.ts';
import type { NodeId } from '../base/ids.ts';
import type { Command } from '../cluster/commands.ts';
import type { AgentReport } from '../cluster/report.ts';
import type { ClusterState } from '../cluster/state.ts';
import { type Memory, decide } from '../failover/decide.ts';
import type { FailoverSettings, View } from '../failover/view.ts';
import type { ProposalOutcome } from './replica.ts';

const DECIDE_EVERY_MS = 100;
const PROPOSAL_TIMEOUT_MS = 2000;

export interface ReceivedReport {
  readonly report: AgentReport;
  readonly receivedAtMs: number;
}

export interface Leader {
  /** Looks at once whether something is to be proposed; does nothing on a peer that is not leader. */
  consider(): void;
  setLeading(isLeading: boolean): void;
  close(): void;
}

export function startLeader(options: {
  readonly clock: Clock;
  readonly settings: FailoverSettings;
  readonly state: () => ClusterState;
  readonly reports: () => ReadonlyMap<NodeId, ReceivedReport>;
  readonly propose: (command: Command, timeoutMs: number) => Promise<ProposalOutcome>;
  readonly onRefused: (command: Command, reason: string) => void;
  /** A proposal could not even be made: a broken invariant. */
  readonly onFailed: (error: unknown) => void;
}): Leader {
  let isLeading = false;
  let memory: Memory = new Map();
  const underWay = new Set<string>();

  const consider = (): void => {
    if (!isLeading) return;
    const view: View = {
      nowMs: options.clock.monotonicMs(),
      reports: options.reports(),
      settings: options.settings,
    };
    const decision = decide(options.state(), view, memory);
    memory = decision.memory;
    for (const command of decision.commands) submit(command).catch(options.onFailed);
  };

  const submit = async (command: Command): Promise<void> => {
    const key = `${command.kind} ${'group' in command ? command.group : ''} ${'epoch' in command ? command.epoch : ''}`;
    if (underWay.has(key)) return;
    underWay.add(key);
    const outcome = await options.propose(command, PROPOSAL_TIMEOUT_MS);
    underWay.delete(key);
    if (outcome.kind === 'refused') options.onRefused(command, outcome.reason);
  };

  const timer = setInterval(consider, DECIDE_EVERY_MS);
  return {
    consider,
    setLeading(now) {
      if (now !== isLeading) memory = new Map();
      isLeading = now;
      consider();
    },
    close: () => clearInterval(timer),
  };
}
