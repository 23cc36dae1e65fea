// What a promotion of a group that follows another site would do, what stands against it, and what one that has begun waits for: for people. Decides
// nothing.
import type { NodeId } from '../base/ids.ts';
import { formatLsn, lagBytes } from '../base/lsn.ts';
import { namedRefusal } from '../cluster/apply-site.ts';
import { candidateRefusal, comparePositions, silentNodes } from '../cluster/candidate.ts';
import { promotionBar } from '../cluster/eligibility.ts';
import { heardReports, isUnopened } from '../cluster/site-history.ts';
import {
  type ClusterState,
  type GroupState,
  asideReason,
  isDoubtfulSite,
  nodesOfGroup,
  pauseOf,
} from '../cluster/state.ts';
import { awaitedForMore } from '../failover/choose.ts';
import { canBeCut } from '../failover/obstacles.ts';
import { type View, freshReport } from '../failover/view.ts';

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

const namedCommand = (group: GroupState, node: NodeId | 'NODE'): string =>
  `sentinelctl site promote ${group.id} --to ${node} --accept-data-loss`;

/** Why no node, or not that one, could become the primary now; after a recovery of the log all of them are waited for, and nobody can say. */
export function promotionObstacle(
  state: ClusterState,
  group: GroupState,
  view: View,
  to: NodeId | undefined,
): string | undefined {
  if (to !== undefined) {
    const isHeard = freshReport(view, to) !== undefined;
    return namedRefusal(state, group, to) ?? (isHeard ? undefined : `the agent of ${to} cannot be reached`);
  }
  const able = candidates(state, group, view);
  // Nothing is started there before: all of them are asked to report, and may, where their agents come back.
  if (able.length > 0 || isDoubtfulSite(group)) return undefined;
  const barred = nodesOfGroup(state, group.id).flatMap(({ node }) => {
    const reason = promotionBar(state, group, node) ?? asideReason(group, node);
    return reason === undefined ? [] : [`${node} is ${reason}`];
  });
  const strange = strangeNodes(state, group, view).map(
    ({ node, why }) =>
      `${node} is left out, for ${why}; ${namedCommand(group, node)} has it promoted all the same`,
  );
  const reasons = [...barred, ...strange];
  return `no node that can be reached may be promoted${reasons.length === 0 ? '' : `: ${reasons.join('; ')}`}`;
}

function strangeNodes(state: ClusterState, group: GroupState, view: View) {
  return nodesOfGroup(state, group.id).flatMap(({ node }) => {
    const why = freshReport(view, node)?.strange;
    return why === undefined ? [] : [{ node, why }];
  });
}

/** Those that could be promoted, the one that holds the most first. */
function candidates(state: ClusterState, group: GroupState, view: View) {
  return nodesOfGroup(state, group.id)
    .flatMap(({ node, member }) => {
      const { timeline, position, strange } = freshReport(view, node) ?? {};
      const isAble =
        member !== undefined &&
        strange === undefined &&
        canBeCut(view, node) &&
        asideReason(group, node) === undefined &&
        promotionBar(state, group, node) === undefined;
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
export function promotionPlan(
  state: ClusterState,
  group: GroupState,
  view: View,
  to: NodeId | undefined,
): string {
  const [best] = to === undefined ? candidates(state, group, view) : [];
  const at =
    best?.timeline === undefined || best.position === undefined
      ? ''
      : ` (timeline ${best.timeline}, ${formatLsn(best.position)})`;
  const source = sourceOfGroup(state, group) ?? 'the other site';
  const doubt = isDoubtfulSite(group)
    ? ['the log was recovered: all nodes have to report before one is promoted']
    : [];
  const chosen =
    to === undefined
      ? [
          ...unheardText(state, group, view),
          `${best?.node ?? 'the node that holds the most'} becomes the primary, as things stand${at}`,
        ]
      : [namedText(view, to)];
  return [
    `group ${group.id} follows ${source} no longer, and never again by itself`,
    'every node ends its WAL streams and says where it stands',
    ...doubt,
    ...chosen,
    lossText(group, view),
    `WARNING: nothing here stops the other site: as long as a primary runs there, both take writes, and one of them is lost. Stop it there first, and look: psql -h HOST -c 'select pg_is_in_recovery()' on each of ${source}, or sentinelctl status there`,
  ]
    .map((line) => `- ${line}`)
    .join('\n');
}

function namedText(view: View, to: NodeId): string {
  const why = freshReport(view, to)?.strange;
  const doubt = why === undefined ? '' : `, though ${why}`;
  return `${to} becomes the primary, and no other node${doubt}: what it holds counts, and what any other node holds beyond is lost; all others are rewound or copied anew from it`;
}

/** What they hold beyond the others is given up by the promotion, or found to be too much when they are back. */
function unheardText(state: ClusterState, group: GroupState, view: View): string[] {
  return nodesOfGroup(state, group.id).flatMap(({ node, member }) => {
    if (member === undefined) return [];
    const report = freshReport(view, node);
    if (report?.strange !== undefined)
      return [
        `${node} is left out, for ${report.strange}: what it alone holds is given up; ${namedCommand(group, node)} has it promoted instead`,
      ];
    if (pauseOf(group, node) !== undefined)
      return [`${node} is not asked: it is paused, and what it alone may hold is given up`];
    if (canBeCut(view, node)) return [];
    const why = report === undefined ? 'its agent is not heard' : `it is ${report.condition}`;
    return [
      `${node} is not asked: ${why}; what it alone may hold is given up, or waited for if it comes back in time`,
    ];
  });
}

function lossText({ phase: { primary } }: GroupState, view: View): string {
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

/** What a promotion of the site that has begun waits for, and how a person ends that; undefined: it goes on by itself, or none has begun. */
export function siteWait(state: ClusterState, group: GroupState, view: View): string | undefined {
  const { phase } = group;
  if (phase.kind !== 'fencing' || !isUnopened(group)) return undefined;
  if (phase.cause.kind !== 'followed' && phase.cause.kind !== 'recovered') return undefined;
  const [awaited] = awaitedForMore(state, group, phase, view);
  if (awaited !== undefined) {
    const isKnown = freshReport(view, awaited)?.position !== undefined;
    const why = isKnown
      ? 'holds more than the others by what it last said, and is waited for until it has replayed that'
      : 'is being started, and has not said yet what it holds';
    return `${awaited} ${why}; sentinelctl fence ${awaited} gives it up`;
  }
  const { cause } = phase;
  if (cause.kind === 'followed' && cause.to !== undefined)
    return phase.reports.some(({ node }) => node === cause.to)
      ? undefined
      : `${cause.to}, which a person has named, has not reported yet; another one may be named: ${namedCommand(group, 'NODE')}`;
  const silent = silentNodes(state, group, heardReports(phase));
  if (cause.kind === 'recovered' && silent.length > 0) return undefined;
  if (phase.reports.some((report) => candidateRefusal(state, group, phase, report) === undefined))
    return undefined;
  const reasons = [
    ...phase.reports.flatMap(({ node }) => {
      const reason = promotionBar(state, group, node);
      return reason === undefined ? [] : [`${node} is ${reason}`];
    }),
    ...(phase.strange ?? []).map(
      ({ node }) => `${node} is left out: what it holds is not known to be from the other site`,
    ),
    ...(silent.length === 0 ? [] : [`${silent.join(', ')} did not report yet`]),
  ];
  return `no node that has reported is promoted by itself (${reasons.join('; ')}); a person may name one: ${namedCommand(group, 'NODE')}`;
}
