// The elected leader's part: after every change, and from time to time, it asks `decide` what should be proposed, and proposes
// it. It holds no state of its own but the time since when conditions have lasted; a new leader starts afresh.
import type { Clock } from '../base/clock.ts';
import type { NodeId } from '../base/ids.ts';
import type { Command } from '../cluster/commands.ts';
import type { AgentReport } from '../cluster/report.ts';
import type { ClusterState } from '../cluster/state.ts';
import { type Decision, type Memory, decide } from '../failover/decide.ts';
import type { FailoverSettings, View } from '../failover/view.ts';
import type { ProposalOutcome } from './replica.ts';

/** While something lasts that may have to be acted on. */
const DECIDE_EVERY_MS = 100;
/** While all is well. */
const CALM_EVERY_MS = 250;
/** Reports that grow old one after the other, as when the hosts of many are lost, share a look. */
const LOOK_MS_MIN = 10;
const PROPOSAL_TIMEOUT_MS = 2000;

export interface ReceivedReport {
  readonly report: AgentReport;
  readonly receivedAtMs: number;
}

export interface Leader {
  /** Looks at once whether something is to be proposed; does nothing on a peer that is not leader. */
  consider(): void;
  /** The same once what has arrived meanwhile is read too: many reports that come together are one look, not a look at all groups for each. */
  considerSoon(): void;
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

  let timer: NodeJS.Timeout | undefined;
  let soon: NodeJS.Immediate | undefined;
  const consider = (): void => {
    clearTimeout(timer);
    clearImmediate(soon);
    soon = undefined;
    if (!isLeading) return;
    const view: View = {
      nowMs: options.clock.monotonicMs(),
      wallMs: options.clock.wallMs(),
      reports: options.reports(),
      settings: options.settings,
    };
    const decision = decide(options.state(), view, memory);
    memory = decision.memory;
    for (const command of decision.commands) submit(command).catch(options.onFailed);
    timer = setTimeout(consider, nextLookMs(decision, view));
  };

  const submit = async (command: Command): Promise<void> => {
    const key = keyOf(command);
    if (underWay.has(key)) return;
    underWay.add(key);
    const outcome = await options.propose(command, PROPOSAL_TIMEOUT_MS).finally(() => underWay.delete(key));
    if (outcome.kind === 'refused') options.onRefused(command, outcome.reason);
  };

  return {
    consider,
    considerSoon() {
      soon ??= setImmediate(consider);
    },
    setLeading(now) {
      if (now !== isLeading) memory = new Map();
      isLeading = now;
      consider();
    },
    close() {
      isLeading = false;
      clearTimeout(timer);
      clearImmediate(soon);
    },
  };
}

/** When to look again: soon while something is under way, and no later than the moment at which a report grows old. */
export function nextLookMs(decision: Decision, view: View): number {
  if (decision.commands.length > 0 || decision.memory.size > 0) return DECIDE_EVERY_MS;
  let nextMs = CALM_EVERY_MS;
  for (const { receivedAtMs } of view.reports.values()) {
    const leftMs = receivedAtMs + view.settings.reportFreshMs - view.nowMs;
    if (leftMs >= 0) nextMs = Math.min(nextMs, Math.max(LOOK_MS_MIN, leftMs + 1));
  }
  return nextMs;
}

/** What is under way is not proposed once more; another node's, or another server's, does not wait for it. */
function keyOf(command: Command): string {
  return [
    command.kind,
    'group' in command ? command.group : '',
    'epoch' in command ? command.epoch : '',
    'node' in command ? (command.node ?? '') : '',
    'server' in command ? command.server : '',
  ].join(' ');
}
