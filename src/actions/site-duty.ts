// The duty of a node whose group follows another site: the site leader streams from whichever server there takes writes, the others stream
// from the site leader. Must never open the node for writes, and never replace data that somebody has written to here.
import { unlessAborted } from '../base/clock.ts';
import type { Timeline } from '../base/ids.ts';
import type { Lsn } from '../base/lsn.ts';
import { isKnownTimeline, isSameHistory } from '../cluster/site-history.ts';
import { markOpened } from '../postgres/opened-marker.ts';
import { standbyPosition } from '../postgres/role.ts';
import { readHistory } from '../postgres/timelines.ts';
import { cutUpstream, followUpstream, writeStandbySignal } from '../postgres/upstream.ts';
import { stopForeign } from './adopt-duty.ts';
import { type AgentContext, type Standing, placeholder, query } from './context.ts';
import { forgetUnreached } from './forget-unreached.ts';
import { type Running, cutAndRead, isReconnecting, runningStandby, settled } from './follow-duty.ts';
import { NO_DATA, clone } from './rejoin.ts';
import {
  type Located,
  OpenedUpstreamError,
  askLeader,
  ensureSlot,
  hostsOf,
  locate,
  sourceText,
} from './site-source.ts';
import { type SiteObstacle, branchesOf, siteObstacle, strayTimeline } from './site-obstacle.ts';
import { lookAfterSlots } from './slots.ts';
import { wasOpened } from './opened.ts';
import {
  type FollowDuty,
  findUpstreamPassword,
  renewPassword,
  siteSource,
  sourceOf,
  streamOf,
} from './upstream-source.ts';

/** How often an upstream that is not streamed from is asked why. */
const ASK_EVERY_MS = 3000;

/** One pass; it is called again and again. */
export async function carryOutSite(
  context: AgentContext,
  duty: FollowDuty,
  signal: AbortSignal,
): Promise<void> {
  const { instance } = context;
  const data = await context.dataDirectory();
  if (data.kind === 'foreign') throw new Error(`cannot follow the other site: ${data.reason}`);
  if (data.kind !== 'ready')
    return cloneFrom(context, duty, data.kind === 'absent' ? NO_DATA : data.reason, signal);
  const expected = context.group()?.systemIdentifier;
  const { systemIdentifier } = data.control;
  if (expected !== undefined && systemIdentifier !== expected)
    throw new Error(
      `cannot follow the other site: ${instance.options.dataDirectory} holds another database (system identifier ${systemIdentifier}, the group has ${expected}); move it away`,
    );
  if (instance.isForeign()) {
    if (await context.confirms('follow', duty)) await stopForeign(context, signal);
    return;
  }
  if (data.member === undefined)
    throw new Error(
      `cannot follow the other site: pg-sentinel has not made ${instance.options.dataDirectory}; move it away, and it is cloned`,
    );
  if (data.member.memberId !== context.registration()?.member && !(await context.registerAgain())) {
    context.activity(undefined, 'waiting until its data directory is registered');
    return;
  }
  const running = await runningStandby(context, signal);
  if (running === 'primary') {
    if (!(await context.confirms('follow', duty))) return;
    context.announce('PostgreSQL ran as a primary while its group follows another site; it is stopped');
    context.activity('stopping', 'stopping: its group follows another site');
    await instance.stop({ fastMs: 0, signal });
  }
  if (await wasOpened(context, data.member.memberId)) return leave(context, signal);
  if (instance.postmaster() === undefined) return start(context, signal);
  if (running === undefined || running === 'primary') return;
  // Those that follow it need theirs before they can, whatever is the matter with its own upstream.
  await lookAfterSlots(context, duty.slots, signal);
  if (isStreaming(context, duty, running) && (await isSound(context, duty, running, signal))) {
    // Should it be lost, what was before says nothing of how long it could not be had.
    delete context.notes.site;
    delete context.notes.siteStray;
    return settled(context, duty, running, signal);
  }
  if (!isReconnecting(context, duty.upstream)) await turn(context, duty, signal);
}

/** Writes that are nowhere else are not for a program to give up: a person says when the directory may be replaced. */
async function leave({ instance }: AgentContext, signal: AbortSignal): Promise<never> {
  const { dataDirectory, node } = instance.options;
  if (instance.postmaster() !== undefined) await instance.stop({ fastMs: 2000, signal });
  throw new Error(
    `cannot follow the other site: ${dataDirectory} was opened for writes here, and is left as it is; sentinelctl node reinit ${node} has it replaced by a copy, and what was written is lost then`,
  );
}

async function start(context: AgentContext, signal: AbortSignal): Promise<void> {
  const { instance, timing } = context;
  const { dataDirectory, passfileDirectory, user } = instance.options;
  context.activity('starting', 'starting as a standby of the other site');
  await instance.writeConfiguration(placeholder(context));
  // Cut off: it replays what it has, and is set up by the next pass, once what it holds was compared with what is there.
  await cutUpstream({
    ...{ dataDirectory, passfileDirectory, owner: user.owner },
    ...{ timeoutMs: timing.cutTimeoutMs, signal },
  });
  await writeStandbySignal(dataDirectory, user.owner);
  await forgetUnreached(context, signal);
  await instance.startAs('standby', { timeoutMs: timing.startTimeoutMs, signal });
}

/** The walreceiver streams from a server of the other site, or from the site leader as this member. */
function isStreaming(
  context: AgentContext,
  duty: FollowDuty,
  { receiver }: Exclude<Running, 'primary' | undefined>,
): boolean {
  if (receiver?.status !== 'streaming') return false;
  const { upstream } = duty;
  const isAt = ({ host, port }: { readonly host: string; readonly port: number }): boolean =>
    receiver.senderHost === host && receiver.senderPort === port;
  if (upstream.site === 'inside') return isAt(upstream) && receiver.slotName === context.localMember();
  const { servers, slot } = siteSource(context);
  return servers.some(isAt) && receiver.slotName === slot;
}

/**
 * Whether what it streams belongs to what it holds: asked of each new walreceiver, and on each new timeline, for PostgreSQL compares their numbers
 * only. One whose upstream cannot be asked is asked about again.
 */
async function isSound(
  context: AgentContext,
  duty: FollowDuty,
  { receiver }: Exclude<Running, 'primary' | undefined>,
  signal: AbortSignal,
): Promise<boolean> {
  const { notes, instance } = context;
  const on = receiver?.receivedTimeline;
  if (receiver === undefined || on === undefined) return true;
  const key = `${receiver.stream} ${on} ${targetOf(context, duty)}`;
  const seen = notes.siteSeen?.key === key ? notes.siteSeen : undefined;
  const isDone = seen?.isDone === true && isKnown(context, on);
  if (seen !== undefined && (isDone || performance.now() - seen.askedMs < ASK_EVERY_MS)) return true;
  const note = (isDone: boolean): void => {
    notes.siteSeen = { key, isDone, askedMs: performance.now() };
  };
  note(false);
  const { dataDirectory, user } = instance.options;
  let located: Located;
  try {
    located = await ask(context, duty, signal);
  } catch (error) {
    signal.throwIfAborted();
    // The log applied here may lag behind: by that upstream it may be a primary.
    if (!(error instanceof OpenedUpstreamError) || !(await context.confirms('follow', duty))) return true;
    const member = context.localMember();
    // It went along: what it holds is that node's by now.
    if (error.timeline === on && member !== undefined)
      await markOpened({ dataDirectory, member, owner: user.owner });
    await cutAndRead(context, signal);
    throw error;
  }
  const stray = strayTimeline(on, await readHistory(dataDirectory, on), located);
  if (stray !== undefined) {
    context.announce(`cut off from ${whom(duty)}: ${stray}`);
    await cutStray(context, duty, stray, signal);
    return false;
  }
  await tell(context, duty, located, signal);
  note(located.timeline >= on && located.history !== undefined);
  const isThere = receiver.senderHost === located.host && receiver.senderPort === located.port;
  const isOther = prefer(context, located);
  // libpq found another server than that, which should have been stopped.
  return isThere || !isOther;
}

/** By the log: the other site's, as the site leader has told. */
function isKnown(context: AgentContext, timeline: Timeline): boolean {
  const group = context.group();
  return group === undefined || isKnownTimeline(group, timeline);
}

/** The site leader says which timelines are the other site's: nodes that stand on another one are not taken for what that has written. */
async function tell(
  context: AgentContext,
  duty: FollowDuty,
  located: Located,
  signal: AbortSignal,
): Promise<void> {
  const { group, epoch, upstream } = duty;
  const site = context.group()?.site;
  if (upstream.site !== 'outside' || site === undefined) return;
  // A server that lost the file of its history is on its timeline all the same.
  if (located.history === undefined && isKnown(context, located.timeline)) return;
  // A server of the other site that has come back, before its successor has answered.
  if (located.timeline < (site.history?.timeline ?? 0)) return;
  const history = { timeline: located.timeline, branches: branchesOf(located) };
  if (site.history !== undefined && isSameHistory(site.history, history)) return;
  const { node } = context.instance.options;
  await unlessAborted(signal, context.propose({ kind: 'tell-site', group, epoch, node, history }));
}

/** Until it is found that what it holds is from there after all, or is told to stream from elsewhere. */
async function cutStray(
  context: AgentContext,
  duty: FollowDuty,
  text: string,
  signal: AbortSignal,
): Promise<void> {
  const { notes } = context;
  const from = targetOf(context, duty);
  if (notes.siteStray?.from !== from) await cutAndRead(context, signal);
  notes.siteStray = { from, text, askedMs: performance.now() };
  delete notes.site;
}

/** It would go along. Not for long, as a rule: the site leader has just been told of a new timeline there, or is about to tell it. */
function unknownText(
  context: AgentContext,
  { upstream }: FollowDuty,
  { timeline }: Located,
): string | undefined {
  if (upstream.site === 'outside' || isKnown(context, timeline)) return undefined;
  return `waiting: ${upstream.node}, the site leader, stands on timeline ${timeline}, which the other site is not known to have`;
}

/** Says that two servers there take writes; `true` where libpq is to try another one first than before. */
function prefer(context: AgentContext, located: Located): boolean {
  const { notes } = context;
  const { host, port, rivals } = located;
  if (rivals === undefined) return false;
  const all = sourceText([located, ...rivals]);
  context.announce(
    `${all} take writes, all of them: only one should, see to it there; ${sourceText([located])} is followed, which is on the highest timeline`,
  );
  const isNew = notes.siteServer?.host !== host || notes.siteServer.port !== port;
  notes.siteServer = { host, port };
  return isNew;
}

/** What it is to be set up for: with other servers in the configuration, anew. */
function targetOf(context: AgentContext, { upstream }: FollowDuty): string {
  if (upstream.site !== 'outside') return `${upstream.host}:${upstream.port}`;
  const source = siteSource(context);
  const { host = '', port = '' } = hostsOf(source, context.notes.siteServer);
  return `${host} ${port} ${source.slot ?? ''} ${JSON.stringify(source.parameters)}`;
}

function noteSetUp(context: AgentContext, duty: FollowDuty): void {
  const postmasterPid = context.instance.postmaster()?.pid ?? 0;
  const [from, sinceMs] = [targetOf(context, duty), performance.now()];
  context.notes.site = { from, postmasterPid, sinceMs, askedMs: sinceMs };
}

/** A running standby that does not stream: turned to its upstream once; from then on PostgreSQL tries by itself, and the upstream is asked why not. */
async function turn(context: AgentContext, duty: FollowDuty, signal: AbortSignal): Promise<void> {
  const { instance, notes } = context;
  const known = notes.site;
  const pid = instance.postmaster()?.pid;
  const { siteStray: stray } = notes;
  // Each question is a connection to every server of the other site.
  if (stray?.from === targetOf(context, duty)) {
    if (performance.now() - stray.askedMs < ASK_EVERY_MS) throw new Error(stray.text);
    notes.siteStray = { ...stray, askedMs: performance.now() };
  }
  if (known === undefined || known.from !== targetOf(context, duty) || known.postmasterPid !== pid)
    // What it holds is compared first: a walreceiver writes over the segment that it begins with.
    return askAndHelp(context, duty, () => setUp(context, duty), signal);
  if (performance.now() - known.askedMs < ASK_EVERY_MS) return;
  notes.site = { ...known, askedMs: performance.now() };
  await askAndHelp(context, duty, () => Promise.resolve(), signal);
}

async function setUp(context: AgentContext, duty: FollowDuty): Promise<void> {
  const { instance, notes } = context;
  const { dataDirectory, passfileDirectory, user } = instance.options;
  const member = context.localMember();
  if (member === undefined) throw new Error(`cannot stream: ${dataDirectory} has no member id`);
  context.activity('standby', `connecting to ${whom(duty)}`);
  await instance.setSynchronousStandbys(placeholder(context));
  // From now on it streams again: a promotion must not count on an earlier cut.
  notes.cut = undefined;
  if (duty.upstream.site !== 'outside') await findUpstreamPassword(context, duty);
  await followUpstream({
    ...{ dataDirectory, passfileDirectory, owner: user.owner },
    ...streamOf(context, duty, member),
  });
  noteSetUp(context, duty);
}

const whom = ({ upstream }: FollowDuty): string =>
  upstream.site === 'outside' ? 'the other site' : `${upstream.node}, the site leader`;

/**
 * Says what keeps it from streaming; a slot that is missing at the other site is made. `connect` sets it up, where it is not yet: also where nobody
 * answers now, unless what it holds was found not to be from there.
 */
async function askAndHelp(
  context: AgentContext,
  duty: FollowDuty,
  connect: () => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const { notes, instance } = context;
  let located: Located;
  try {
    located = await ask(context, duty, signal);
    if (duty.upstream.site === 'outside') {
      prefer(context, located);
      await unlessAborted(signal, ensureSlot(siteSource(context), located));
    }
  } catch (error) {
    signal.throwIfAborted();
    const isWrong = notes.siteStray?.from === targetOf(context, duty) || error instanceof OpenedUpstreamError;
    if (!isWrong) await connect();
    if (notes.site !== undefined) await renewPassword(context, duty);
    countAnew(context);
    context.activity('standby', `does not stream from ${whom(duty)}: ${(error as Error).message}`);
    return;
  }
  const expected = context.group()?.systemIdentifier;
  if (expected !== undefined && located.systemIdentifier !== expected)
    throw new Error(
      `cannot follow ${sourceText([located])}: it holds another database (system identifier ${located.systemIdentifier}, the group has ${expected})`,
    );
  const role = await instance.readRole(query(context, signal));
  const unknown = unknownText(context, duty, located);
  if (unknown !== undefined) {
    // Where it streamed from before, it may keep a slot in use that the site leader needs to get on, and to tell.
    if (role.kind === 'standby' && role.walReceiver !== undefined) await cutAndRead(context, signal);
    delete notes.site;
    context.activity('standby', unknown);
    return;
  }
  const position = role.kind === 'standby' ? standbyPosition(role) : undefined;
  if (role.kind !== 'standby' || position === undefined) return connect();
  const obstacle = await obstacleTo(context, duty, { timeline: role.timeline, position }, located);
  if (obstacle.kind !== 'none' && obstacle.kind !== 'wait')
    return takeAnew(context, duty, { located, obstacle, replayLsn: role.replayLsn }, signal);
  delete notes.siteStray;
  await connect();
  if (duty.upstream.site === 'outside') await renewPassword(context, duty);
  // While it replays what it has it need not stream, and a new copy would replay the same.
  if (obstacle.kind === 'wait' || notes.site?.replayLsn !== role.replayLsn) countAnew(context);
  if (notes.site !== undefined) notes.site = { ...notes.site, replayLsn: role.replayLsn };
  context.activity('standby', obstacle.kind === 'wait' ? obstacle.text : `connecting to ${whom(duty)}`);
}

/** Only the time counts in which the upstream answers, and has what this node lacks. */
function countAnew({ notes }: AgentContext): void {
  if (notes.site !== undefined) notes.site = { ...notes.site, sinceMs: performance.now() };
}

async function obstacleTo(
  context: AgentContext,
  { upstream }: FollowDuty,
  standing: Standing,
  located: Located,
): Promise<SiteObstacle> {
  const waitedMs = performance.now() - (context.notes.site?.sinceMs ?? performance.now());
  const { streamTimeoutMs } = context.timing;
  const { node, dataDirectory } = context.instance.options;
  const ownHistory = await readHistory(dataDirectory, standing.timeline);
  return siteObstacle({
    ...{ node, standing, ownHistory, located, waitedMs, streamTimeoutMs },
    site: upstream.site ?? 'inside',
  });
}

/** Nothing else waits for an answer: a cut that is due begins at once. */
function ask(context: AgentContext, duty: FollowDuty, signal: AbortSignal): Promise<Located> {
  return unlessAborted(
    signal,
    duty.upstream.site === 'outside'
      ? locate(siteSource(context), context.group()?.systemIdentifier)
      : askLeader(sourceOf(context, duty, 'pg_sentinel_ask')),
  );
}

/**
 * Others are cloned from the site leader, which is near. A copy that has to come from the other site takes long, and this one, however old, may
 * be all that is left of that: a person decides.
 */
async function takeAnew(
  context: AgentContext,
  duty: FollowDuty,
  found: { readonly located: Located; readonly obstacle: SiteObstacle; readonly replayLsn: Lsn | undefined },
  signal: AbortSignal,
): Promise<void> {
  const { located, obstacle, replayLsn } = found;
  const { node } = context.instance.options;
  const advice = `${obstacle.text}; sentinelctl node reinit ${node} has it copied anew from there`;
  if (obstacle.kind === 'stray') await cutStray(context, duty, advice, signal);
  if (duty.upstream.site === 'outside') throw new Error(advice);
  // Exactly where it stands is known after a cut only.
  const standing = await cutAndRead(context, signal);
  const exact = await obstacleTo(context, duty, standing, located);
  // The next pass sets it up once more, and counts from there.
  delete context.notes.site;
  // What it had yet to replay kept it from streaming.
  if (obstacle.kind === 'stuck' && (replayLsn === undefined || standing.position > replayLsn)) return;
  if (exact.kind === obstacle.kind) await cloneFrom(context, duty, obstacle.text, signal);
}

/** With the upstream as it is at this moment. */
async function cloneFrom(
  context: AgentContext,
  duty: FollowDuty,
  reason: string,
  signal: AbortSignal,
): Promise<void> {
  const isOutside = duty.upstream.site === 'outside';
  const located = await ask(context, duty, signal).catch((error: unknown) => {
    signal.throwIfAborted();
    // The site leader may just be starting.
    if (isOutside) throw error;
    context.activity('absent', `waiting until ${whom(duty)}, answers: ${(error as Error).message}`);
  });
  if (located === undefined) return;
  const { host, port, timeline } = located;
  const unknown = unknownText(context, duty, located);
  if (unknown !== undefined) {
    context.activity('absent', unknown);
    return;
  }
  if (isOutside) {
    prefer(context, located);
    await tell(context, duty, located, signal);
    await unlessAborted(signal, ensureSlot(siteSource(context), located));
  }
  const place = isOutside ? { host, port, node: sourceText([located]) as typeof duty.upstream.node } : {};
  delete context.notes.site;
  delete context.notes.siteStray;
  // The log knows none of its timelines: what is beyond them here is saved by those that it has said.
  const branches = branchesOf(located);
  const upstream = { ...duty.upstream, ...place, timeline };
  await clone(context, { ...duty, branches, upstream }, reason, signal);
}
