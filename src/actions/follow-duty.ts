// The duty of a standby: stream from the upstream that the log names. Follow by reload or start where its WAL lies on the
// log's history of timelines, else pg_rewind, else a clone. The data directory is touched only while it does not count in
// the sync rule, and gets a new member id whenever it is.
import { until } from '../base/clock.ts';
import type { Timeline } from '../base/ids.ts';
import { formatLsn } from '../base/lsn.ts';
import type { TimelineBranch } from '../cluster/state.ts';
import type { Duty, Upstream } from '../failover/duties.ts';
import { cloneStandby } from '../postgres/clone.ts';
import type { Upstream as ConnectionSource } from '../postgres/conninfo.ts';
import { type ControlData, readControlData } from '../postgres/control-data.ts';
import { removeMember, writeNewMember } from '../postgres/member.ts';
import { readCutPosition } from '../postgres/position.ts';
import type { WalReceiver } from '../postgres/role.ts';
import { isRewindInterrupted } from '../postgres/rewind-marker.ts';
import { rewindPostgres } from '../postgres/rewind.ts';
import { removeFillers } from '../postgres/timelines.ts';
import { cutUpstream, followUpstream } from '../postgres/upstream.ts';
import { type AgentContext, type Standing, placeholder, query } from './context.ts';
import { endOfShutdown, standingCut } from './failover-duties.ts';
import { advanceIdleSlots, keepSlots } from './slots.ts';

type FollowDuty = Extract<Duty, { readonly kind: 'follow' }>;

const ADVANCE_SLOTS_EVERY_MS = 10_000;

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
    return clone(context, duty, data.kind === 'absent' ? 'no data directory' : data.reason, signal);
  const expected = context.group()?.systemIdentifier;
  if (expected !== undefined && data.control.systemIdentifier !== expected) {
    throw new Error(
      `cannot make a standby: ${instance.options.dataDirectory} holds another database (system identifier ${data.control.systemIdentifier}, the group has ${expected}); move it away`,
    );
  }
  if (data.member === undefined)
    return rejoin(context, duty, data.control, 'its data directory has no member id', signal);
  if (data.member.memberId !== context.registration()?.member && !(await context.registerAgain())) {
    context.activity(undefined, 'waiting until its data directory is registered');
    return;
  }
  const running = await runningStandby(context, signal);
  if (running === 'primary') {
    if (!(await context.confirms('follow', duty))) return;
    context.activity('stopping', 'stopping: it is no longer the primary');
    await instance.stop({ fastMs: 0, signal });
  }
  if (instance.postmaster() === undefined) {
    // Not what was found while it ran: how it ended decides.
    const control = await readControlData(instance.options.dataDirectory);
    return startOrRejoin(context, duty, control, signal);
  }
  if (running !== 'primary' && running !== undefined && isFollowing(running, duty.upstream)) {
    await settled(context, duty, running.synchronousStandbyNames, signal);
    return;
  }
  return redirect(context, duty, data.control, signal);
}

/** It streams as it should: only its slots need care. */
async function settled(
  context: AgentContext,
  duty: FollowDuty,
  synchronousStandbyNames: string,
  signal: AbortSignal,
): Promise<void> {
  context.clearUnexpectedEnd();
  context.activity(undefined, undefined);
  await context.instance.setSynchronousStandbys(placeholder(context), synchronousStandbyNames);
  await context.once(`slots ${duty.slots.join(' ')}`, () => keepSlots(context, duty.slots, signal));
  const period = Math.floor(performance.now() / ADVANCE_SLOTS_EVERY_MS);
  await context.once(`advance ${period}`, () => advanceIdleSlots(context, signal));
}

type Running =
  | 'primary'
  | { readonly receiver: WalReceiver | undefined; readonly synchronousStandbyNames: string }
  | undefined;

async function runningStandby(context: AgentContext, signal: AbortSignal): Promise<Running> {
  if (context.instance.postmaster() === undefined) return undefined;
  const role = await context.instance.readRole(query(context, signal));
  if (role.kind === 'primary') return 'primary';
  return { receiver: role.walReceiver, synchronousStandbyNames: role.synchronousStandbyNames };
}

/** The walreceiver streams from that address, on that timeline or on the way to it. */
function isFollowing(running: { readonly receiver: WalReceiver | undefined }, upstream: Upstream): boolean {
  const { receiver } = running;
  return (
    receiver !== undefined &&
    receiver.status === 'streaming' &&
    receiver.senderHost === upstream.host &&
    receiver.senderPort === upstream.port &&
    receiver.receivedTimeline === upstream.timeline
  );
}

/** A running standby is turned to another upstream: cut first, so that where it stands is known. */
async function redirect(
  context: AgentContext,
  duty: FollowDuty,
  control: ControlData,
  signal: AbortSignal,
): Promise<void> {
  const standing = standingCut(context, duty) ?? (await cutAndRead(context, signal));
  const obstacle = followObstacle(standing, duty.upstream, duty.branches);
  if (obstacle === undefined) return follow(context, duty, signal);
  if (!duty.upstream.isReady) {
    context.activity('standby', `waiting for ${duty.upstream.node}: ${obstacle}`);
    return;
  }
  await rejoin(context, duty, control, obstacle, signal);
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
  const endedAsStandby = control.state === 'in archive recovery' || control.state === 'shut down in recovery';
  if (control.state === 'shut down') {
    const obstacle = followObstacle(
      { timeline: control.checkpointTimeline, position: endOfShutdown(control.checkpoint) },
      duty.upstream,
      duty.branches,
    );
    if (obstacle !== undefined) return rejoin(context, duty, control, obstacle, signal);
  } else if (!endedAsStandby) {
    return rejoin(context, duty, control, 'it ended as a primary, without a clean shutdown', signal);
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
  await removeFillers({ dataDirectory, current: control.checkpointTimeline });
  await instance.startAs('standby', { timeoutMs: timing.startTimeoutMs, signal });
  await redirect(context, duty, control, signal);
}

async function cutAndRead(context: AgentContext, signal: AbortSignal): Promise<Standing> {
  const { instance, timing } = context;
  const { dataDirectory, passfileDirectory, user, socketDirectory, port, superuser } = instance.options;
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
  context.activity('standby', `connecting to ${node}`);
  context.notes.cut = undefined;
  await followUpstream({
    dataDirectory,
    passfileDirectory,
    upstream: sourceOf(context, duty, member),
    slotName: member,
    owner: user.owner,
  });
  await until(
    {
      what: `streaming from ${node} at ${host}:${port}`,
      timeoutMs: timing.streamTimeoutMs,
      everyMs: 20,
      signal,
    },
    async () => {
      const running = await runningStandby(context, signal);
      return typeof running === 'object' && isFollowing(running, duty.upstream);
    },
  );
  context.activity(undefined, undefined);
}

/** Why a node that stands there cannot follow the upstream directly; undefined where it can. */
export function followObstacle(
  standing: Standing,
  upstream: Upstream,
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
  upstream: Upstream,
  branches: readonly TimelineBranch[],
): { readonly timeline: Timeline; readonly switchLsn: Standing['position'] } | undefined {
  if (child === upstream.timeline && upstream.from !== undefined) {
    return { timeline: upstream.from.timeline, switchLsn: upstream.from.position };
  }
  const branch = branches.find((candidate) => candidate.timeline === child);
  return branch === undefined ? undefined : { timeline: branch.parent, switchLsn: branch.switchLsn };
}

/** pg_rewind where it is to be had, else a clone. Only while this data directory counts for nothing. */
async function rejoin(
  context: AgentContext,
  duty: FollowDuty,
  control: ControlData,
  reason: string,
  signal: AbortSignal,
): Promise<void> {
  const { instance, timing } = context;
  const { dataDirectory, passfileDirectory, node, binaries, user } = instance.options;
  if (duty.isCounted || !duty.upstream.isReady) {
    context.activity(
      'stopped',
      `must be rewound (${reason}); waiting until ${duty.isCounted ? 'it is out of the sync rule' : `${duty.upstream.node} has settled as primary`}`,
    );
    return;
  }
  if (!binaries.has.pgRewind) return clone(context, duty, `${reason}; there is no pg_rewind here`, signal);
  if (instance.postmaster() !== undefined) await instance.stop({ fastMs: 2000, signal });
  context.log('info', 'rewinding', { reason, from: duty.upstream.node });
  context.activity('rewinding', `pg_rewind from ${duty.upstream.node}: ${reason}`);
  await removeMember(dataDirectory);
  await instance.writeConfiguration(placeholder(context));
  try {
    await rewindPostgres({
      binaries,
      user,
      dataDirectory,
      passfileDirectory,
      source: sourceOf(context, duty, 'pg_sentinel_rewind'),
      timeoutMs: timing.rewindTimeoutMs,
      signal,
    });
  } catch (error) {
    signal.throwIfAborted();
    if (!(await isRewindInterrupted(dataDirectory))) throw error;
    await clone(context, duty, `pg_rewind failed: ${(error as Error).message}`, signal);
    return;
  }
  await instance.writeConfiguration(placeholder(context));
  await writeNewMember({
    dataDirectory,
    node,
    systemIdentifier: control.systemIdentifier,
    owner: user.owner,
  });
  await becomeMember(context, duty, signal);
}

async function clone(
  context: AgentContext,
  duty: FollowDuty,
  reason: string,
  signal: AbortSignal,
): Promise<void> {
  const { instance, timing } = context;
  const { dataDirectory, passfileDirectory, node, binaries, user } = instance.options;
  if (duty.isCounted || !duty.upstream.isReady) {
    context.activity('absent', `must be cloned (${reason}); waiting`);
    return;
  }
  if (instance.postmaster() !== undefined) await instance.stop({ fastMs: 2000, signal });
  context.log('info', 'cloning', { reason, from: duty.upstream.node });
  context.activity('cloning', `cloning from ${duty.upstream.node}: ${reason}`);
  const cloned = await cloneStandby({
    binaries,
    user,
    dataDirectory,
    passfileDirectory,
    source: sourceOf(context, duty, 'pg_sentinel_clone'),
    systemIdentifier: context.group()?.systemIdentifier,
    stallMs: timing.cloneStallMs,
    signal,
    onProgress: ({ bytes, totalBytes }) =>
      context.activity('cloning', `cloning from ${duty.upstream.node}: ${progress(bytes, totalBytes)}`),
  });
  await instance.writeConfiguration(placeholder(context));
  await writeNewMember({ dataDirectory, node, systemIdentifier: cloned.systemIdentifier, owner: user.owner });
  await becomeMember(context, duty, signal);
}

/** How this node reaches its upstream, under the given application name. */
function sourceOf(context: AgentContext, duty: FollowDuty, applicationName: string): ConnectionSource {
  const { name, password } = context.instance.options.replication;
  return { host: duty.upstream.host, port: duty.upstream.port, user: name, password, applicationName };
}

function progress(bytes: number, totalBytes: number | undefined): string {
  const megabytes = (value: number): string => `${Math.round(value / (1 << 20))} MB`;
  return totalBytes === undefined ? megabytes(bytes) : `${megabytes(bytes)} of ${megabytes(totalBytes)}`;
}

/** Registers the new data directory, so that the primary makes its slot, and starts streaming. */
async function becomeMember(context: AgentContext, duty: FollowDuty, signal: AbortSignal): Promise<void> {
  const { instance, timing } = context;
  if (!(await context.registerAgain())) return;
  context.activity('starting', `starting as a standby of ${duty.upstream.node}`);
  const { dataDirectory, passfileDirectory, user } = instance.options;
  const member = context.localMember();
  if (member === undefined) return;
  await followUpstream({
    dataDirectory,
    passfileDirectory,
    upstream: sourceOf(context, duty, member),
    slotName: member,
    owner: user.owner,
  });
  await instance.startAs('standby', { timeoutMs: timing.startTimeoutMs, signal });
}
