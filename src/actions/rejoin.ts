// The way back of a node whose WAL is not on the group's history: what it wrote beyond is saved, then pg_rewind, else a clone, each
// verified. The data directory is touched only while it does not count in the sync rule, and gets a new member id
// whenever it is. A clone keeps the old directory until the new one was seen to stream (follow-duty.ts).
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { DeadlineError } from '../base/clock.ts';
import { readArchiving } from '../postgres/archive.ts';
import { NoRoomError } from '../postgres/clone-room.ts';
import { createProgressText } from '../postgres/clone-progress.ts';
import { cloneStandby } from '../postgres/clone.ts';
import { type ControlData, readControlData } from '../postgres/control-data.ts';
import { saveDivergedWrites } from '../postgres/diverged.ts';
import { divergencePoint, historyMismatch } from '../postgres/divergence.ts';
import { removeMember, writeNewMember } from '../postgres/member.ts';
import { furtherProgress, isStarting, readRecoveryProgress } from '../postgres/recovery-progress.ts';
import { isRewindInterrupted } from '../postgres/rewind-marker.ts';
import { TakenPlaceError } from '../postgres/rewind-room.ts';
import { UncleanStandbyError, rewindPostgres } from '../postgres/rewind.ts';
import { forgetRewound, markRewound, readRewound } from '../postgres/rewound.ts';
import { readHistory } from '../postgres/timelines.ts';
import { followUpstream } from '../postgres/upstream.ts';
import { type AgentContext, placeholder } from './context.ts';
import { inspectDataDirectory } from './data-directory.ts';
import { lockFor } from './directory-lock.ts';
import { forgetSourceArchiving, keepLeftovers } from './leftover-wal.ts';
import { isEnding, oneMore } from './recovery-ends.ts';
import { type FollowDuty, findUpstreamPassword, isAnswering, sourceOf, streamOf } from './upstream-source.ts';

/** pg_rewind where it is to be had, else a clone. Only while this data directory counts for nothing. */
export async function rejoin(
  context: AgentContext,
  duty: FollowDuty,
  reason: string,
  signal: AbortSignal,
): Promise<void> {
  const { binaries } = context.instance.options;
  if (duty.isCounted || !duty.upstream.isReady) {
    context.activity('stopped', `must be rewound (${reason}); waiting until ${awaited(context, duty)}`);
    return;
  }
  if (!binaries.has.pgRewind) return clone(context, duty, `${reason}; there is no pg_rewind here`, signal);
  const primary = context.group()?.phase.primary;
  if (duty.upstream.node !== primary) {
    // pg_rewind needs a source that takes writes. The leader turns a standby to the primary that streams from nobody for a while.
    context.activity(
      undefined,
      `must be rewound (${reason}); waiting until it is to follow ${primary}, the primary`,
    );
    return;
  }
  const { noRoom } = context.notes;
  if (noRoom !== undefined && performance.now() < noRoom.untilMs) {
    context.activity('failed', noRoom.error);
    return;
  }
  await locked(context, 'sentineld, a rewind', () => rewind(context, duty, reason, signal));
}

/** Nobody else makes or replaces the directory meanwhile; somebody who does is waited for, pass by pass. */
async function locked(context: AgentContext, what: string, work: () => Promise<void>): Promise<void> {
  const lock = await lockFor(context, what);
  if (lock === undefined) return;
  try {
    await work();
  } finally {
    lock.release();
  }
}

/** Below the lock. */
async function rewind(
  context: AgentContext,
  duty: FollowDuty,
  reason: string,
  signal: AbortSignal,
): Promise<void> {
  const { instance, timing } = context;
  const { dataDirectory, passfileDirectory, binaries, user } = instance.options;
  const { noRoom } = context.notes;
  if (instance.postmaster() !== undefined) await instance.stop({ fastMs: 2000, signal });
  context.log('info', 'rewinding', { reason, from: duty.upstream.node });
  context.activity('rewinding', `pg_rewind from ${duty.upstream.node}: ${reason}`);
  await keepLeftovers(context, duty, signal);
  await removeMember(dataDirectory);
  await saveDiverged(context, duty, signal);
  await instance.writeConfiguration(placeholder(context));
  try {
    await rewindPostgres({
      binaries,
      user,
      dataDirectory,
      passfileDirectory,
      source: sourceOf(context, duty, 'pg_sentinel_rewind'),
      finish: async () => {
        await makeMember(context, duty, dataDirectory);
        await forgetSourceArchiving(context);
        await markRewound({ dataDirectory, source: duty.upstream.timeline, owner: user.owner });
      },
      timeoutMs: timing.rewindTimeoutMs,
      signal,
    });
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof NoRoomError) {
      context.notes.noRoom = { untilMs: performance.now() + NO_ROOM_PAUSE_MS, error: error.message };
      if (noRoom === undefined) throw error;
      // The source may keep WAL for another node for ever; a clone brings only what comes meanwhile, and is refused where that finds no room either.
      return cloneBelowLock(context, duty, `there is still no room for a rewind: ${error.message}`, signal);
    }
    // Its stop took too long and was cut short: it counts no more, and trying again would find the same.
    const isHopeless =
      error instanceof UncleanStandbyError ||
      error instanceof TakenPlaceError ||
      (await isRewindInterrupted(dataDirectory));
    if (!isHopeless) throw error;
    await cloneBelowLock(context, duty, `pg_rewind failed: ${(error as Error).message}`, signal);
    return;
  }
  delete context.notes.noRoom;
  await instance.writeConfiguration(placeholder(context));
  // The primary makes its slot.
  if (await context.registerAgain()) await streamRewound(context, duty, signal);
}

/** Before its data directory may be touched. */
function awaited(context: AgentContext, duty: FollowDuty): string {
  if (!duty.isCounted) return `${duty.upstream.node} has settled as primary`;
  const isStrict = context.group()?.settings.durability === 'strict';
  return `it is out of the sync rule${isStrict ? STRICT_WAIT : ''}`;
}

/** Writes may wait for it, and without it for nobody: no peer decides that. */
const STRICT_WAIT =
  '; strict durability keeps it there until another standby counts in its place, or sentinelctl settings set durability=quorum lets it go meanwhile';

/** A disk stays full for long, and the log may lie on it. */
const NO_ROOM_PAUSE_MS = 5000;

export async function clone(
  context: AgentContext,
  duty: FollowDuty,
  reason: string,
  signal: AbortSignal,
): Promise<void> {
  if (mustCloneWait(context, duty, reason)) return;
  await locked(context, 'sentineld, a clone', () => cloneBelowLock(context, duty, reason, signal));
}

/** `true` where a clone may not be made yet, which is said. */
function mustCloneWait(context: AgentContext, duty: FollowDuty, reason: string): boolean {
  const { failedClone } = context.notes;
  const from = duty.upstream.node;
  if (duty.isCounted || !duty.upstream.isReady)
    context.activity('absent', `must be cloned (${reason}); waiting until ${awaited(context, duty)}`);
  else if (failedClone?.from === from && performance.now() < failedClone.untilMs)
    context.activity('failed', `cloning from ${from} failed and is tried again later: ${failedClone.error}`);
  else return false;
  return true;
}

async function cloneBelowLock(
  context: AgentContext,
  duty: FollowDuty,
  reason: string,
  signal: AbortSignal,
): Promise<void> {
  if (mustCloneWait(context, duty, reason)) return;
  const { node: from } = duty.upstream;
  const earlier = context.notes.failedClone?.from === from ? context.notes.failedClone : undefined;
  try {
    await cloneNow(context, duty, reason, signal);
    context.notes.failedClone = undefined;
    delete context.notes.noRoom;
  } catch (error) {
    signal.throwIfAborted();
    const pauseMs = Math.min(2 * (earlier?.pauseMs ?? CLONE_PAUSE_MS / 2), CLONE_PAUSE_MS_MAX);
    context.notes.failedClone = {
      from,
      pauseMs,
      untilMs: performance.now() + pauseMs,
      error: (error as Error).message,
    };
    throw error;
  }
}

/** Why a node is cloned that has none. */
export const NO_DATA = 'no data directory';

/** Each attempt costs the source a checkpoint and a segment of WAL: one that fails at once must not be repeated all the time. */
const CLONE_PAUSE_MS = 1000;
const CLONE_PAUSE_MS_MAX = 60_000;

async function cloneNow(
  context: AgentContext,
  duty: FollowDuty,
  reason: string,
  signal: AbortSignal,
): Promise<void> {
  const { instance, timing } = context;
  const { dataDirectory, passfileDirectory, binaries, user, node } = instance.options;
  // `sentinelctl node clone` may just have made it.
  if (reason === NO_DATA && (await inspectDataDirectory(dataDirectory, node)).kind !== 'absent') return;
  if (instance.postmaster() !== undefined) await instance.stop({ fastMs: 2000, signal });
  context.log('info', 'cloning', { reason, from: duty.upstream.node });
  context.activity('cloning', `cloning from ${duty.upstream.node}: ${reason}`);
  await keepLeftovers(context, duty, signal);
  // Saving may bring the crashed database to an end of its own, in single-user mode: then it is no longer the member that it was.
  const from = await findDivergence(dataDirectory, duty).catch(() => undefined);
  if (from !== undefined) await removeMember(dataDirectory);
  await saveDiverged(context, duty, signal);
  const textOf = createProgressText(() => performance.now());
  await cloneStandby({
    binaries,
    user,
    dataDirectory,
    mustBeEmpty: reason === NO_DATA,
    passfileDirectory,
    source: sourceOf(context, duty, 'pg_sentinel_clone'),
    systemIdentifier: context.group()?.systemIdentifier,
    stallMs: timing.cloneStallMs,
    signal,
    tablespaces: instance.options.tablespaces,
    walDirectory: instance.options.walDirectory,
    maxRateBytes: instance.options.cloneMaxRateBytes,
    onProgress(progress) {
      const text = textOf(progress);
      if (text !== undefined) context.activity('cloning', `cloning from ${duty.upstream.node}: ${text}`);
    },
    finish: (directory) => makeMember(context, duty, directory),
    onNote: (message) => context.log('warn', message),
  });
  await instance.writeConfiguration(placeholder(context));
  // The primary makes its slot.
  if (await context.registerAgain()) await startClone(context, duty, signal);
}

/** Saves what is beyond the point where the group's history left this node's, and says so; a failure to save is said, too. */
async function saveDiverged(context: AgentContext, duty: FollowDuty, signal: AbortSignal): Promise<void> {
  const { instance, timing } = context;
  const { dataDirectory, divergedDirectory, binaries, user, node } = instance.options;
  const from = await findDivergence(dataDirectory, duty).catch(() => undefined);
  if (from === undefined || (await isRewindInterrupted(dataDirectory))) return;
  const outcome = await saveDivergedWrites({
    binaries,
    user,
    dataDirectory,
    directory: divergedDirectory,
    node,
    epoch: duty.epoch,
    from,
    recoveryTimeoutMs: timing.rewindTimeoutMs,
    signal,
  });
  switch (outcome.kind) {
    case 'nothing':
    case 'saved before':
      return;
    case 'saved': {
      const { file, transactionCount, rowCount, gaps } = outcome;
      context.announce(
        `${transactionCount} transactions (${rowCount} rows) that ${duty.upstream.node} lacks were saved to ${file}${gaps.length === 0 ? '' : ', not all of them'}`,
        { transactionCount, rowCount, file, gaps },
      );
      return;
    }
    case 'raw':
      context.announce(
        `writes that ${duty.upstream.node} lacks could not be decoded; their WAL was saved to ${outcome.directory}`,
        { reason: outcome.reason },
      );
      return;
    case 'failed':
      context.announce(`writes that ${duty.upstream.node} lacks could not be saved`, {
        reason: outcome.reason,
      });
  }
}

/** Undefined where this node has nothing beyond the group's history. Throws where there is no readable data directory. */
async function findDivergence(
  dataDirectory: string,
  duty: FollowDuty,
): Promise<ReturnType<typeof divergencePoint>> {
  const control = await readControlData(dataDirectory);
  const newest = Math.max(control.checkpointTimeline, control.minRecoveryTimeline ?? 0);
  const timeline = newest as typeof control.checkpointTimeline;
  const history = await readHistory(dataDirectory, timeline);
  if (history === undefined) return undefined;
  const group = { timeline: duty.upstream.timeline, from: duty.upstream.from };
  return divergencePoint({ own: { timeline, history }, group, branches: duty.branches });
}

/** Verifies what a rewind or a clone has made: the right database, with the group's history of timelines. Then it gets a member id. */
async function makeMember(context: AgentContext, duty: FollowDuty, dataDirectory: string): Promise<void> {
  const { node, user } = context.instance.options;
  const { systemIdentifier } = await readControlData(dataDirectory);
  const expected = context.group()?.systemIdentifier ?? systemIdentifier;
  if (systemIdentifier !== expected)
    throw new Error(`it has system identifier ${systemIdentifier}, the group has ${expected}`);
  const { timeline } = duty.upstream;
  const history = await readHistory(dataDirectory, timeline);
  if (history === undefined)
    throw new Error(`it lacks the history file of timeline ${timeline}, on which ${duty.upstream.node} is`);
  const mismatch = historyMismatch({ timeline, history, branches: duty.branches });
  if (mismatch !== undefined) throw new Error(mismatch);
  await forgetRewound(dataDirectory);
  await writeNewMember({ dataDirectory, node, systemIdentifier, owner: user.owner });
}

/**
 * What was rewound and does not take connections yet: it has to stream before it can tell where it stands. `false` where it is no such
 * node. From another timeline than the one it was rewound to it cannot be completed.
 */
export async function completeRewind(
  context: AgentContext,
  duty: FollowDuty,
  control: Pick<ControlData, 'state'>,
  signal: AbortSignal,
): Promise<boolean> {
  const { instance } = context;
  const { dataDirectory } = instance.options;
  const source = await readRewound(dataDirectory);
  // A clean stop says "shut down" also of one that was not consistent yet.
  const isPerhapsConsistent =
    control.state !== 'in archive recovery' &&
    (control.state !== 'shut down in recovery' || source !== duty.upstream.timeline);
  // One that is up is asked in the usual way; that it does not answer in time says nothing against its data.
  const isUp = instance.postmaster() !== undefined && !isStarting(dataDirectory);
  if (source === undefined || isPerhapsConsistent || isUp) {
    context.notes.completing = undefined;
    return false;
  }
  if (source !== duty.upstream.timeline) {
    await clone(context, duty, `its rewind to timeline ${source} was not completed`, signal);
    return true;
  }
  await locked(context, 'sentineld, a rewind', () => streamRewound(context, duty, signal));
  return true;
}

/**
 * Starts a rewound node with its upstream set, and waits for a while until it takes connections. One that has much to replay needs many
 * passes; it is cloned only where nothing of it has moved for as long as a start may take, or where its recovery has ended again and again for as
 * long, though the upstream answers.
 */
async function streamRewound(context: AgentContext, duty: FollowDuty, signal: AbortSignal): Promise<void> {
  const { instance, timing, notes } = context;
  const { dataDirectory } = instance.options;
  const { node, host, port } = duty.upstream;
  const from = `${duty.incarnation} ${duty.epoch} ${host}:${port}`;
  let seen = notes.completing;
  if (seen?.from === from && instance.postmaster() === undefined) {
    // It was seen at work, and is gone.
    if (seen.progress !== undefined)
      seen = notes.completing = { ...seen, progress: undefined, ends: oneMore(seen.ends, seen.progress) };
    if (isEnding(seen.ends, timing.startTimeoutMs) && (await isAnswering(context, duty))) {
      // A clone may be impossible, for want of room; then it is worth another start.
      notes.completing = { ...seen, ends: undefined };
      return cloneBelowLock(
        context,
        duty,
        'rewound, its recovery ends before its time, again and again',
        signal,
      );
    }
  }
  // Each change of the upstream ends the walreceiver: it is made once.
  if (instance.postmaster() === undefined || seen?.from !== from) {
    await instance.writeConfiguration(placeholder(context));
    if (!(await setUpstream(context, duty))) return;
    const ends = seen?.from === from ? seen.ends : undefined;
    seen = notes.completing = { from, progress: undefined, stillCount: 0, ends };
  }
  context.activity(
    'starting',
    `starting as a standby of ${node}, with WAL to replay before it can tell where it stands`,
  );
  const before = await writtenMs(dataDirectory);
  try {
    await instance.startAs('standby', { timeoutMs: timing.streamTimeoutMs, signal });
    notes.completing = undefined;
    return;
  } catch (error) {
    if (!(error instanceof DeadlineError)) {
      const hasRecovered = async (): Promise<boolean> => (await writtenMs(dataDirectory)) !== before;
      if (instance.postmaster() === undefined && ((await hasRecovered()) || (await areSettingsWell(context))))
        notes.completing = { ...seen, progress: undefined, ends: oneMore(seen.ends, seen.progress) };
      throw error;
    }
  }
  const postmasterPid = instance.postmaster()?.pid;
  if (postmasterPid === undefined) return;
  const now = await readRecoveryProgress({ dataDirectory, postmasterPid });
  const { progress, stillCount } = seen;
  const further = progress === undefined ? now : furtherProgress(progress, now);
  // Counted, not timed: while this process was suspended, so was what it looks at.
  const count = further === undefined ? stillCount + 1 : 0;
  notes.completing = { ...seen, progress: further ?? progress, stillCount: count };
  if (count * timing.streamTimeoutMs < timing.startTimeoutMs) return;
  if (await isAnswering(context, duty))
    await cloneBelowLock(
      context,
      duty,
      `rewound, it does not stream from ${node}, though that answers`,
      signal,
    );
  else notes.completing = { ...notes.completing, stillCount: 0 };
}

const writtenMs = async (dataDirectory: string): Promise<number> =>
  (await stat(join(dataDirectory, 'global/pg_control'))).mtimeMs;

/** Then what it stumbles over is its data, or the machine. */
const areSettingsWell = ({ instance }: AgentContext): Promise<boolean> =>
  readArchiving(instance.options).then(
    () => true,
    () => false,
  );

/** Starts a clone as a standby; whether it streams is seen by the next passes. */
async function startClone(context: AgentContext, duty: FollowDuty, signal: AbortSignal): Promise<void> {
  const { instance, timing } = context;
  context.activity('starting', `starting as a standby of ${duty.upstream.node}`);
  if (!(await setUpstream(context, duty))) return;
  await instance.startAs('standby', { timeoutMs: timing.startTimeoutMs, signal });
}

/** `false` where the data directory has no member id. */
async function setUpstream(context: AgentContext, duty: FollowDuty): Promise<boolean> {
  const { dataDirectory, passfileDirectory, user } = context.instance.options;
  const member = context.localMember();
  if (member === undefined) return false;
  // From now on it streams again: a promotion must not count on that cut.
  context.notes.cut = undefined;
  if (duty.upstream.site !== 'outside') await findUpstreamPassword(context, duty);
  await followUpstream({
    dataDirectory,
    passfileDirectory,
    ...streamOf(context, duty, member),
    owner: user.owner,
  });
  return true;
}
