// Which timelines of a group that has followed another site are known: those that the primary there has told the site leader of, and those that
// were assigned here. Pure. Whatever else a node stands on (somebody has opened one here, or it went along with such a one) is strange: it is
// never promoted without a person's word, proves nothing, and no node is made to follow it.
import { type Timeline, timeline as toTimeline } from '../base/ids.ts';
import { type Applied, type CommandOf, groupAt, isRefused, refuse, withGroup } from './applied.ts';
import { highest } from './apply-nodes.ts';
import type { CutReport, SiteHistory } from './commands.ts';
import { SITE_FEATURE_LEVEL } from './features.ts';
import { type ClusterState, type FollowedSite, type GroupState, hasUnknownRule } from './state.ts';

/** Of a group that goes on with a database of its own (apply-replacement.ts): no timeline of it is another site's. */
export const ALL_HERE: FollowedSite = { history: undefined, opened: toTimeline(1) };

/** It has followed another site, and no node of it is known to have been promoted since. */
export function isUnopened({ site, branches }: Pick<GroupState, 'site' | 'branches'>): boolean {
  return site !== undefined && branches.length === 0 && site.opened !== ALL_HERE.opened;
}

/**
 * Whether that number is one of the other site's, or of this one. Of a group whose log was recovered any may be: the part that is lost may have
 * assigned it. A group that never followed knows all of them by other means.
 */
export function isKnownTimeline(group: Pick<GroupState, 'site' | 'phase'>, timeline: Timeline): boolean {
  const { site } = group;
  if (site === undefined || hasUnknownRule(group)) return true;
  if (site.opened !== undefined && timeline >= site.opened) return true;
  const { history } = site;
  return (
    history !== undefined &&
    (history.timeline === timeline || history.branches.some(({ parent }) => parent === timeline))
  );
}

/** Told by whoever streams from there, as long as it does: nobody else here asks a server of the other site. */
export function applyTellSite(
  state: ClusterState,
  { group: id, epoch, node, history }: CommandOf<'tell-site'>,
): Applied {
  if (state.featureLevel < SITE_FEATURE_LEVEL)
    return refuse('not every peer understands this yet: upgrade all of them first');
  const group = groupAt(state, id, epoch);
  if (isRefused(group)) return group;
  const { phase, site } = group;
  if (phase.kind !== 'following' || phase.isDoubtful || site === undefined)
    return refuse(`group ${id} is ${phase.kind}, and follows nobody`);
  if (phase.primary !== node) return refuse(`${node} is not the site leader of group ${id}`);
  if (site.history !== undefined && isSameHistory(site.history, history))
    return refuse('it was told already');
  // What this site opens one day is above all that it knows of.
  const highestTimeline = highest(group.highestTimeline, history.timeline);
  return withGroup(state, { ...group, highestTimeline, site: { ...site, history } });
}

export function isSameHistory(a: SiteHistory, b: SiteHistory): boolean {
  return (
    a.timeline === b.timeline &&
    a.branches.length === b.branches.length &&
    a.branches.every((branch, at) => {
      const other = b.branches[at];
      return (
        branch.timeline === other?.timeline &&
        branch.parent === other.parent &&
        branch.switchLsn === other.switchLsn
      );
    })
  );
}

/**
 * A node of the group is promoted to `assigned`. One that a person has named, and that may be on a timeline that nobody knows, takes its timeline
 * with it: that is the way the group went.
 */
export function openedSite(
  group: GroupState,
  candidate: CutReport,
  assigned: Timeline,
): { readonly site?: FollowedSite } {
  const { site, phase } = group;
  if (site === undefined) return {};
  const { cause } = phase.kind === 'fencing' ? phase : {};
  const isNamed = cause?.kind === 'followed' && cause.to !== undefined;
  const history = isNamed ? { timeline: candidate.timeline, branches: [] } : site.history;
  return { site: { history, opened: site.opened ?? assigned } };
}

/** All reports of a fencing, those of strange nodes too: who is not among them was not heard. */
export function heardReports({
  reports,
  strange = [],
}: {
  readonly reports: readonly CutReport[];
  readonly strange?: readonly CutReport[];
}): readonly CutReport[] {
  return strange.length === 0 ? reports : [...reports, ...strange];
}
