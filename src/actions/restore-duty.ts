// The first data directory of a group is restored from a backup (docs/decisions/0017-restored-groups.md): the administrator's command makes
// it, PostgreSQL recovers to the target and waits there, the log assigns the timeline that it opens. Looks at what is, not at what was done
// before: broken off anywhere, it goes on or begins anew. Must never touch a data directory that does not bear its marker.
import { DeadlineError } from '../base/clock.ts';
import type { Timeline } from '../base/ids.ts';
import { formatLsn } from '../base/lsn.ts';
import type { Duty } from '../failover/duties.ts';
import { highestArchivedTimeline } from '../postgres/archive-timelines.ts';
import { type ControlData, readControlData } from '../postgres/control-data.ts';
import { STANDBY_LIMIT_NAMES } from '../postgres/effective-parameters.ts';
import { StartError } from '../postgres/lifecycle.ts';
import { writeNewMember } from '../postgres/member.ts';
import { promotePostgres } from '../postgres/promote.ts';
import { isStarting } from '../postgres/recovery-progress.ts';
import {
  type RecoveryReading,
  readRecovery,
  recoverySettings,
  targetText,
} from '../postgres/recovery-target.ts';
import { closeReplication, connectReplication, identifySystem } from '../postgres/replication-connection.ts';
import { RestoreError } from '../postgres/restore-command.ts';
import {
  type RestorePlace,
  discardRestored,
  endRestore,
  readRestoreMarker,
  removeHalfRestored,
  restoreDataDirectory,
  writeRestoreMarker,
} from '../postgres/restore.ts';
import { beganAt, isStranger } from '../postgres/restored-descent.ts';
import { endRecoverySettings, overrideSettings, resumeArchiving } from '../postgres/restored-files.ts';
import { DEFAULT_SETTINGS } from '../postgres/settings.ts';
import { hasStandbySignal, writeStandbySignal } from '../postgres/upstream.ts';
import { type AgentContext, query } from './context.ts';
import type { DataDirectory } from './data-directory.ts';
import { type Bootstrap, restorePlaces } from './instance-options.ts';

type CreateDuty = Extract<Duty, { readonly kind: 'create' }>;

/** A backup is read for hours, and what has failed mostly fails again. */
const PAUSE_MS = 60_000;
const PAUSE_MS_MAX = 3_600_000;
const STOP_FAST_MS = 5000;

/** Whether the data directory is not there yet and is to be restored, or is being restored. */
export function isToRestore(context: AgentContext, duty: CreateDuty, data: DataDirectory): boolean {
  if (data.kind === 'unfit') return data.isRestoring === true;
  return (
    data.kind === 'absent' && (duty.restore !== undefined || context.instance.options.bootstrap !== undefined)
  );
}

/** Throws where the data directory is not the one that the group was restored to, or a clone of it: then it is not ours to touch. */
export async function refuseStranger(context: AgentContext, data: DataDirectory): Promise<void> {
  const { dataDirectory, node } = context.instance.options;
  const beginning = context.group()?.restore?.reached;
  if (beginning === undefined || data.kind !== 'ready') return;
  const { control } = data;
  if (control.systemIdentifier !== beginning.systemIdentifier) return;
  await context.once(`descends from ${beginning.assigned}`, async () => {
    if (!(await isStranger(dataDirectory, control, beginning))) return;
    throw new Error(
      `${dataDirectory} holds a database that is not of this group, though of the same system identifier: the group was restored from a backup at ${formatLsn(beginning.position)} of timeline ${beginning.timeline}, and this one is on timeline ${control.checkpointTimeline}; nothing is done with it: move it away, or have it replaced by a clone with sentinelctl node reinit ${node}`,
    );
  });
}

/** The first data directory of a restored group, found as one like any other: killed before the log could say so, or another's. */
export async function checkFirstData(context: AgentContext, duty: CreateDuty): Promise<void> {
  if (duty.restore === undefined) return;
  const { dataDirectory } = context.instance.options;
  const { reached } = duty.restore;
  if (reached !== undefined && (await beganAt(dataDirectory, reached)) === true) return;
  throw new Error(
    `cannot begin group ${duty.group}: it is to be restored from a backup, and ${dataDirectory} holds a database that was not; move it away`,
  );
}

/** True once the data directory is one like any other, whose PostgreSQL runs on the timeline that the log has assigned. */
export async function carryOutRestore(
  context: AgentContext,
  duty: CreateDuty,
  data: DataDirectory,
  signal: AbortSignal,
): Promise<boolean> {
  const { notes, instance } = context;
  const { bootstrap, dataDirectory } = instance.options;
  if (bootstrap === undefined)
    throw new Error(
      `cannot create the group's first primary: ${dataDirectory} is to be restored from a backup, and the configuration of this node has no section "bootstrap"; put it back and restart sentineld`,
    );
  const { failedRestore } = notes;
  if (failedRestore !== undefined && performance.now() < failedRestore.untilMs) {
    context.activity('failed', failedRestore.error);
    return false;
  }
  try {
    if (data.kind === 'absent') await restore(context, duty, bootstrap, signal);
    const isDone = await recover(context, duty, bootstrap, signal);
    if (isDone) notes.failedRestore = undefined;
    return isDone;
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof RestoreError) && !(error instanceof StartError)) throw error;
    const pauseMs = Math.min(2 * (failedRestore?.pauseMs ?? PAUSE_MS / 2), PAUSE_MS_MAX);
    const again = new Date(Date.now() + pauseMs).toISOString();
    const message = `${error.message}; it is tried again at ${again}, or at once by sentinelctl node rejoin ${instance.options.node}`;
    notes.failedRestore = { pauseMs, untilMs: performance.now() + pauseMs, error: message };
    throw new Error(message);
  }
}

async function restore(
  context: AgentContext,
  duty: CreateDuty,
  bootstrap: Bootstrap,
  signal: AbortSignal,
): Promise<void> {
  const { options } = context.instance;
  const { binaries, dataDirectory, node, clusterName, restoreLogFile } = options;
  // It may take hours, and what it reads may cost: not for a duty that has passed.
  if (!(await context.confirms('create', duty)))
    throw new Error('not restored yet: the log cannot be read through a leader, or says otherwise');
  const startedMs = performance.now();
  context.log('info', 'restoring the first data directory of the group', { command: bootstrap.command });
  context.activity(
    'starting',
    `the bootstrap command restores the data directory; it says so in ${restoreLogFile}`,
  );
  await restoreDataDirectory({
    ...placeOf(context),
    binaries,
    command: bootstrap.command,
    timeoutMs: bootstrap.timeoutMs,
    environment: {
      PG_SENTINEL_FINAL_DATA_DIRECTORY: dataDirectory,
      PG_SENTINEL_CLUSTER_ID: clusterName,
      PG_SENTINEL_GROUP: duty.group,
      PG_SENTINEL_NODE: node,
      PG_SENTINEL_PG_VERSION: String(binaries.version),
      PG_SENTINEL_BIN_DIRECTORY: binaries.directory,
      PG_SENTINEL_RECOVERY_TARGET_KIND: bootstrap.target.at?.kind ?? '',
      PG_SENTINEL_RECOVERY_TARGET: bootstrap.target.at?.value ?? '',
    },
    logFile: restoreLogFile,
    recovery: recoveryOf(context, bootstrap),
    signal,
  });
  context.log('info', 'restored', { tookMs: Math.round(performance.now() - startedMs) });
}

const placeOf = ({ instance: { options }, announce }: AgentContext): RestorePlace => ({
  dataDirectory: options.dataDirectory,
  user: options.user,
  places: restorePlaces(options),
  onNote: announce,
});

const settingsFor = (context: AgentContext, { target, restoreCommand }: Bootstrap): Record<string, string> =>
  recoverySettings({ target, restoreCommand, version: context.instance.options.binaries.version });

const recoveryOf = (context: AgentContext, bootstrap: Bootstrap): string =>
  JSON.stringify(settingsFor(context, bootstrap));

/** One step further, from whatever is found; true once it is over. */
async function recover(
  context: AgentContext,
  duty: CreateDuty,
  bootstrap: Bootstrap,
  signal: AbortSignal,
): Promise<boolean> {
  const { instance } = context;
  const { dataDirectory } = instance.options;
  const marker = await readRestoreMarker(dataDirectory);
  if (marker.recovery !== recoveryOf(context, bootstrap))
    return beginAnew(context, 'the configuration asks for another recovery target than before', signal);
  const reached = duty.restore?.reached;
  if (instance.postmaster() === undefined) {
    if (marker.opened !== undefined && marker.opened === reached?.assigned)
      return finish(context, bootstrap, marker.opened, signal);
    if (marker.isStarted && !(await hasStandbySignal(dataDirectory)))
      return beginAnew(context, 'its recovery had ended before the log could say on which timeline', signal);
    if (!(await startRecovery(context, bootstrap, signal))) return false;
  } else if (isStarting(dataDirectory)) {
    context.activity('starting', `recovering to ${targetText(bootstrap.target)}: not consistent yet`);
    return false;
  }
  const role = await instance.readRole(query(context, signal));
  if (role.kind === 'primary') {
    // Also where more WAL came between the log's word and the promotion.
    const isAssigned = reached !== undefined && role.timeline === reached.assigned;
    if (!isAssigned || (await beganAt(dataDirectory, reached)) !== true)
      return beginAnew(
        context,
        `it was opened on timeline ${role.timeline}, ${isAssigned ? 'elsewhere than the log says' : 'which the log has not assigned'}`,
        signal,
      );
    return finish(context, bootstrap, reached.assigned, signal);
  }
  const reading = await readRecovery(
    instance.session,
    [...STANDBY_LIMIT_NAMES, WAL_SENDERS],
    query(context, signal),
  );
  if (reading === undefined) return false;
  if (!(await hasReached(context, bootstrap, reading, signal))) return false;
  const assigned = await assignedTimeline(context, duty, bootstrap, reading, signal);
  if (assigned === undefined) return false;
  await open(context, duty, assigned, signal);
  // Looked at anew: only what is found to be opened as the log says goes on.
  return false;
}

/** Nobody was let in: nothing is lost but time. */
async function beginAnew(context: AgentContext, reason: string, signal: AbortSignal): Promise<false> {
  const { instance } = context;
  context.announce(`the restored data directory is given up, and restored anew: ${reason}`);
  if (instance.postmaster() !== undefined) await instance.stop({ fastMs: 0, signal });
  await discardRestored(placeOf(context));
  context.clearUnexpectedEnd();
  context.notes.archiveEnd = undefined;
  return false;
}

const WAL_SENDERS = 'max_wal_senders';

/**
 * Ours is the same on every node, and may be lower than the old server's, with which PostgreSQL does not recover. Once it was opened it is started
 * again with ours, before it is cloned.
 */
const raisedSenders = ({ maxWalSenders }: ControlData): Record<string, string> =>
  maxWalSenders > DEFAULT_SETTINGS.maxWalSenders ? { [WAL_SENDERS]: String(maxWalSenders) } : {};

/** False while it replays what it needs before it can be asked anything: it goes on with that. */
async function startRecovery(
  context: AgentContext,
  bootstrap: Bootstrap,
  signal: AbortSignal,
): Promise<boolean> {
  const { instance, timing } = context;
  const { dataDirectory, user } = instance.options;
  const { owner } = user;
  context.notes.archiveEnd = undefined;
  await instance.writeConfiguration({ kind: 'alone' }, 'kept-out', 'standby');
  const settings = {
    ...settingsFor(context, bootstrap),
    ...raisedSenders(await readControlData(dataDirectory)),
  };
  await overrideSettings({ dataDirectory, settings, owner });
  // In this order: without the signal it has been opened.
  await writeStandbySignal(dataDirectory, owner);
  await writeRestoreMarker(
    dataDirectory,
    { recovery: recoveryOf(context, bootstrap), isStarted: true },
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
    context.clearUnexpectedEnd();
  }
  return true;
}

/** Says how far it is, too. */
async function hasReached(
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
    await instance.stop({ fastMs: STOP_FAST_MS, signal });
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
async function assignedTimeline(
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
  await context.propose({
    kind: 'restore-group',
    group: duty.group,
    primary: options.node,
    reached: {
      epoch: duty.epoch,
      systemIdentifier,
      timeline: on,
      position,
      highestTimeline: await highestArchivedTimeline({
        dataDirectory: options.dataDirectory,
        user: options.user,
        restoreCommand: bootstrap.restoreCommand,
        timeline: on,
        position,
        walSegmentBytes: (await readControlData(options.dataDirectory)).walSegmentBytes,
        signal,
      }),
      target: targetText(bootstrap.target),
      lastTransactionMs,
    },
  });
  return undefined;
}

async function identify(context: AgentContext): ReturnType<typeof identifySystem> {
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

/** Opens exactly the assigned timeline; anything else throws, and is given up by the next pass. */
async function open(
  context: AgentContext,
  duty: CreateDuty,
  assigned: Timeline,
  signal: AbortSignal,
): Promise<void> {
  const { instance, timing } = context;
  const { dataDirectory, user } = instance.options;
  if (!(await context.confirms('create', duty)))
    throw new Error('not opened yet: the log cannot be read through a leader, or says otherwise');
  if (!(await context.guarding.prepare(duty, { until: 'watching', signal })))
    throw new Error('not opened yet: it gets no lease');
  const { timeline: current } = await identify(context);
  context.activity('starting', `being opened on timeline ${assigned}`);
  const { tookMs } = await promotePostgres({
    dataDirectory,
    user,
    session: instance.session,
    current,
    assigned,
    timeoutMs: timing.startTimeoutMs,
    isAtTarget: true,
    signal,
  });
  context.log('info', 'the restored data directory was opened', {
    timeline: assigned,
    tookMs: Math.round(tookMs),
  });
}

/**
 * It was opened as the log says, whether it runs now or not. From here on it is a first primary like any other, but that it archives nothing until
 * its group takes writes.
 */
async function finish(
  context: AgentContext,
  bootstrap: Bootstrap,
  opened: Timeline,
  signal: AbortSignal,
): Promise<true> {
  const { instance } = context;
  const { dataDirectory, node, user } = instance.options;
  const { owner } = user;
  await writeRestoreMarker(
    dataDirectory,
    { recovery: recoveryOf(context, bootstrap), isStarted: true, opened },
    user,
  );
  const keys = [...Object.keys(settingsFor(context, bootstrap)), WAL_SENDERS];
  await endRecoverySettings(dataDirectory, keys, owner);
  const control = await readControlData(dataDirectory);
  if (instance.postmaster() !== undefined) {
    await instance.writeConfiguration({ kind: 'alone' }, 'kept-out', 'primary');
    instance.reload();
    if (WAL_SENDERS in raisedSenders(control)) await instance.stop({ fastMs: STOP_FAST_MS, signal });
  }
  await writeNewMember({ dataDirectory, node, systemIdentifier: control.systemIdentifier, owner });
  await removeHalfRestored(placeOf(context));
  await endRestore(dataDirectory);
  return true;
}

/** The group takes writes: its WAL goes to the archive, if the configuration of pg-sentinel says so. */
export async function archiveAgain(context: AgentContext, signal: AbortSignal): Promise<void> {
  const { instance } = context;
  const { dataDirectory, user } = instance.options;
  if (!(await resumeArchiving(dataDirectory, user.owner))) return;
  instance.reload();
  const rows = await instance.session.query<{ mode: string }>(
    "select current_setting('archive_mode') as mode",
    [],
    query(context, signal),
  );
  context.announce(
    rows[0]?.mode === 'off'
      ? 'the restored group archives no WAL: nothing of how the old server did was taken over; set archive_mode and archive_command (sentinelctl settings set), to a place where no other cluster writes'
      : 'the restored group archives its WAL from here on; it has the system identifier of the cluster that the backup is of, which must not write to the same place any more',
  );
}
