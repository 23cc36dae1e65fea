// `sentinelctl failover --accept-data-loss`: where no node is sure to hold every acknowledged write, on a person's word. Must never
// promote anybody while the old primary may still take writes: apply asks for proof, this only hands on a person's.
import type { Epoch } from '../base/ids.ts';
import { isKnownOff } from '../cluster/candidate.ts';
import { SETTINGS_FEATURE_LEVEL } from '../cluster/features.ts';
import type { GroupState } from '../cluster/state.ts';
import type { FailoverOutcome } from '../transport/types.ts';
import { forcedObstacle } from './failover-plan.ts';
import { type FailoverOptions, watchFailover } from './failover-watch.ts';

const PROPOSAL_TIMEOUT_MS = 5000;
/** The agent of a primary that is up stops it, and says where it ends, within this. */
const PROOF_TIMEOUT_MS = 15_000;

export async function forceFailover(options: FailoverOptions, group: GroupState): Promise<FailoverOutcome> {
  const { to, oldPrimaryIsOff } = options.request;
  const refused = (reason: string): FailoverOutcome => ({ kind: 'refused', reason });
  if (options.state().featureLevel < SETTINGS_FEATURE_LEVEL)
    return refused('not every peer understands this yet: upgrade all of them first');
  const obstacle = forcedObstacle(options.state(), group, to, options.view(), oldPrimaryIsOff === true);
  if (obstacle !== undefined) return refused(obstacle);
  const from = group.phase.primary;
  const startedMs = performance.now();
  const epoch = await begin(options, group);
  if (typeof epoch === 'string') return refused(epoch);
  if (oldPrimaryIsOff === true) {
    const command = { kind: 'node-off', group: group.id, epoch, node: from, by: 'operator' } as const;
    const outcome = await options.propose(command, PROPOSAL_TIMEOUT_MS);
    // It may have been promoted over already, by what its rule proves.
    if (outcome.kind === 'unknown') return refused(NO_LEADER);
  }
  return watchFailover(options, {
    id: group.id,
    from,
    epoch,
    startedMs,
    stuck({ phase }, elapsedMs) {
      const timeoutMs = PROOF_TIMEOUT_MS + (options.fenceTimeoutMs ?? 0);
      if (phase.kind !== 'fencing' || isKnownOff(phase, from)) return undefined;
      const fenced = phase.fenceFailed;
      if (elapsedMs < timeoutMs && (fenced === undefined || elapsedMs < PROOF_TIMEOUT_MS)) return undefined;
      const why = fenced === undefined ? '' : `, and the fence command failed (${fenced})`;
      return `the failover has begun, but nothing proves that ${from} is stopped: its agent does not answer${why}. Switch its host off, then run this again with --old-primary-is-off; or start its sentineld, which stops it`;
    },
  });
}

const NO_LEADER = 'no answer from a Raft leader; see sentinelctl status, the failover may still begin';

/** The epoch of the failover, one that is under way already if it leads to the same node; or why there is none. */
async function begin(options: FailoverOptions, group: GroupState): Promise<Epoch | string> {
  const { phase } = group;
  const { to } = options.request;
  if (phase.kind === 'fencing' && phase.cause.kind === 'forced' && phase.cause.to === to) return group.epoch;
  const cause = { kind: 'forced', to } as const;
  const outcome = await options.propose(
    { kind: 'begin-failover', group: group.id, epoch: group.epoch, cause },
    PROPOSAL_TIMEOUT_MS,
  );
  if (outcome.kind === 'refused') return outcome.reason;
  return outcome.kind === 'unknown' ? NO_LEADER : (outcome.index as number as Epoch);
}
