// Groups that follow another site: which node streams from there (the site leader), at first and when that one is lost. Pure. Never proposes to
// promote: that is a person's word (apply-site.ts).
import { comparePositions } from '../cluster/candidate.ts';
import { type Following, leaderRefusal } from '../cluster/apply-site.ts';
import type { Command } from '../cluster/commands.ts';
import { promotionBar } from '../cluster/eligibility.ts';
import { isObjectivelyDown } from '../cluster/quorum.ts';
import {
  type ClusterState,
  type GroupState,
  type NodeState,
  isPaused,
  nodesOfGroup,
} from '../cluster/state.ts';
import type { Stopwatch } from './decide.ts';
import { canBeCut } from './obstacles.ts';
import { type View, freshReport } from './view.ts';

const byPriority = (a: NodeState, b: NodeState): number =>
  b.priority - a.priority || (a.node < b.node ? -1 : 1);

/** Among the nodes of a group that is to be created: one that knows another site begins by following it. */
export function beginSite(nodes: readonly NodeState[]): Command | undefined {
  const [first] = nodes.filter(({ options }) => options?.source !== undefined).sort(byPriority);
  if (first === undefined || nodes.some(({ systemIdentifier }) => systemIdentifier !== undefined))
    return undefined;
  return { kind: 'lead-site', group: first.group, epoch: undefined, node: first.node };
}

/** Another site leader where a quorum finds the present one down, or where one that never had data is not heard of. */
export function decideSite(
  state: ClusterState,
  group: GroupState,
  phase: Following,
  view: View,
  stopwatch: Stopwatch,
): Command | undefined {
  const leader = state.nodes.get(phase.primary);
  if (phase.isDoubtful || leader === undefined || isPaused(group)) return undefined;
  const { settings } = view;
  const isNew = leader.member === undefined;
  const isLost = isNew
    ? freshReport(view, leader.node) === undefined
    : isObjectivelyDown(state.membership.voters, leader.subjectiveDown, group.epoch);
  if (!isLost) return undefined;
  // Its own agent starts it again sooner, where it only crashed.
  const afterMs = isNew ? 2 * settings.creationWaitMs : settings.upstreamLostMs;
  if (stopwatch.elapsedMs(`site leader lost ${group.id} ${leader.node}`) < afterMs) return undefined;
  const next = bestLeader(state, group, phase, view);
  return next && { kind: 'lead-site', group: group.id, epoch: group.epoch, node: next.node };
}

/**
 * The one that holds the most; one that may never be promoted where there is no other. Never one of which it is not known that what it holds is
 * from the other site: that one would not get on there, and the others would not follow it.
 */
function bestLeader(
  state: ClusterState,
  group: GroupState,
  phase: Following,
  view: View,
): NodeState | undefined {
  const isNew = state.nodes.get(phase.primary)?.member === undefined;
  const { voters } = state.membership;
  const able = nodesOfGroup(state, group.id).filter(
    ({ node, member, subjectiveDown }) =>
      node !== phase.primary &&
      leaderRefusal(state, group, node) === undefined &&
      freshReport(view, node)?.strange === undefined &&
      !isObjectivelyDown(voters, subjectiveDown, group.epoch) &&
      (isNew ? freshReport(view, node) !== undefined : member !== undefined && canBeCut(view, node)),
  );
  const isBarred = ({ node }: NodeState): number => Number(promotionBar(state, group, node) !== undefined);
  const [best] = able.sort(
    (a, b) => isBarred(a) - isBarred(b) || compareReports(view, b, a) || byPriority(a, b),
  );
  return best;
}

/** Positive where `a` is ahead; a node of which nothing is known comes last. */
function compareReports(view: View, a: NodeState, b: NodeState): number {
  const [x, y] = [standing(view, a), standing(view, b)];
  if (x === undefined || y === undefined) return Number(x !== undefined) - Number(y !== undefined);
  return comparePositions(x, y);
}

function standing(view: View, { node }: NodeState) {
  const { timeline, position } = freshReport(view, node) ?? {};
  return timeline === undefined || position === undefined ? undefined : { timeline, position };
}
