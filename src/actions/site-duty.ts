// The duty of a node whose group follows another site: the site leader streams from whichever server there takes writes, the others stream
// from the site leader. Must never open the node for writes, and never replace data that somebody has written to here.
import { standbyPosition } from '../postgres/role.ts';
import { followUpstream } from '../postgres/upstream.ts';
import { stopForeign } from './adopt-duty.ts';
import { type AgentContext, type Standing, placeholder, query } from './context.ts';
import { type Running, cutAndRead, isReconnecting, runningStandby, settled } from './follow-duty.ts';
import { NO_DATA, clone, setUpstream } from './rejoin.ts';
import { type Located, askLeader, ensureSlot, locate, sourceText } from './site-source.ts';
import { type SiteObstacle, siteObstacle } from './site-obstacle.ts';
import { lookAfterSlots } from './slots.ts';
import { wasOpened } from './opened.ts';
import { type FollowDuty, findUpstreamPassword, siteSource, sourceOf, streamOf } from './upstream-source.ts';

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
  if (instance.postmaster() === undefined) return start(context, duty, signal);
  if (running === undefined || running === 'primary') return;
  if (isStreaming(context, duty, running)) {
    // Should it be lost, what was before says nothing of how long it could not be had.
    delete context.notes.site;
    return settled(context, duty, running, signal);
  }
  // Those that follow it need theirs before they can.
  await lookAfterSlots(context, duty.slots, signal);
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

async function start(context: AgentContext, duty: FollowDuty, signal: AbortSignal): Promise<void> {
  const { instance, timing } = context;
  context.activity('starting', 'starting as a standby of the other site');
  await instance.writeConfiguration(placeholder(context));
  if (!(await setUpstream(context, duty))) return;
  noteSetUp(context, duty);
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

/** What it is to be set up for: with other servers in the configuration, anew. */
function targetOf(context: AgentContext, { upstream }: FollowDuty): string {
  if (upstream.site !== 'outside') return `${upstream.host}:${upstream.port}`;
  const { servers, slot = '', parameters } = siteSource(context);
  return `${sourceText(servers)} ${slot} ${JSON.stringify(parameters)}`;
}

function noteSetUp(context: AgentContext, duty: FollowDuty): void {
  const postmasterPid = context.instance.postmaster()?.pid ?? 0;
  const [from, sinceMs] = [targetOf(context, duty), performance.now()];
  context.notes.site = { from, postmasterPid, sinceMs, askedMs: sinceMs };
}

/** A running standby that does not stream: turned to its upstream once; from then on PostgreSQL tries by itself, and the upstream is asked why not. */
async function turn(context: AgentContext, duty: FollowDuty, signal: AbortSignal): Promise<void> {
  const { instance, notes } = context;
  const { dataDirectory, passfileDirectory, user } = instance.options;
  const known = notes.site;
  const pid = instance.postmaster()?.pid;
  const isSetUp =
    known?.from === targetOf(context, duty) && (known.postmasterPid === pid || known.postmasterPid === 0);
  if (known === undefined || !isSetUp) {
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
    // At once also where the slot is missing.
    await askAndHelp(context, duty, signal);
    return;
  }
  if (performance.now() - known.askedMs < ASK_EVERY_MS) return;
  notes.site = { ...known, askedMs: performance.now() };
  await askAndHelp(context, duty, signal);
}

const whom = ({ upstream }: FollowDuty): string =>
  upstream.site === 'outside' ? 'the other site' : `${upstream.node}, the site leader`;

/** Says what keeps it from streaming; a slot that is missing at the other site is made. */
async function askAndHelp(context: AgentContext, duty: FollowDuty, signal: AbortSignal): Promise<void> {
  let located: Located;
  try {
    located = await ask(context, duty);
    if (duty.upstream.site === 'outside') await ensureSlot(siteSource(context), located);
  } catch (error) {
    signal.throwIfAborted();
    countAnew(context);
    context.activity('standby', `does not stream from ${whom(duty)}: ${(error as Error).message}`);
    return;
  }
  signal.throwIfAborted();
  const expected = context.group()?.systemIdentifier;
  if (expected !== undefined && located.systemIdentifier !== expected)
    throw new Error(
      `cannot follow ${sourceText([located])}: it holds another database (system identifier ${located.systemIdentifier}, the group has ${expected})`,
    );
  const role = await context.instance.readRole(query(context, signal));
  const position = role.kind === 'standby' ? standbyPosition(role) : undefined;
  if (position === undefined) return;
  const obstacle = obstacleTo(context, duty, { timeline: role.timeline, position }, located);
  if (obstacle.kind === 'none') {
    context.activity('standby', `connecting to ${whom(duty)}`);
    return;
  }
  if (obstacle.kind === 'wait') {
    countAnew(context);
    context.activity('standby', obstacle.text);
    return;
  }
  await takeAnew(context, duty, { located, obstacle }, signal);
}

/** Only the time counts in which the upstream answers, and has what this node lacks. */
function countAnew({ notes }: AgentContext): void {
  if (notes.site !== undefined) notes.site = { ...notes.site, sinceMs: performance.now() };
}

function obstacleTo(
  context: AgentContext,
  { upstream }: FollowDuty,
  standing: Standing,
  located: Located,
): SiteObstacle {
  const waitedMs = performance.now() - (context.notes.site?.sinceMs ?? performance.now());
  const { streamTimeoutMs } = context.timing;
  const { node } = context.instance.options;
  return siteObstacle({
    node,
    standing,
    located,
    waitedMs,
    streamTimeoutMs,
    site: upstream.site ?? 'inside',
  });
}

function ask(context: AgentContext, duty: FollowDuty): Promise<Located> {
  return duty.upstream.site === 'outside'
    ? locate(siteSource(context))
    : askLeader(sourceOf(context, duty, 'pg_sentinel_ask'));
}

/**
 * Others are cloned from the site leader, which is near. A copy that has to come from the other site takes long, and this one, however old, may
 * be all that is left of that: a person decides.
 */
async function takeAnew(
  context: AgentContext,
  duty: FollowDuty,
  { located, obstacle }: { readonly located: Located; readonly obstacle: SiteObstacle },
  signal: AbortSignal,
): Promise<void> {
  const { node } = context.instance.options;
  if (duty.upstream.site === 'outside')
    throw new Error(`${obstacle.text}; sentinelctl node reinit ${node} has it copied anew from there`);
  // Exactly where it stands is known after a cut only.
  const standing = await cutAndRead(context, signal);
  const exact = obstacleTo(context, duty, standing, located);
  // The next pass sets it up once more, and counts from there.
  delete context.notes.site;
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
  const located = await ask(context, duty).catch((error: unknown) => {
    // The site leader may just be starting.
    if (isOutside) throw error;
    context.activity('absent', `waiting until ${whom(duty)}, answers: ${(error as Error).message}`);
  });
  signal.throwIfAborted();
  if (located === undefined) return;
  const { host, port, timeline } = located;
  if (isOutside) await ensureSlot(siteSource(context), located);
  const place = isOutside ? { host, port, node: sourceText([located]) as typeof duty.upstream.node } : {};
  delete context.notes.site;
  await clone(context, { ...duty, upstream: { ...duty.upstream, ...place, timeline } }, reason, signal);
}
