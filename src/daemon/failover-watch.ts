// What every failover that a person asks for has in common: the group it is about, and waiting for its end. Decides nothing.
import { delay } from '../base/clock.ts';
import type { Epoch, GroupId, NodeId } from '../base/ids.ts';
import type { Command } from '../cluster/commands.ts';
import type { ClusterState, GroupState } from '../cluster/state.ts';
import type { View } from '../failover/view.ts';
import type { FailoverOutcome, FailoverRequest } from '../transport/types.ts';
import type { ProposalOutcome } from './replica.ts';

const OUTCOME_TIMEOUT_MS = 90_000;
const POLL_MS = 10;

export interface FailoverOptions {
  readonly request: FailoverRequest;
  readonly state: () => ClusterState;
  readonly view: () => View;
  readonly propose: (command: Command, timeoutMs: number) => Promise<ProposalOutcome>;
  readonly signal: AbortSignal;
  /** How long the fence command may take, where there is one. */
  readonly fenceTimeoutMs?: number | undefined;
}

/** Until the group runs again at that epoch or a later one; `stuck` may say earlier why it does not. */
export async function watchFailover(
  options: Pick<FailoverOptions, 'state' | 'signal'>,
  failover: {
    readonly id: GroupId;
    readonly from: NodeId;
    readonly epoch: Epoch;
    readonly startedMs: number;
    readonly stuck?: (group: GroupState, elapsedMs: number) => string | undefined;
  },
): Promise<FailoverOutcome> {
  const { id, from, epoch, startedMs } = failover;
  const elapsedMs = (): number => performance.now() - startedMs;
  while (elapsedMs() < OUTCOME_TIMEOUT_MS && !options.signal.aborted) {
    const group = options.state().groups.get(id);
    if (group?.phase.kind === 'running' && group.epoch >= epoch) {
      const to = group.phase.primary;
      return { kind: 'done', group: id, from, to, epoch: group.epoch, tookMs: elapsedMs() };
    }
    const reason = group === undefined ? undefined : failover.stuck?.(group, elapsedMs());
    if (reason !== undefined) return { kind: 'refused', reason };
    await delay(POLL_MS, options.signal);
  }
  return {
    kind: 'refused',
    reason: `not finished within ${OUTCOME_TIMEOUT_MS / 1000} s; it goes on, see sentinelctl status --watch`,
  };
}

/** The group of that name, the only one, or that of the node; else why there is none. */
export function findGroup(state: ClusterState, name: string | undefined, node?: NodeId): GroupState | string {
  const groups = [...state.groups.values()];
  const [only, ...others] = groups;
  if (name === undefined && only !== undefined && others.length === 0) return only;
  const meant = name ?? (node === undefined ? undefined : state.nodes.get(node)?.group);
  const group = groups.find(({ id }) => id === meant);
  if (group !== undefined) return group;
  const names = groups.map(({ id }) => id).join(', ') || 'none';
  return name === undefined ? `name the group: ${names}` : `there is no group ${name}; there are: ${names}`;
}
