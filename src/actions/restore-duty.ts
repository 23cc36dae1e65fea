// The first data directory of a group is restored from a backup (docs/decisions/0017-restored-groups.md): the administrator's command makes
// it, PostgreSQL recovers to the target and waits there, the log assigns the timeline that it opens. Looks at what is, not at what was done
// before: broken off anywhere, it goes on or begins anew. Must never touch a data directory that does not bear its marker.
import type { Timeline } from '../base/ids.ts';
import { formatLsn } from '../base/lsn.ts';
import type { Duty } from '../failover/duties.ts';
import { highestArchivedTimeline } from '../postgres/archive-timelines.ts';
import { type ControlData, readControlData } from '../postgres/control-data.ts';
import { STANDBY_LIMIT_NAMES } from '../postgres/effective-parameters.ts';
import { StartError } from '../postgres/lifecycle.ts';
import { writeNewMember } from '../postgres/member.ts';
import { promotePostgres } from '../postgres/promote.ts';
import {
  type RecoveryReading,
  readRecovery,
  recoverySettings,
  targetText,
} from '../postgres/recovery-target.ts';
import { closeReplication, connectReplication, identifySystem } from '../postgres/replication-connection.ts';
import {
  RestoreError,
  discardRestored,
  endRestore,
  readRestoreMarker,
  restoreDataDirectory,
  writeRestoreMarker,
} from '../postgres/restore.ts';
import { endRecoverySettings, overrideSettings, resumeArchiving } from '../postgres/restored-files.ts';
import { hasStandbySignal, writeStandbySignal } from '../postgres/upstream.ts';
import { type AgentContext, query } from './context.ts';
import type { DataDirectory } from './data-directory.ts';
import type { Bootstrap } from './instance-options.ts';

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
  const { binaries, user, dataDirectory, node, clusterName, restoreLogFile } = options;
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
    binaries,
    user,
    dataDirectory,
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
    onNote: (message) => context.announce(message),
    signal,
  });
  context.log('info', 'restored', { tookMs: Math.round(performance.now() - startedMs) });
}

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
  if (instance.postmaster() === undefined) {
    if (marker.isStarted && !(await hasStandbySignal(dataDirectory)))
      return beginAnew(context, 'its recovery had ended before the log could say on which timeline', signal);
    await startRecovery(context, bootstrap, signal);
  }
  const role = await instance.readRole(query(context, signal));
  if (role.kind === 'primary') {
    if (role.timeline !== duty.restore?.reached?.assigned)
      return beginAnew(
        context,
        `it was opened on timeline ${role.timeline}, which the log has not assigned`,
        signal,
      );
    await finish(context, bootstrap);
    return true;
  }
  const reading = await readRecovery(instance.session, STANDBY_LIMIT_NAMES, query(context, signal));
  if (reading === undefined) return false;
  if (!(await hasReached(context, bootstrap, reading, signal))) return false;
  const assigned = await assignedTimeline(context, duty, bootstrap, reading, signal);
  if (assigned === undefined) return false;
  await open(context, duty, assigned, signal);
  await finish(context, bootstrap);
  return true;
}

/** Nobody was let in: nothing is lost but time. */
async function beginAnew(context: AgentContext, reason: string, signal: AbortSignal): Promise<false> {
  const { instance } = context;
  context.announce(`the restored data directory is given up, and restored anew: ${reason}`);
  if (instance.postmaster() !== undefined) await instance.stop({ fastMs: 0, signal });
  await discardRestored(instance.options.dataDirectory, instance.options.user);
  context.clearUnexpectedEnd();
  context.notes.archiveEnd = undefined;
  return false;
}

async function startRecovery(
  context: AgentContext,
  bootstrap: Bootstrap,
  signal: AbortSignal,
): Promise<void> {
  const { instance, timing } = context;
  const { dataDirectory, user } = instance.options;
  const { owner } = user;
  context.notes.archiveEnd = undefined;
  await instance.writeConfiguration({ kind: 'alone' }, 'kept-out', 'standby');
  await overrideSettings({ dataDirectory, settings: settingsFor(context, bootstrap), owner });
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
  await instance.startAs('standby', { timeoutMs: timing.startTimeoutMs, signal });
  context.clearUnexpectedEnd();
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

/** Opens exactly the assigned timeline; anything else is stopped at once. */
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

/** From here on it is a first primary like any other, but that it archives nothing until its group takes writes. */
async function finish(context: AgentContext, bootstrap: Bootstrap): Promise<void> {
  const { instance } = context;
  const { dataDirectory, node, user } = instance.options;
  const { owner } = user;
  await endRecoverySettings(dataDirectory, Object.keys(settingsFor(context, bootstrap)), owner);
  await instance.writeConfiguration({ kind: 'alone' }, 'kept-out', 'primary');
  instance.reload();
  const { systemIdentifier } = await readControlData(dataDirectory);
  await writeNewMember({ dataDirectory, node, systemIdentifier, owner });
  await endRestore(dataDirectory);
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
