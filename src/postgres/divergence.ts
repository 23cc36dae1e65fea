// Where a node's history and the one that its group went on with part. Pure.
import type { Timeline } from '../base/ids.ts';
import type { Lsn } from '../base/lsn.ts';
import type { TimelineBranch } from '../cluster/state.ts';
import type { HistoryEntry } from './timelines.ts';

/** Its history files and the log's branches agree on every timeline that both know. */
export function historyMismatch(options: {
  readonly timeline: Timeline;
  readonly history: readonly HistoryEntry[];
  readonly branches: readonly TimelineBranch[];
}): string | undefined {
  const { timeline, history, branches } = options;
  for (const [index, entry] of history.entries()) {
    const child = history[index + 1]?.timeline ?? timeline;
    const branch = branches.find((each) => each.timeline === child);
    if (branch === undefined) continue;
    const own = beginningOf(entry.timeline, entry.switchLsn, (of) => parentIn(history, of));
    const parent = beginningOf(branch.parent, branch.switchLsn, (of) => parentOf(branches, of));
    if (parent !== own || branch.switchLsn !== entry.switchLsn)
      return `timeline ${child} began elsewhere than the log says`;
  }
  return undefined;
}

interface Parent {
  readonly parent: Timeline;
  readonly switchLsn: Lsn;
}

const parentOf = (branches: readonly TimelineBranch[], of: Timeline): Parent | undefined =>
  branches.find((each) => each.timeline === of);

function parentIn(history: readonly HistoryEntry[], of: Timeline): Parent | undefined {
  const index = history.findIndex((each) => each.timeline === of);
  const before = history[index - 1];
  return before && { parent: before.timeline, switchLsn: before.switchLsn };
}

/**
 * The timeline on which the WAL before `position` lies. One that was left where it began holds none: a standby names it as its parent where it had read the
 * history of a primary that died before it wrote anything, and counts as one that stands on the timeline before all the same.
 */
function beginningOf(
  timeline: Timeline,
  position: Lsn,
  parentOfTimeline: (timeline: Timeline) => Parent | undefined,
): Timeline {
  const found = parentOfTimeline(timeline);
  return found?.switchLsn === position && found.parent < timeline
    ? beginningOf(found.parent, position, parentOfTimeline)
    : timeline;
}

/** The way that the group went through the timelines. */
export interface GroupHistory {
  /** The group's present timeline, and where it began while that is not among the branches yet. */
  readonly group: {
    readonly timeline: Timeline;
    readonly from: { readonly timeline: Timeline; readonly position: Lsn } | undefined;
  };
  readonly branches: readonly TimelineBranch[];
}

/**
 * The last position that both have in common; undefined where they have no timeline in common, or the same last one (then neither
 * has left the other).
 */
export function divergencePoint(
  options: GroupHistory & {
    readonly own: { readonly timeline: Timeline; readonly history: readonly HistoryEntry[] };
  },
): Lsn | undefined {
  const { own } = options;
  const ends = groupEnds(options);
  const ownEnds: readonly { readonly timeline: Timeline; readonly end: Lsn | undefined }[] = [
    ...own.history.map((entry) => ({ timeline: entry.timeline, end: entry.switchLsn })),
    { timeline: own.timeline, end: undefined },
  ];
  const common = ownEnds.findLast(({ timeline }) => ends.has(timeline));
  if (common === undefined) return undefined;
  const groupEnd = ends.get(common.timeline);
  if (common.end === undefined || groupEnd === undefined) return common.end ?? groupEnd;
  return common.end < groupEnd ? common.end : groupEnd;
}

/** Where the group left each timeline of its history; undefined for the present one. */
export function groupEnds(options: GroupHistory): Map<Timeline, Lsn | undefined> {
  const { group, branches } = options;
  const ends = new Map<Timeline, Lsn | undefined>([[group.timeline, undefined]]);
  let child = group.timeline;
  for (;;) {
    const branch = branches.find((each) => each.timeline === child);
    const parent =
      branch !== undefined
        ? { timeline: branch.parent, position: branch.switchLsn }
        : child === group.timeline
          ? group.from
          : undefined;
    if (parent === undefined || ends.has(parent.timeline)) return ends;
    ends.set(parent.timeline, parent.position);
    child = parent.timeline;
  }
}
