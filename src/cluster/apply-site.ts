// Groups that follow another site: their beginning, which node streams from there, and the end of it. While a group follows, no duty opens a
// node of it for writes, whatever fails: only `promote-site`, which a person asks for, leads out. Why so: docs/decisions/0019-standby-site.md.
import { type LogIndex, type NodeId, epoch as toEpoch } from '../base/ids.ts';
import { type Applied, type CommandOf, groupAt, isRefused, refuse, withGroup } from './applied.ts';
import { newGroup } from './apply-nodes.ts';
import { doubtfulNodes, silentNodes } from './candidate.ts';
import { SITE_FEATURE_LEVEL } from './features.ts';
import { isObjectivelyDown, majority } from './quorum.ts';
import { heardReports, isUnopened } from './site-history.ts';
import {
  type ClusterState,
  type GroupState,
  type Phase,
  asideReason,
  asideText,
  isPaused,
  nodesOfGroup,
} from './state.ts';

export type Following = Extract<Phase, { readonly kind: 'following' }>;

/** Begins a group, or changes its site leader: by itself only away from one that a quorum finds down, or that never had data. */
export function applyLeadSite(
  state: ClusterState,
  index: LogIndex,
  command: CommandOf<'lead-site'>,
): Applied {
  if (state.featureLevel < SITE_FEATURE_LEVEL)
    return refuse('not every peer understands this yet: upgrade all of them first');
  if (command.epoch === undefined) return begin(state, index, command);
  const group = groupAt(state, command.group, command.epoch);
  if (isRefused(group)) return group;
  const { phase } = group;
  if (phase.kind !== 'following') return refuse(`group ${group.id} is ${phase.kind}, not following`);
  const refusal = changeRefusal(state, group, phase, command) ?? leaderRefusal(state, group, command.node);
  if (refusal !== undefined) return refuse(refusal);
  return withGroup(state, {
    ...group,
    phase: { kind: 'following', primary: command.node, isDoubtful: false },
  });
}

/** With empty data directories only: what is on them would be replaced by copies of the other site's. */
function begin(state: ClusterState, index: LogIndex, { group, node }: CommandOf<'lead-site'>): Applied {
  if (state.groups.has(group)) return refuse(`group ${group} exists`);
  const withData = nodesOfGroup(state, group).find((each) => each.systemIdentifier !== undefined);
  if (withData !== undefined)
    return refuse(`${withData.node} has data: a group that follows another site begins without any`);
  const phase = { kind: 'following', primary: node, isDoubtful: false } as const;
  const begun = { ...newGroup(group, index, phase), site: { history: undefined, opened: undefined } };
  const refusal = leaderRefusal(state, begun, node);
  return refusal === undefined ? withGroup(state, begun) : refuse(refusal);
}

function changeRefusal(
  state: ClusterState,
  group: GroupState,
  phase: Following,
  { node, isAsked }: CommandOf<'lead-site'>,
): string | undefined {
  if (phase.isDoubtful)
    return isAsked === true
      ? undefined
      : `group ${group.id} was recovered: a person has to say how it goes on`;
  if (phase.primary === node) return `${node} is the site leader of group ${group.id} already`;
  const present = state.nodes.get(phase.primary);
  const target = state.nodes.get(node);
  if (present?.member !== undefined && target !== undefined && target.member === undefined)
    return `${node} has no data yet`;
  if (isAsked === true) return undefined;
  if (isPaused(group)) return `group ${group.id} is paused: its site leader stays who it is`;
  if (present?.member === undefined) return undefined;
  const { voters } = state.membership;
  // After a loss of power all of them are down for a moment: to go from one to the other would help nobody.
  if (target !== undefined && isObjectivelyDown(voters, target.subjectiveDown, group.epoch))
    return `${node} is held for down, too`;
  if (isObjectivelyDown(voters, present.subjectiveDown, group.epoch)) return undefined;
  return `fewer than ${majority(voters.length)} of ${voters.length} voters hold ${phase.primary} for down at epoch ${group.epoch}`;
}

/** Why that node cannot stream from the other site. */
export function leaderRefusal(state: ClusterState, group: GroupState, id: NodeId): string | undefined {
  const node = state.nodes.get(id);
  if (node === undefined || node.group !== group.id) return `there is no node ${id} in group ${group.id}`;
  if (node.options?.source === undefined)
    return `${id} does not know the other site: its configuration has no node.follow`;
  const aside = group.pausedNodes.some((pause) => pause.node === id) ? 'paused' : asideReason(group, id);
  return aside === undefined ? undefined : `${id} is ${aside}`;
}

/**
 * Every node ends its WAL streams and says where it stands, and the one that holds the most is promoted. After a recovery of the log all of
 * them have to say so: one may have been promoted before, and have acknowledged writes.
 */
export function applyPromoteSite(
  state: ClusterState,
  index: LogIndex,
  command: CommandOf<'promote-site'>,
): Applied {
  if (state.featureLevel < SITE_FEATURE_LEVEL)
    return refuse('not every peer understands this yet: upgrade all of them first');
  const group = groupAt(state, command.group, command.epoch);
  if (isRefused(group)) return group;
  const { to } = command;
  const refusal =
    (to === undefined ? undefined : namedRefusal(state, group, to)) ??
    promotionRefusal(group, to !== undefined) ??
    (nodesOfGroup(state, group.id).every(({ member }) => member === undefined)
      ? `no node of group ${group.id} has data yet`
      : undefined);
  if (refusal !== undefined) return refuse(refusal);
  const { phase } = group;
  const isDoubtful = phase.kind === 'following' && phase.isDoubtful;
  return withGroup(state, {
    ...group,
    epoch: toEpoch(index),
    phase: {
      kind: 'fencing',
      primary: phase.primary,
      timeline: group.highestTimeline,
      cause: isDoubtful ? { kind: 'recovered' } : { kind: 'followed', ...(to === undefined ? {} : { to }) },
      reports: [],
      off: [],
      reinstate: undefined,
    },
    scheduled: undefined,
  });
}

/**
 * A fencing that has found nobody may be begun again with a node that a person names, as long as no node was promoted: after a recovery of the log
 * only once all have reported, for one may have been before.
 */
function promotionRefusal(group: GroupState, isNamed: boolean): string | undefined {
  const { id, phase } = group;
  if (phase.kind === 'following')
    return phase.isDoubtful && isNamed
      ? `group ${id} was recovered: all of its nodes have to report before one is named`
      : undefined;
  const isStuck =
    phase.kind === 'fencing' && (phase.cause.kind === 'followed' || phase.cause.kind === 'recovered');
  if (!isNamed || !isStuck || !isUnopened(group)) return `group ${id} is ${phase.kind}, not following`;
  return undefined;
}

/** Why a person cannot have that node promoted; undefined where it can be, whatever it holds. */
export function namedRefusal(state: ClusterState, group: GroupState, id: NodeId): string | undefined {
  const node = state.nodes.get(id);
  if (node === undefined || node.group !== group.id) return `there is no node ${id} in group ${group.id}`;
  const aside = asideText(group, id);
  if (aside !== undefined) return aside;
  if (node.member === undefined) return `${id} has no data yet`;
  const { phase } = group;
  if (phase.kind !== 'fencing' || phase.cause.kind !== 'recovered') return undefined;
  const silent = [...silentNodes(state, group, heardReports(phase)), ...doubtfulNodes(state, group)];
  return silent.length === 0
    ? undefined
    : `the log was recovered: all nodes have to report before one is named, and ${silent.join(', ')} did not yet`;
}
