// The duty of a standby: stream from the upstream that the log names. Follow by reload or start where its WAL lies on the
// log's history of timelines, else pg_rewind, else a clone (rejoin.ts).
import { DeadlineError, until } from '../base/clock.ts';
import type { Timeline } from '../base/ids.ts';
import { formatLsn } from '../base/lsn.ts';
import type { TimelineBranch } from '../cluster/state.ts';
import type { Upstream } from '../failover/duties.ts';
import { type ControlData, endedAsStandby, readControlData } from '../postgres/control-data.ts';
import { historyMismatch } from '../postgres/divergence.ts';
import { isUnstartedClone } from '../postgres/opened-marker.ts';
import { readCutPosition } from '../postgres/position.ts';
import { discardReplaced } from '../postgres/replaced.ts';
import type { WalReceiver } from '../postgres/role.ts';
import { forgetRewound } from '../postgres/rewound.ts';
import { readHistory } from '../postgres/timelines.ts';
import { timelinesAhead } from '../postgres/unreached.ts';
import { cutUpstream, followUpstream } from '../postgres/upstream.ts';
import { whileRunning } from '../postgres/while-running.ts';
import { confirmAdopted, stopForeign, takeOverStandby } from './adopt-duty.ts';
import { type AgentContext, type Standing, placeholder, query } from './context.ts';
import { endOfShutdown, standingCut } from './failover-duties.ts';
import type { InForce } from './instance.ts';
import { forgetUnreached } from './forget-unreached.ts';
import { keepLeftovers } from './leftover-wal.ts';
import { noStandbyText } from './other-database.ts';
import { NO_DATA, clone, completeRewind, rejoin } from './rejoin.ts';
import { archiveOnStandby, archivingKey } from './restore-archiving.ts';
import { endHaste } from './zero-fill.ts';
import { openedReason } from './opened.ts';
import { strangeText } from './strange-directory.ts';
import { ADVANCE_SLOTS_EVERY_MS, advanceIdleSlots, lookAfterSlots } from './slots.ts';
import {
  type FollowDuty,
  findUpstreamPassword,
  isAnswering,
  loginRefusal,
  keepPasswords,
  streamOf,
} from './upstream-source.ts';

/** One pass; it is called again and again. */
export async function carryOutFollow(
  context: AgentContext,
  duty: FollowDuty,
  signal: AbortSignal,
): Promise<void> {
  const { instance } = context;
  const data = await context.dataDirectory();
  if (data.kind === 'foreign') throw new Error(`cannot make a standby: ${data.reason}`);
  if (data.kind !== 'ready')
    return clone(context, duty, data.kind === 'absent' ? NO_DATA : data.reason, signal);
  const other = noStandbyText(context, data.control);
  if (other !== undefined) throw new Error(other);
  if (instance.isForeign() && duty.isAdopted === true) return takeOverStandby(context, duty, signal);
  // What is being adopted is somebody else's yet: a person has named it.
  const strange =
    data.member === undefined && duty.isAdopted !== true ? await strangeText(context) : undefined;
  if (instance.isForeign() || (strange !== undefined && instance.postmaster() !== undefined)) {
    const why = strange === undefined ? undefined : 'it is stopped, for it has the database of the group';
    if (await context.confirms('follow', duty)) await stopForeign(context, signal, why);
    return;
  }
  if (strange !== undefined) throw new Error(strange);
  if (data.member === undefined) return rejoin(context, duty, 'its data directory has no member id', signal);
  if (data.member.memberId !== context.registration()?.member && !(await context.registerAgain())) {
    context.activity(undefined, 'waiting until its data directory is registered');
    return;
  }
  if (await completeRewind(context, duty, data.control, signal)) return;
  const running = await runningStandby(context, signal);
  if (running !== 'primary') {
    const opened = await openedReason(context.group(), instance.options.dataDirectory, data.member.memberId);
    // Neither following nor a rewind, which go by the numbers of timelines, would notice that the WAL is another.
    if (opened !== undefined)
      return clone(context, duty, `${opened}, which is lost with its data directory`, signal);
  }
  if (running === 'primary') {
    if (!(await context.confirms('follow', duty))) return;
    context.announce(
      `PostgreSQL ran as a primary, which ${duty.upstream.node} is by the log; it is stopped and follows`,
    );
    context.activity('stopping', 'stopping: it is not the primary');
    await instance.stop({ fastMs: 0, signal });
  }
  if (instance.postmaster() === undefined) {
    await keepLeftovers(context, duty, signal);
    // Not what was found while it ran: how it ended decides.
    const control = await readControlData(instance.options.dataDirectory);
    return startOrRejoin(context, duty, control, signal);
  }
  if (running !== 'primary' && running !== undefined && isFollowing(context, running, duty.upstream)) {
    await settled(context, duty, running, signal);
    return;
  }
  if (isReconnecting(context, duty.upstream)) return;
  await keepLeftovers(context, duty, signal);
  return redirect(context, duty, signal);
}

/**
 * PostgreSQL connects again by itself, ten times a second. To turn it to the upstream that it has already would help nobody, and stand in the
 * way of the cut that comes next where that upstream has failed or is being replaced.
 */
const RECONNECT_GRACE_MS = 1500;

/** Whether it has followed that very upstream until just now, and nobody has cut it off. */
export function isReconnecting(
  context: Pick<AgentContext, 'notes' | 'instance' | 'activity'>,
  upstream: Upstream,
): boolean {
  const { followed } = context.notes;
  if (followed?.from !== nameOf(upstream)) return false;
  if (followed.postmasterPid !== context.instance.postmaster()?.pid) return false;
  const lostMs = followed.lostMs ?? performance.now();
  context.notes.followed = { ...followed, lostMs };
  if (performance.now() - lostMs >= RECONNECT_GRACE_MS) return false;
  context.activity('standby', `connecting to ${upstream.node} again`);
  return true;
}

const nameOf = ({ host, port, timeline }: Upstream): string => `${host}:${port} timeline ${timeline}`;

/** It streams as it should: only its slots need care, and what a clone has replaced is no longer needed. */
export async function settled(
  context: AgentContext,
  duty: FollowDuty,
  { receiver, ...inForce }: Exclude<Running, 'primary' | undefined>,
  signal: AbortSignal,
): Promise<void> {
  context.clearUnexpectedEnd();
  context.activity(undefined, context.notes.slotProblem);
  const streamsOn = isSteady(context, receiver);
  if (streamsOn) {
    context.notes.failedFollows = undefined;
    const postmasterPid = context.instance.postmaster()?.pid;
    context.notes.followed =
      postmasterPid === undefined
        ? undefined
        : { from: nameOf(duty.upstream), postmasterPid, lostMs: undefined };
    await context.once('rewound', () => forgetRewound(context.instance.options.dataDirectory));
    await context.once('replaced', () => discard(context));
    await context.once(archivingKey(context), () => archiveOnStandby(context));
  }
  await context.instance.setSynchronousStandbys(placeholder(context), inForce);
  await lookAfterSlots(context, duty.slots, signal, async () => {
    await context.once('passwords', () => keepPasswords(context, duty, signal), KEEP_PASSWORDS_EVERY_MS);
    await context.once('advance', () => advanceIdleSlots(context, duty, signal), ADVANCE_SLOTS_EVERY_MS);
    if (streamsOn) await endHaste(context);
    if (streamsOn && duty.isAdopted === true) await confirmAdopted(context, duty);
  });
}

const KEEP_PASSWORDS_EVERY_MS = 2000;

/** Nothing waits for it, and a node that streams is no worse for what could not be removed. */
async function discard(context: AgentContext): Promise<void> {
  const failed = (error: unknown): void =>
    context.log('warn', 'the data directory that the clone has replaced could not be removed', {
      error: (error as Error).message,
    });
  try {
    const { dataDirectory, user } = context.instance.options;
    const { removal } = await discardReplaced(dataDirectory, user);
    removal.catch(failed);
  } catch (error) {
    failed(error);
  }
}

export type Running = 'primary' | (InForce & { readonly receiver: WalReceiver | undefined }) | undefined;

export async function runningStandby(context: AgentContext, signal: AbortSignal): Promise<Running> {
  if (context.instance.postmaster() === undefined) return undefined;
  const role = await context.instance.readRole(query(context, signal));
  if (role.kind === 'primary') return 'primary';
  const { walReceiver: receiver, synchronousStandbyNames, readerLimit } = role;
  return { receiver, synchronousStandbyNames, readerLimit };
}

/**
 * The walreceiver streams from that address, on that timeline or on the way to it, and as this member: one that is left of a fetch of WAL
 * (fetch-wal.ts) has no slot, and a name that no sync rule counts.
 */
export function isFollowing(
  context: Pick<AgentContext, 'localMember'>,
  { receiver }: { readonly receiver: WalReceiver | undefined },
  upstream: Upstream,
): boolean {
  return (
    receiver !== undefined &&
    receiver.status === 'streaming' &&
    receiver.slotName !== undefined &&
    receiver.slotName === context.localMember() &&
    receiver.senderHost === upstream.host &&
    receiver.senderPort === upstream.port &&
    receiver.receivedTimeline === upstream.timeline
  );
}

/** A walreceiver shows as streaming before the upstream has refused it, for want of WAL or of its slot, and another one follows soon. */
const STEADY_MS = 250;

/** The same walreceiver has streamed for a while. */
function isSteady(context: AgentContext, receiver: WalReceiver | undefined): boolean {
  const { streaming } = context.notes;
  if (receiver === undefined) return false;
  if (streaming?.stream === receiver.stream) return performance.now() - streaming.sinceMs >= STEADY_MS;
  context.notes.streaming = { stream: receiver.stream, sinceMs: performance.now() };
  return false;
}

/** A running standby is turned to another upstream: cut first, so that where it stands is known. */
async function redirect(
  context: AgentContext,
  duty: FollowDuty,
  signal: AbortSignal,
  isTidy?: true,
): Promise<void> {
  const standing = standingCut(context, duty) ?? (await cutAndRead(context, signal));
  const stray = await strayHistory(context.instance.options.dataDirectory, standing, duty);
  const obstacle = stray ?? followObstacle(standing, duty.upstream, duty.branches);
  if (obstacle === undefined) {
    if (isTidy === true || !(await isAheadOf(context, duty, standing))) return follow(context, duty, signal);
    context.activity('starting', 'starting anew without what it has read of timelines that it did not reach');
    await context.instance.stop({ fastMs: 1000, signal });
    const control = await readControlData(context.instance.options.dataDirectory);
    return startOrRejoin(context, duty, control, signal);
  }
  if (!duty.upstream.isReady) {
    context.activity('standby', `waiting for ${duty.upstream.node}: ${obstacle}`);
    return;
  }
  // pg_rewind goes by the numbers of timelines, too.
  if (stray !== undefined) await clone(context, duty, stray, signal);
  else await rejoin(context, duty, obstacle, signal);
}

/** It was not cut where another candidate was lost, and its PostgreSQL waits for a timeline that the upstream has not come by. */
async function isAheadOf(
  { instance }: AgentContext,
  { upstream, branches }: FollowDuty,
  { timeline: current }: Standing,
): Promise<boolean> {
  const known = [upstream.timeline, ...branches.map(({ timeline }) => timeline)];
  const ahead = await timelinesAhead(instance.options.dataDirectory, current);
  return ahead.some((number) => !known.includes(number));
}

/**
 * Equal numbers are not equal history: a node that was not heard when its group opened may have gone on with the other site that the group
 * followed, or with one that somebody has opened. Its own history files say where its timelines began; undefined: nothing that the log does not say.
 * In a group that never followed another site the log assigns every timeline, and this is not asked.
 */
export async function strayHistory(
  dataDirectory: string,
  { timeline }: Pick<Standing, 'timeline'>,
  { upstream, branches, inherited }: Pick<FollowDuty, 'upstream' | 'branches' | 'inherited'>,
): Promise<string | undefined> {
  if (inherited === undefined) return undefined;
  const history = await readHistory(dataDirectory, timeline);
  if (history === undefined) return undefined;
  const { timeline: child, from } = upstream;
  const opening =
    from === undefined ? [] : [{ timeline: child, parent: from.timeline, switchLsn: from.position }];
  const mismatch = historyMismatch({ timeline, history, branches: [...inherited, ...branches, ...opening] });
  return mismatch && `its history is another one: ${mismatch}`;
}

/** A stopped node that was a standby starts cut off, to see where it stands; one that was a primary is rewound. */
async function startOrRejoin(
  context: AgentContext,
  duty: FollowDuty,
  control: ControlData,
  signal: AbortSignal,
): Promise<void> {
  const { instance, timing } = context;
  const { dataDirectory, passfileDirectory, user } = instance.options;
  const wasStandby = endedAsStandby(control) || (await isUnstartedClone(dataDirectory));
  // pg_rewind finds nothing to do where the timeline is the same, and the WAL on it may be another all the same.
  if (!wasStandby && newestTimeline(control) === duty.upstream.timeline) {
    const reason = `it was opened for writes by somebody else, on the timeline of ${duty.upstream.node}`;
    context.announce(`${reason}; what was written there is lost with its data directory`);
    return clone(context, duty, reason, signal);
  }
  if (control.state === 'shut down') {
    const obstacle = followObstacle(
      { timeline: control.checkpointTimeline, position: endOfShutdown(control.checkpoint) },
      duty.upstream,
      duty.branches,
    );
    if (obstacle !== undefined) return rejoin(context, duty, obstacle, signal);
  } else if (!wasStandby) {
    return rejoin(context, duty, 'it ended as a primary, without a clean shutdown', signal);
  }
  context.activity('starting', `starting as a standby of ${duty.upstream.node}`);
  await instance.writeConfiguration(placeholder(context));
  await cutUpstream({
    dataDirectory,
    passfileDirectory,
    owner: user.owner,
    timeoutMs: timing.cutTimeoutMs,
    signal,
  });
  await forgetUnreached(context, signal);
  await instance.startAs('standby', { timeoutMs: timing.startTimeoutMs, signal });
  await redirect(context, duty, signal, true);
}

const newestTimeline = (control: ControlData): number =>
  Math.max(control.checkpointTimeline, control.minRecoveryTimeline ?? 0);

export async function cutAndRead(context: AgentContext, signal: AbortSignal): Promise<Standing> {
  const { instance, timing } = context;
  const { dataDirectory, passfileDirectory, user, socketDirectory, port, superuser } = instance.options;
  context.notes.followed = undefined;
  await cutUpstream({
    dataDirectory,
    passfileDirectory,
    owner: user.owner,
    timeoutMs: timing.cutTimeoutMs,
    signal,
  });
  return readCutPosition({
    session: instance.session,
    socketDirectory,
    port,
    superuser,
    isRunning: () => instance.postmaster() !== undefined,
    timeoutMs: timing.startTimeoutMs,
    signal,
  });
}

async function follow(context: AgentContext, duty: FollowDuty, signal: AbortSignal): Promise<void> {
  const { instance, timing } = context;
  const { dataDirectory, passfileDirectory, user } = instance.options;
  const member = context.localMember();
  if (member === undefined)
    throw new Error(`cannot follow ${duty.upstream.node}: ${dataDirectory} has no member id`);
  const { host, port, node } = duty.upstream;
  await instance.setSynchronousStandbys(placeholder(context));
  const expected = nameOf(duty.upstream);
  const failed = context.notes.failedFollows?.from === expected ? context.notes.failedFollows : undefined;
  const why = failed?.refusal === undefined ? '' : `, which said before: ${failed.refusal}`;
  context.activity('standby', `connecting to ${node}${why}`);
  context.notes.cut = undefined;
  await findUpstreamPassword(context, duty);
  await followUpstream({
    dataDirectory,
    passfileDirectory,
    ...streamOf(context, duty, member),
    owner: user.owner,
  });
  let isAnsweringHere = true;
  const streams = async (running: AbortSignal): Promise<boolean> => {
    const standby = await runningStandby(context, running).catch(() => undefined);
    isAnsweringHere = standby !== undefined;
    if (typeof standby !== 'object' || !isFollowing(context, standby, duty.upstream)) return false;
    // Said at once: it may come into the sync rule.
    context.activity(undefined, undefined);
    return isSteady(context, standby.receiver);
  };
  try {
    const isRunning = (): boolean => instance.postmaster() !== undefined;
    await whileRunning(isRunning, signal, (running) =>
      until(
        {
          what: `streaming from ${node} at ${host}:${port}`,
          timeoutMs: timing.streamTimeoutMs,
          everyMs: 20,
          signal: running,
        },
        () => streams(running),
      ),
    );
  } catch (error) {
    // A PostgreSQL that has ended here, or is slow to answer, says nothing against its data.
    if (!(error instanceof DeadlineError) || !isAnsweringHere) throw error;
    const count = (failed?.count ?? 0) + 1;
    context.notes.failedFollows = { from: expected, count, refusal: failed?.refusal };
    // WAL that the upstream no longer has cannot be had by waiting; an upstream that cannot be reached is another matter.
    const isHopeless = count >= FAILED_FOLLOWS_MAX && (await isAnswering(context, duty));
    if (!isHopeless) throw await withRefusal(context, duty, error, signal);
    return clone(context, duty, `it does not stream from ${node}, though that answers`, signal);
  }
  context.activity(undefined, undefined);
}

/** The walreceiver says why it does not get in to PostgreSQL's own log only: this node asks in its place. */
async function withRefusal(
  context: AgentContext,
  duty: FollowDuty,
  error: DeadlineError,
  signal: AbortSignal,
): Promise<DeadlineError> {
  const refusal = await loginRefusal(context, duty, signal);
  const { failedFollows } = context.notes;
  if (refusal === undefined) {
    if (failedFollows !== undefined) context.notes.failedFollows = { ...failedFollows, refusal };
    return error;
  }
  // Who is not let in learns nothing of the WAL there: that must not bring a clone nearer, which would come once somebody has put it right.
  if (failedFollows !== undefined) context.notes.failedFollows = { ...failedFollows, count: 0, refusal };
  return new DeadlineError(`${error.message}; a login there: ${refusal}`, { cause: error });
}

/** So often a standby tries to stream from an upstream that answers before it is cloned. */
const FAILED_FOLLOWS_MAX = 2;

/** Why a node that stands there cannot follow the upstream directly; undefined where it can. */
export function followObstacle(
  standing: Standing,
  upstream: Pick<Upstream, 'timeline' | 'from'>,
  branches: readonly TimelineBranch[],
): string | undefined {
  const text = `timeline ${standing.timeline}, ${formatLsn(standing.position)}`;
  if (standing.timeline === upstream.timeline) return undefined;
  let child: Timeline = upstream.timeline;
  for (;;) {
    const parent = parentOf(child, upstream, branches);
    if (parent === undefined) return `its ${text} is not on the history of timeline ${upstream.timeline}`;
    if (parent.timeline === standing.timeline) {
      if (standing.position <= parent.switchLsn) return undefined;
      return `its ${text} lies beyond ${formatLsn(parent.switchLsn)}, where timeline ${child} began`;
    }
    child = parent.timeline;
  }
}

function parentOf(
  child: Timeline,
  upstream: Pick<Upstream, 'timeline' | 'from'>,
  branches: readonly TimelineBranch[],
): { readonly timeline: Timeline; readonly switchLsn: Standing['position'] } | undefined {
  if (child === upstream.timeline && upstream.from !== undefined) {
    return { timeline: upstream.from.timeline, switchLsn: upstream.from.position };
  }
  const branch = branches.find((candidate) => candidate.timeline === child);
  return branch === undefined ? undefined : { timeline: branch.parent, switchLsn: branch.switchLsn };
}
