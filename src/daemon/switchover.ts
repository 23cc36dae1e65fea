// `sentinelctl failover`: a planned switchover, watched to its end. Checks first and says why not; the log decides.
import type { Epoch } from '../base/ids.ts';
import { switchoverObstacle } from '../failover/obstacles.ts';
import type { FailoverOutcome } from '../transport/types.ts';
import { planFailover } from './failover-plan.ts';
import { type FailoverOptions, findGroup, watchFailover } from './failover-watch.ts';
import { forceFailover } from './forced-failover.ts';

const PROPOSAL_TIMEOUT_MS = 5000;

export async function switchOver(options: FailoverOptions): Promise<FailoverOutcome> {
  const { request } = options;
  const found = findGroup(options.state(), request.group, request.to);
  if (typeof found === 'string') return { kind: 'refused', reason: found };
  if (request.dryRun === true) return planFailover(options.state(), found, request, options.view());
  if (request.acceptDataLoss === true) return forceFailover(options, found);
  const from = found.phase.primary;
  const obstacle = switchoverObstacle(options.state(), found, request.to, options.view());
  if (obstacle !== undefined) return { kind: 'refused', reason: obstacle };
  const startedMs = performance.now();
  const outcome = await options.propose(
    {
      kind: 'begin-failover',
      group: found.id,
      epoch: found.epoch,
      cause: { kind: 'planned', to: request.to },
    },
    PROPOSAL_TIMEOUT_MS,
  );
  if (outcome.kind === 'refused') return { kind: 'refused', reason: outcome.reason };
  if (outcome.kind === 'unknown')
    return {
      kind: 'refused',
      reason: 'no answer from a Raft leader; see sentinelctl status, the switchover may still begin',
    };
  const epoch = outcome.index as number as Epoch;
  const ended = await watchFailover(options, { id: found.id, from, epoch, startedMs });
  if (ended.kind !== 'done' || ended.to !== from) return ended;
  return {
    kind: 'refused',
    reason: `called off: ${from} is still the primary (epoch ${ended.epoch}); see sentinelctl events`,
  };
}
