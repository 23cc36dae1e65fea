// `sentinelctl site`: a group that follows another site is promoted, or another of its nodes streams from there. Says what would happen and what
// it cannot know; the log decides.
import type { Epoch } from '../base/ids.ts';
import type { Following } from '../cluster/apply-site.ts';
import { leaderRefusal } from '../cluster/apply-site.ts';
import { SITE_FEATURE_LEVEL } from '../cluster/features.ts';
import { type ClusterState, type GroupState, nodesOfGroup } from '../cluster/state.ts';
import { freshReport } from '../failover/view.ts';
import type { SteerOutcome, SteerRequest } from '../transport/types.ts';
import { findGroup, watchFailover } from './failover-watch.ts';
import { planned } from './pauses.ts';
import { promotionObstacle, promotionPlan, siteWait, sourceOfGroup } from './site-plan.ts';
import { type SteerOptions, done, refused } from './steering.ts';

export type SiteRequest = Extract<SteerRequest, { readonly kind: 'promote-site' | 'lead-site' }>;

const PROPOSAL_TIMEOUT_MS = 5000;
/** A person is told what is waited for, once it takes longer than usual. */
const STUCK_AFTER_MS = 15_000;

export function steerSite(options: SteerOptions, request: SiteRequest): Promise<SteerOutcome> | SteerOutcome {
  const state = options.state();
  if (state.featureLevel < SITE_FEATURE_LEVEL)
    return refused('not every peer understands this yet: upgrade all of them first');
  const node = request.kind === 'lead-site' ? request.node : undefined;
  if (node !== undefined && !state.nodes.has(node))
    return refused(`there is no node ${node}; there are: ${[...state.nodes.keys()].join(', ') || 'none'}`);
  const group = findGroup(state, request.kind === 'promote-site' ? request.group : undefined, node);
  if (typeof group === 'string') return refused(group);
  const { phase } = group;
  // One that has found nobody is begun again with a node that a person names.
  const isNamed = request.kind === 'promote-site' && request.to !== undefined && phase.kind === 'fencing';
  if (phase.kind !== 'following' && !(isNamed && group.site !== undefined))
    return refused(`group ${group.id} is ${phase.kind}: it does not follow another site`);
  if (request.kind === 'promote-site') return promote(options, group, request);
  return phase.kind === 'following'
    ? lead(options, group, phase, request)
    : refused(`group ${group.id} is ${phase.kind}`);
}

async function promote(
  options: SteerOptions,
  group: GroupState,
  { to, dryRun }: Extract<SiteRequest, { readonly kind: 'promote-site' }>,
): Promise<SteerOutcome> {
  const obstacle = promotionObstacle(options.state(), group, options.view(), to);
  if (obstacle !== undefined) return refused(`group ${group.id} is not promoted: ${obstacle}`);
  if (dryRun) return planned(promotionPlan(options.state(), group, options.view(), to));
  const startedMs = performance.now();
  const outcome = await options.propose(
    {
      ...{ kind: 'promote-site', group: group.id, epoch: group.epoch },
      ...(to === undefined ? {} : { to }),
    },
    PROPOSAL_TIMEOUT_MS,
  );
  if (outcome.kind === 'refused') return refused(outcome.reason);
  if (outcome.kind === 'unknown')
    return refused('no answer from a Raft leader; it may still be done, see sentinelctl events');
  const epoch = outcome.index as number as Epoch;
  const ended = await watchFailover(options, {
    ...{ id: group.id, from: group.phase.primary, epoch, startedMs },
    stuck: (now, elapsedMs) =>
      elapsedMs < STUCK_AFTER_MS ? undefined : siteWait(options.state(), now, options.view()),
  });
  if (ended.kind !== 'done')
    return refused(
      `group ${group.id} follows the other site no longer, and has no primary yet: ${ended.kind === 'refused' ? ended.reason : ''}`,
    );
  return done(
    `${ended.to} is the primary of group ${group.id} (epoch ${ended.epoch}), after ${Math.round(ended.tookMs)} ms; the other site is not stopped by this${slotText(options.state(), group)}`,
  );
}

function slotText(state: ClusterState, group: GroupState): string {
  const source = sourceOfGroup(state, group);
  return source === undefined
    ? ''
    : `: see that nobody writes to ${source}, and drop the replication slot there, where one is used`;
}

async function lead(
  options: SteerOptions,
  group: GroupState,
  phase: Following,
  { node, dryRun, acceptsLoss }: Extract<SiteRequest, { readonly kind: 'lead-site' }>,
): Promise<SteerOutcome> {
  const isAgain = phase.isDoubtful;
  const refusal =
    leaderRefusal(options.state(), group, node) ??
    (phase.primary === node && !isAgain
      ? `${node} is the site leader of group ${group.id} already`
      : undefined) ??
    (freshReport(options.view(), node) === undefined
      ? `the agent of ${node} cannot be reached`
      : undefined) ??
    (isAgain && acceptsLoss !== true ? doubtText(options, group) : undefined);
  if (refusal !== undefined) return refused(refusal);
  const from = isAgain
    ? 'what was written in this group since the log was recovered to is lost, if anything was'
    : `${phase.primary} streams from it then`;
  const strange = freshReport(options.view(), node)?.strange;
  const doubt =
    strange === undefined
      ? ''
      : `; but ${strange}: it will not get on there, nor the others with it, before sentinelctl node reinit ${node} has copied it anew`;
  if (dryRun) return planned(`${node} streams from the other site, the other nodes from it; ${from}${doubt}`);
  const command = { kind: 'lead-site', group: group.id, epoch: group.epoch, node, isAsked: true } as const;
  const outcome = await options.propose(command, PROPOSAL_TIMEOUT_MS);
  if (outcome.kind === 'refused') return refused(outcome.reason);
  if (outcome.kind === 'unknown')
    return refused('no answer from a Raft leader; it may still be done, see sentinelctl events');
  return done(
    `${node} is the site leader of group ${group.id}: it streams from the other site, the others from it; see sentinelctl status${doubt}`,
  );
}

/** Who took writes since would be replaced by copies of the other site: a person has to look first. */
function doubtText(options: SteerOptions, { id }: GroupState): string {
  const nodes = nodesOfGroup(options.state(), id).map(({ node }) => node);
  const open = nodes.filter((each) => freshReport(options.view(), each)?.condition === 'primary');
  const found =
    open.length === 0
      ? 'look at each of its nodes'
      : `${open.join(', ')} runs as a primary: it was, and sentinelctl site promote ${id} keeps what it holds`;
  return `group ${id} was recovered, and may have been promoted in the part of the log that is lost: ${found}; --accept-data-loss has it follow the other site all the same, and what was written here is lost then`;
}
