// Why a node of a group that follows another site does not stream, though its upstream answers. Pure. Must never call a node hopeless that only
// has to wait, for it may hold what is nowhere else: one that is ahead of its upstream waits.
import type { Timeline } from '../base/ids.ts';
import { formatLsn } from '../base/lsn.ts';
import type { TimelineBranch } from '../cluster/state.ts';
import type { Standing } from './context.ts';
import { historyMismatch } from '../postgres/divergence.ts';
import type { HistoryEntry } from '../postgres/timelines.ts';
import { followObstacle } from './follow-duty.ts';
import { type Located, sourceText } from './site-source.ts';

export interface SiteObstacle {
  /** `none`: it should stream any moment. `stray`, `diverged` and `stuck`: only a new copy helps; a stray one must not even try. */
  readonly kind: 'none' | 'wait' | 'stray' | 'diverged' | 'stuck';
  /** For people. */
  readonly text: string;
}

/** While it runs a standby may say an earlier timeline than it is on; it also gets on by itself in less. */
const DIVERGED_AFTER_MS = 5000;
/** In `streamTimeoutMs`. A slot at the other site is in use for a minute after the site leader that had it was lost. */
const PATIENCE = { outside: 8, inside: 2 } as const;

export function siteObstacle(options: {
  readonly node: string;
  readonly standing: Standing;
  /** Of the timeline that it stands on, as its own files have it; undefined where there is none. */
  readonly ownHistory: readonly HistoryEntry[] | undefined;
  readonly located: Located;
  /** For how long it has been set up to stream, the upstream answering and having what it lacks. */
  readonly waitedMs: number;
  readonly streamTimeoutMs: number;
  readonly site: 'outside' | 'inside';
}): SiteObstacle {
  const { node, standing, located, waitedMs } = options;
  const { timeline, position, history } = located;
  const at = sourceText([located]);
  const own = `timeline ${standing.timeline}, ${formatLsn(standing.position)}`;
  if (timeline < standing.timeline)
    return {
      kind: 'wait',
      text: `stands at ${own}, a timeline that ${at} does not have; should it never come, sentinelctl node reinit ${node} has this node copied anew`,
    };
  const stray = strayTimeline(standing.timeline, options.ownHistory, located);
  if (stray !== undefined) return { kind: 'stray', text: `cannot go on from ${at}: ${stray}` };
  if (timeline === standing.timeline && position < standing.position)
    return { kind: 'wait', text: `stands at ${own}, which is more than ${at} has; waiting for that` };
  if (timeline > standing.timeline && history === undefined)
    return { kind: 'wait', text: `the history of timeline ${timeline} cannot be read from ${at}` };
  const obstacle = followObstacle(standing, { timeline, from: undefined }, branchesOf(located));
  if (obstacle !== undefined && waitedMs >= DIVERGED_AFTER_MS)
    return { kind: 'diverged', text: `cannot go on from ${at}: ${obstacle}` };
  if (waitedMs < PATIENCE[options.site] * options.streamTimeoutMs) return { kind: 'none', text: '' };
  return {
    kind: 'stuck',
    text: `does not stream from ${at}, though that answers: WAL that it needs is there no longer, its slot is in use, or it is turned away; see PostgreSQL's log`,
  };
}

/**
 * Why what this node holds is not from there, though the numbers of the timelines are the same: somebody has opened either of them by hand, or the
 * other site was restored to an earlier point. PostgreSQL itself goes by the numbers.
 */
export function strayTimeline(
  timeline: Timeline,
  ownHistory: readonly HistoryEntry[] | undefined,
  located: Located,
): string | undefined {
  if (ownHistory === undefined || located.history === undefined) return undefined;
  const mismatch = historyMismatch({ timeline, history: ownHistory, branches: branchesOf(located) });
  return mismatch && `its timeline ${timeline} is another one, or comes from another one, than there`;
}

/** The way through the timelines that the upstream has come. */
export function branchesOf({ timeline, history = [] }: Located): TimelineBranch[] {
  return history.map((entry, at) => ({
    timeline: history[at + 1]?.timeline ?? timeline,
    parent: entry.timeline,
    switchLsn: entry.switchLsn,
  }));
}
