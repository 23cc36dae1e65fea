// Whether what this node holds is what the other site has written, of a group that follows one or has followed one: somebody may have opened this node
// for writes, or another one that it went along with. That it was opened is found out before PostgreSQL is started as a standby, after which its
// control file says nothing of it, and remembered.
import type { MemberId, NodeId, Timeline } from '../base/ids.ts';
import { isKnownTimeline } from '../cluster/site-history.ts';
import { type GroupState, hasFollowed } from '../cluster/state.ts';
import { endedAsStandby, readControlData } from '../postgres/control-data.ts';
import { historyMismatch } from '../postgres/divergence.ts';
import { isMarkedOpened, isUnstartedClone, markOpened } from '../postgres/opened-marker.ts';
import { readHistory } from '../postgres/timelines.ts';
import type { AgentContext, Standing } from './context.ts';

/** Of a PostgreSQL that runs only what was found earlier counts: stop one that takes writes first. */
export async function wasOpened(
  { instance }: Pick<AgentContext, 'instance'>,
  member: MemberId,
): Promise<boolean> {
  const { dataDirectory, user } = instance.options;
  if (await isMarkedOpened(dataDirectory, member)) return true;
  if (instance.postmaster() !== undefined) return false;
  if (endedAsStandby(await readControlData(dataDirectory)) || (await isUnstartedClone(dataDirectory)))
    return false;
  await markOpened({ dataDirectory, member, owner: user.owner });
  return true;
}

const OPENED = 'somebody opened it for writes while its group followed another site';

/** A mark that this data directory got while its group followed another site counts for as long as it is this member. */
export async function openedReason(
  group: Pick<GroupState, 'site'> | undefined,
  dataDirectory: string,
  member: MemberId | undefined,
): Promise<string | undefined> {
  if (group?.site === undefined || member === undefined) return undefined;
  return (await isMarkedOpened(dataDirectory, member)) ? OPENED : undefined;
}

/**
 * Why what a node holds that stands on `timeline` (undefined: not known) is not known to be from the other site, for people; undefined: it is, or its
 * group never followed one. Timelines that were assigned here are the log's business.
 */
export async function strangeReason(
  group: Pick<GroupState, 'site' | 'phase'> | undefined,
  dataDirectory: string,
  { member, timeline }: { readonly member: MemberId | undefined; readonly timeline: Timeline | undefined },
): Promise<string | undefined> {
  if (group?.site === undefined) return undefined;
  const opened = await openedReason(group, dataDirectory, member);
  if (opened !== undefined || timeline === undefined) return opened;
  if (!isKnownTimeline(group, timeline))
    return `it stands on timeline ${timeline}, which the other site is not known to have`;
  const { history: told, opened: firstHere } = group.site;
  if (told === undefined || (firstHere !== undefined && timeline >= firstHere)) return undefined;
  const history = await readHistory(dataDirectory, timeline);
  const mismatch = history && historyMismatch({ timeline, history, branches: told.branches });
  return (
    mismatch && `its timeline ${timeline} is another one, or comes from another one, than the other site's`
  );
}

/** A person has named this node, which is to be promoted whatever it holds. */
function isNamed({ phase }: Pick<GroupState, 'phase'>, node: NodeId): boolean {
  if (phase.kind !== 'fencing') return false;
  const { cause } = phase;
  return (cause.kind === 'followed' || cause.kind === 'forced') && cause.to === node;
}

/**
 * Why it is left as it is: it was opened for writes while its group followed another site. What was written to it is on a timeline of its own, and
 * would be taken for more than all others hold. Whether it was is looked for until the group is opened; what was found counts from then on, too.
 */
export async function leftOut(
  context: AgentContext,
  member: MemberId | undefined,
): Promise<string | undefined> {
  const group = context.group();
  const { node, dataDirectory } = context.instance.options;
  if (group?.site === undefined || member === undefined) return undefined;
  if (hasFollowed(group)) await wasOpened(context, member);
  return isNamed(group, node) ? undefined : openedReason(group, dataDirectory, member);
}

/** The same of what it stands on, once it is cut off. */
export async function strangeness(
  context: AgentContext,
  member: MemberId | undefined,
  { timeline }: Standing,
): Promise<string | undefined> {
  const group = context.group();
  const { node, dataDirectory } = context.instance.options;
  if (group?.site === undefined || isNamed(group, node)) return undefined;
  return strangeReason(group, dataDirectory, { member, timeline });
}
