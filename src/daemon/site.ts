// `sentinelctl site`: a group that follows another site is promoted, or another of its nodes streams from there. Says what would happen and what
// it cannot know; the log decides.
import type { Epoch, NodeId } from '../base/ids.ts';
import { formatLsn, lagBytes } from '../base/lsn.ts';
import type { Following } from '../cluster/apply-site.ts';
import { leaderRefusal } from '../cluster/apply-site.ts';
import { comparePositions } from '../cluster/candidate.ts';
import { promotionBar } from '../cluster/eligibility.ts';
import { SITE_FEATURE_LEVEL } from '../cluster/features.ts';
import {
  type ClusterState,
  type GroupState,
  asideReason,
  isDoubtfulSite,
  nodesOfGroup,
} from '../cluster/state.ts';
import { awaitedForMore } from '../failover/choose.ts';
import { canBeCut } from '../failover/obstacles.ts';
import { type View, freshReport } from '../failover/view.ts';
import type { SteerOutcome, SteerRequest } from '../transport/types.ts';
import { findGroup, watchFailover } from './failover-watch.ts';
import { planned } from './pauses.ts';
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
  if (phase.kind !== 'following')
    return refused(`group ${group.id} is ${phase.kind}: it does not follow another site`);
  return request.kind === 'promote-site'
    ? promote(options, group, phase, request.dryRun)
    : lead(options, group, phase, request);
}

async function promote(
  options: SteerOptions,
  group: GroupState,
  phase: Following,
  dryRun: boolean,
): Promise<SteerOutcome> {
  const obstacle = promotionObstacle(options.state(), group, options.view());
  if (obstacle !== undefined) return refused(`group ${group.id} is not promoted: ${obstacle}`);
  if (dryRun) return planned(promotionPlan(options.state(), group, phase, options.view()));
  const startedMs = performance.now();
  const outcome = await options.propose(
    { kind: 'promote-site', group: group.id, epoch: group.epoch },
    PROPOSAL_TIMEOUT_MS,
  );
  if (outcome.kind === 'refused') return refused(outcome.reason);
  if (outcome.kind === 'unknown')
    return refused('no answer from a Raft leader; it may still be done, see sentinelctl events');
  const epoch = outcome.index as number as Epoch;
  const ended = await watchFailover(options, {
    ...{ id: group.id, from: phase.primary, epoch, startedMs },
    stuck(now, elapsedMs) {
      if (now.phase.kind !== 'fencing' || elapsedMs < STUCK_AFTER_MS) return undefined;
      const [awaited] = awaitedForMore(options.state(), now, now.phase, options.view());
      return awaited === undefined
        ? undefined
        : `${awaited} holds more than the others by what it last said, and is waited for until it has replayed that (see sentinelctl status --watch); sentinelctl fence ${awaited} gives it up`;
    },
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

/** The servers that its nodes name, the site leader's first: each host's configuration says for itself. */
export function sourceOfGroup(state: ClusterState, group: GroupState): string | undefined {
  const leader = state.nodes.get(group.phase.primary)?.options?.source;
  return (
    leader ??
    nodesOfGroup(state, group.id)
      .map(({ options }) => options?.source)
      .find((source) => source !== undefined)
  );
}

/** Why no node could become the primary now; after a recovery of the log all of them are waited for, and nobody can say. */
function promotionObstacle(state: ClusterState, group: GroupState, view: View): string | undefined {
  const able = candidates(state, group, view);
  // Nothing is started there before: all of them are asked to report, and may, where their agents come back.
  if (able.length > 0 || isDoubtfulSite(group)) return undefined;
  const barred = nodesOfGroup(state, group.id).flatMap(({ node }) => {
    const reason = promotionBar(state, group, node) ?? asideReason(group, node);
    return reason === undefined ? [] : [`${node} is ${reason}`];
  });
  const text = barred.length === 0 ? '' : `: ${barred.join('; ')}`;
  return `no node that can be reached may be promoted${text}`;
}

/** Those that could be promoted, the one that holds the most first. */
function candidates(state: ClusterState, group: GroupState, view: View) {
  return nodesOfGroup(state, group.id)
    .flatMap(({ node, member }) => {
      const isAble =
        member !== undefined &&
        canBeCut(view, node) &&
        asideReason(group, node) === undefined &&
        promotionBar(state, group, node) === undefined;
      const { timeline, position } = freshReport(view, node) ?? {};
      return isAble ? [{ node, timeline, position }] : [];
    })
    .sort((a, b) => {
      if (a.timeline === undefined || a.position === undefined) return 1;
      if (b.timeline === undefined || b.position === undefined) return -1;
      const [x, y] = [
        { timeline: a.timeline, position: a.position },
        { timeline: b.timeline, position: b.position },
      ];
      return comparePositions(y, x);
    });
}

/** One line for each thing that happens, or that a person has to see to. */
function promotionPlan(state: ClusterState, group: GroupState, phase: Following, view: View): string {
  const [best] = candidates(state, group, view);
  const at =
    best?.timeline === undefined || best.position === undefined
      ? ''
      : ` (timeline ${best.timeline}, ${formatLsn(best.position)})`;
  const source = sourceOfGroup(state, group) ?? 'the other site';
  const doubt = phase.isDoubtful
    ? ['the log was recovered: all nodes have to report before one is promoted']
    : [];
  return [
    `group ${group.id} follows ${source} no longer, and never again by itself`,
    'every node ends its WAL streams and says where it stands',
    ...doubt,
    ...unheardText(state, group, view),
    `${best?.node ?? 'the node that holds the most'} becomes the primary, as things stand${at}`,
    lossText(phase, view),
    `WARNING: nothing here stops the other site: as long as a primary runs there, both take writes, and one of them is lost. Stop it there first, and look: psql -h HOST -c 'select pg_is_in_recovery()' on each of ${source}, or sentinelctl status there`,
  ]
    .map((line) => `- ${line}`)
    .join('\n');
}

/** What they hold beyond the others is given up by the promotion, or found to be too much when they are back. */
function unheardText(state: ClusterState, group: GroupState, view: View): string[] {
  return nodesOfGroup(state, group.id).flatMap(({ node, member }) => {
    if (member === undefined || canBeCut(view, node)) return [];
    const report = freshReport(view, node);
    const why = report === undefined ? 'its agent is not heard' : `it is ${report.condition}`;
    return [
      `${node} is not asked: ${why}; what it alone may hold is given up, or waited for if it comes back in time`,
    ];
  });
}

function lossText({ primary }: Following, view: View): string {
  const behind = sourceLagBytes(view, primary);
  return behind === undefined
    ? `${primary} does not stream from there now: how much was written there and is not here is not known`
    : `${primary} streams from there: ${behind} bytes that were written there are not here yet, as far as it was told; stop the primary there cleanly, and it hands over all it has`;
}

/** What the site leader lacks of what the other site was last known to have written. */
function sourceLagBytes(view: View, leader: NodeId): number | undefined {
  const { sourceEnd, position, streamingFrom } = freshReport(view, leader) ?? {};
  if (sourceEnd === undefined || position === undefined || streamingFrom === undefined) return undefined;
  return Math.max(0, lagBytes(sourceEnd, position));
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
  if (dryRun) return planned(`${node} streams from the other site, the other nodes from it; ${from}`);
  const command = { kind: 'lead-site', group: group.id, epoch: group.epoch, node, isAsked: true } as const;
  const outcome = await options.propose(command, PROPOSAL_TIMEOUT_MS);
  if (outcome.kind === 'refused') return refused(outcome.reason);
  if (outcome.kind === 'unknown')
    return refused('no answer from a Raft leader; it may still be done, see sentinelctl events');
  return done(
    `${node} is the site leader of group ${group.id}: it streams from the other site, the others from it; see sentinelctl status`,
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
