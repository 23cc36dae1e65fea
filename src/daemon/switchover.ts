// `sentinelctl failover`: a planned switchover, watched to its end. Checks first and says why not; the log decides.
import { delay } from '../base/clock.ts';
import type { Epoch, GroupId, NodeId } from '../base/ids.ts';
import type { Command } from '../cluster/commands.ts';
import type { ClusterState, GroupState } from '../cluster/state.ts';
import { switchoverObstacle } from '../failover/obstacles.ts';
import type { View } from '../failover/view.ts';
import type { FailoverOutcome } from '../transport/types.ts';
import type { ProposalOutcome } from './replica.ts';

const OUTCOME_TIMEOUT_MS = 90_000;
const PROPOSAL_TIMEOUT_MS = 5000;
const POLL_MS = 10;

export async function switchOver(options: {
  readonly request: { readonly group: string | undefined; readonly to: NodeId | undefined };
  readonly state: () => ClusterState;
  readonly view: () => View;
  readonly propose: (command: Command, timeoutMs: number) => Promise<ProposalOutcome>;
  readonly signal: AbortSignal;
}): Promise<FailoverOutcome> {
  const found = findGroup(options.state(), options.request.group);
  if (typeof found === 'string') return { kind: 'refused', reason: found };
  const from = found.phase.primary;
  const obstacle = switchoverObstacle(options.state(), found, options.request.to, options.view());
  if (obstacle !== undefined) return { kind: 'refused', reason: obstacle };
  const startedMs = performance.now();
  const outcome = await options.propose(
    {
      kind: 'begin-failover',
      group: found.id,
      epoch: found.epoch,
      cause: { kind: 'planned', to: options.request.to },
    },
    PROPOSAL_TIMEOUT_MS,
  );
  if (outcome.kind === 'refused') return { kind: 'refused', reason: outcome.reason };
  if (outcome.kind === 'unknown')
    return {
      kind: 'refused',
      reason: 'no answer from a Raft leader; see sentinelctl status, the switchover may still begin',
    };
  return watch(options, found.id, from, outcome.index as number as Epoch, startedMs);
}

async function watch(
  options: { readonly state: () => ClusterState; readonly signal: AbortSignal },
  id: GroupId,
  from: NodeId,
  epoch: Epoch,
  startedMs: number,
): Promise<FailoverOutcome> {
  while (performance.now() - startedMs < OUTCOME_TIMEOUT_MS && !options.signal.aborted) {
    const group = options.state().groups.get(id);
    if (group?.phase.kind === 'running' && group.epoch >= epoch) {
      const to = group.phase.primary;
      const tookMs = performance.now() - startedMs;
      if (to !== from) return { kind: 'done', group: id, from, to, epoch: group.epoch, tookMs };
      return {
        kind: 'refused',
        reason: `called off: ${from} is still the primary (epoch ${group.epoch}); see sentinelctl events`,
      };
    }
    await delay(POLL_MS, options.signal);
  }
  return {
    kind: 'refused',
    reason: `not finished within ${OUTCOME_TIMEOUT_MS / 1000} s; it goes on, see sentinelctl status --watch`,
  };
}

function findGroup(state: ClusterState, name: string | undefined): GroupState | string {
  const groups = [...state.groups.values()];
  const names = groups.map((group) => group.id).join(', ') || 'none';
  const group =
    name === undefined
      ? groups.length === 1
        ? groups[0]
        : undefined
      : groups.find((known) => known.id === name);
  if (group === undefined) {
    return name === undefined ? `name the group: ${names}` : `there is no group ${name}; there is: ${names}`;
  }
  if (group.phase.kind !== 'running')
    return `group ${group.id} is ${group.phase.kind}; wait until it is running`;
  return group;
}
