// The recovery of a restored data directory: which timeline it follows, how far it is, and whether what it has come to is the end of what the archive
// has. PostgreSQL takes the first file that it does not get for that end; a hole in the archive looks the same to it.
import { DeadlineError } from '../base/clock.ts';
import { type Timeline, timeline } from '../base/ids.ts';
import { type Lsn, formatLsn } from '../base/lsn.ts';
import type { Duty } from '../failover/duties.ts';
import type { ArchiveQuestion } from '../postgres/archive-questions.ts';
import {
  type ArchivedTimelines,
  archivedTimelines,
  startOfRecovery,
  walBeyond,
} from '../postgres/archive-timelines.ts';
import { type ControlData, readControlData } from '../postgres/control-data.ts';
import {
  type RecoveryReading,
  type RecoveryTarget,
  recoverySettings,
  targetText,
} from '../postgres/recovery-target.ts';
import { closeReplication, connectReplication, identifySystem } from '../postgres/replication-connection.ts';
import { RestoreError } from '../postgres/restore-command.ts';
import { type RestoreMarker, readRestoreMarker, writeRestoreMarker } from '../postgres/restore-marker.ts';
import { overrideSettings } from '../postgres/restored-files.ts';
import { DEFAULT_SETTINGS } from '../postgres/settings.ts';
import { liesOnHistory, readHistory } from '../postgres/timelines.ts';
import { writeStandbySignal } from '../postgres/upstream.ts';
import type { AgentContext } from './context.ts';
import type { Bootstrap } from './instance-options.ts';

export type CreateDuty = Extract<Duty, { readonly kind: 'create' }>;

/** What was restored is of no use any more: it has to be restored anew. */
export class UnusableError extends Error {}

export const STOP_FAST_MS = 5000;

export const settingsFor = (
  context: AgentContext,
  { target, restoreCommand }: Bootstrap,
): Record<string, string> =>
  recoverySettings({ target, restoreCommand, version: context.instance.options.binaries.version });

export const recoveryOf = (context: AgentContext, bootstrap: Bootstrap): string =>
  JSON.stringify(settingsFor(context, bootstrap));

export const WAL_SENDERS = 'max_wal_senders';

/**
 * Ours is the same on every node, and may be lower than the old server's, with which PostgreSQL does not recover. Once it was opened it is started
 * again with ours, before it is cloned.
 */
export const raisedSenders = ({ maxWalSenders }: ControlData): Record<string, string> =>
  maxWalSenders > DEFAULT_SETTINGS.maxWalSenders ? { [WAL_SENDERS]: String(maxWalSenders) } : {};

/** False while it replays what it needs before it can be asked anything: it goes on with that. */
export async function startRecovery(
  context: AgentContext,
  bootstrap: Bootstrap,
  marker: RestoreMarker,
  signal: AbortSignal,
): Promise<boolean> {
  const { instance, timing } = context;
  const { dataDirectory, user } = instance.options;
  const { owner } = user;
  context.notes.archiveEnd = undefined;
  if (context.notes.isRecovering === true) {
    context.notes.isRecovering = false;
    throw new RestoreError(
      `PostgreSQL has ended while it recovered; why is in its log, ${instance.options.logFile}`,
    );
  }
  const control = await readControlData(dataDirectory);
  const follows = await timelineToFollow(context, bootstrap, marker, control, signal);
  await instance.writeConfiguration({ kind: 'alone' }, 'kept-out', 'standby');
  const settings = {
    ...settingsFor(context, bootstrap),
    recovery_target_timeline: follows,
    ...raisedSenders(control),
  };
  await overrideSettings({ dataDirectory, settings, owner });
  // In this order: without the signal it has been opened.
  await writeStandbySignal(dataDirectory, owner);
  await writeRestoreMarker(
    dataDirectory,
    { ...marker, recovery: recoveryOf(context, bootstrap), isStarted: true, follows },
    user,
  );
  const target = targetText(bootstrap.target);
  context.log('info', 'recovering the restored data directory', { target });
  context.activity('starting', `recovering to ${target}: not consistent yet`);
  try {
    await instance.startAs('standby', { timeoutMs: timing.startTimeoutMs, signal });
  } catch (error) {
    if (!(error instanceof DeadlineError) || instance.postmaster() === undefined) throw error;
    return false;
  } finally {
    context.notes.isRecovering = instance.postmaster() !== undefined;
    context.clearUnexpectedEnd();
  }
  return true;
}

/**
 * What recovery_target_timeline is set to. PostgreSQL's own `latest` ends at the first number that has no history file, and would leave out all that came
 * after a promotion that was given up.
 */
async function timelineToFollow(
  context: AgentContext,
  { target, restoreCommand }: Bootstrap,
  marker: RestoreMarker,
  control: ControlData,
  signal: AbortSignal,
): Promise<string> {
  if (target.timeline !== LATEST) return target.timeline;
  const { dataDirectory, user } = context.instance.options;
  context.activity('starting', 'looking for the latest timeline of the archive');
  const start = await startOfRecovery({ dataDirectory, user }, control);
  const { newest } = await archivedTimelines({ ...start, dataDirectory, user, restoreCommand, signal });
  const follows = newest.timeline === start.timeline ? CURRENT : String(newest.timeline);
  if (marker.isStarted && marker.follows !== undefined && marker.follows !== follows) {
    const from = control.minRecoveryTimeline ?? control.checkpointTimeline;
    const position = control.minRecoveryTimeline === undefined ? control.checkpoint : control.minRecoveryEnd;
    if (!liesOnHistory({ from, position, of: newest.timeline, history: newest.history }))
      throw new UnusableError(leftBehind(newest.timeline, from, position));
  }
  return follows;
}

const LATEST = 'latest';
const CURRENT = 'current';

const leftBehind = (newest: Timeline, on: Timeline, position: Lsn): string =>
  `the latest timeline of the archive is ${newest} by now, and does not go on from ${formatLsn(position)} of timeline ${on}, where this one stands`;

export async function stopRecovery(
  context: AgentContext,
  fastMs: number,
  signal: AbortSignal,
): Promise<void> {
  context.notes.isRecovering = false;
  if (context.instance.postmaster() !== undefined) await context.instance.stop({ fastMs, signal });
}

/** Says how far it is, too. */
export async function hasReached(
  context: AgentContext,
  { target }: Bootstrap,
  reading: RecoveryReading,
  signal: AbortSignal,
): Promise<boolean> {
  const { instance, notes, timing } = context;
  const to = targetText(target);
  const at = positionText(reading);
  if (reading.isPaused) {
    const raised = limitBelow(await readControlData(instance.options.dataDirectory), reading.limits);
    if (raised === undefined) return true;
    context.log('info', 'recovery cannot go on with the settings it was started with; starting it again', {
      raised,
    });
    await stopRecovery(context, STOP_FAST_MS, signal);
    return false;
  }
  if (!reading.isWaiting) {
    if (notes.archiveEnd?.position !== reading.position) notes.archiveEnd = undefined;
    context.activity('starting', `recovering to ${to}: ${at}`);
    return false;
  }
  const earlier = notes.archiveEnd?.position === reading.position ? notes.archiveEnd : undefined;
  const sinceMs = earlier?.sinceMs ?? performance.now();
  const count = (earlier?.count ?? 0) + 1;
  notes.archiveEnd = { position: reading.position, sinceMs, count };
  if (count < 3 || performance.now() - sinceMs < timing.archiveEndMs) {
    context.activity('starting', `recovering to ${to}: ${at}, waiting for more WAL`);
    return false;
  }
  if (target.at === undefined) return true;
  context.activity(
    'failed',
    `there is no more WAL, and the recovery target (${to}) is not reached: ${at}; add what is missing to the archive, or change bootstrap in the configuration and restart sentineld`,
  );
  return false;
}

const positionText = ({ position, lastTransactionMs }: RecoveryReading): string =>
  `at ${formatLsn(position)}, ${lastTransactionMs === undefined ? 'no transaction yet' : `the last transaction of ${new Date(lastTransactionMs).toISOString()}`}`;

/** A setting that the WAL asks more of than PostgreSQL runs with: then it pauses before its target. */
function limitBelow(control: ControlData, limits: RecoveryReading['limits']): string | undefined {
  const asked = {
    max_connections: control.maxConnections,
    max_worker_processes: control.maxWorkerProcesses,
    max_prepared_transactions: control.maxPreparedTransactions,
    max_locks_per_transaction: control.maxLocksPerTransaction,
    [WAL_SENDERS]: control.maxWalSenders,
  };
  return Object.entries(asked).find(([name, value]) => (limits.get(name) ?? value) < value)?.[0];
}

/** By the log; undefined until it has said so for where recovery stands now. */
export async function assignedTimeline(
  context: AgentContext,
  duty: CreateDuty,
  bootstrap: Bootstrap,
  { position, lastTransactionMs }: RecoveryReading,
  signal: AbortSignal,
): Promise<Timeline | undefined> {
  const { options } = context.instance;
  context.activity('starting', `recovered to ${targetText(bootstrap.target)}; a timeline is being assigned`);
  const { systemIdentifier, timeline: on } = await identify(context);
  const known = duty.restore?.reached;
  if (known?.systemIdentifier === systemIdentifier && known.timeline === on && known.position === position)
    return known.assigned;
  const question = {
    dataDirectory: options.dataDirectory,
    user: options.user,
    restoreCommand: bootstrap.restoreCommand,
    timeline: on,
    position,
    walSegmentBytes: (await readControlData(options.dataDirectory)).walSegmentBytes,
    signal,
  };
  const archived = await archivedTimelines(question);
  if (!(await isWhole(context, bootstrap.target, question, archived))) return undefined;
  await context.propose({
    kind: 'restore-group',
    group: duty.group,
    primary: options.node,
    reached: {
      epoch: duty.epoch,
      systemIdentifier,
      timeline: on,
      position,
      highestTimeline: archived.highest,
      target: targetText(bootstrap.target),
      lastTransactionMs,
    },
  });
  return undefined;
}

/** False where it goes on, on another timeline. Throws where there is more than PostgreSQL has found. */
async function isWhole(
  context: AgentContext,
  target: RecoveryTarget,
  question: ArchiveQuestion,
  { newest }: ArchivedTimelines,
): Promise<boolean> {
  const { dataDirectory, user } = context.instance.options;
  const { timeline: on, position, signal } = question;
  const isLatest = target.timeline === LATEST;
  if (isLatest && !liesOnHistory({ from: on, position, of: newest.timeline, history: newest.history }))
    throw new UnusableError(leftBehind(newest.timeline, on, position));
  if (target.at !== undefined) return true;
  const { follows } = await readRestoreMarker(dataDirectory, user);
  if (isLatest && newest.timeline !== on && follows !== String(newest.timeline)) {
    context.announce(`the archive has timeline ${newest.timeline} by now: recovery goes on with that`);
    await stopRecovery(context, STOP_FAST_MS, signal);
    return false;
  }
  const beyond = await walBeyond(question, isLatest ? newest : await lineOf(target.timeline, question));
  if (beyond === undefined) return true;
  throw new RestoreError(
    `recovery has ended at ${formatLsn(position)} of timeline ${on}, and that is not the end of the archive: ${beyond}; put it right in the archive, or name a recovery target before that place`,
  );
}

/** Of a timeline that the configuration names: PostgreSQL has fetched its history. */
async function lineOf(
  named: string,
  { dataDirectory, timeline: on }: ArchiveQuestion,
): Promise<ArchivedTimelines['newest']> {
  const of = named === CURRENT ? on : timeline(Number(named));
  return { timeline: of, history: (await readHistory(dataDirectory, of)) ?? [] };
}

export async function identify(context: AgentContext): ReturnType<typeof identifySystem> {
  const { socketDirectory, port, superuser } = context.instance.options;
  const { queryTimeoutMs } = context.timing;
  const client = await connectReplication(
    { host: socketDirectory, port, user: superuser, applicationName: 'pg_sentinel_position' },
    queryTimeoutMs,
  );
  try {
    return await identifySystem(client, queryTimeoutMs);
  } finally {
    closeReplication(client);
  }
}
