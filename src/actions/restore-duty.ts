// The first data directory of a group is restored from a backup (docs/decisions/0017-restored-groups.md): the administrator's command makes
// it, PostgreSQL recovers to the target and waits there, the log assigns the timeline that it opens. Looks at what is, not at what was done
// before: broken off anywhere, it goes on or begins anew. Must never touch a data directory that does not bear its marker.
import type { Timeline } from '../base/ids.ts';
import { formatLsn } from '../base/lsn.ts';
import { RESTORE_FEATURE_LEVEL } from '../cluster/features.ts';
import { readControlData } from '../postgres/control-data.ts';
import { STANDBY_LIMIT_NAMES } from '../postgres/effective-parameters.ts';
import { StartError } from '../postgres/lifecycle.ts';
import { writeNewMember } from '../postgres/member.ts';
import { promotePostgres } from '../postgres/promote.ts';
import { isStarting } from '../postgres/recovery-progress.ts';
import { readRecovery, targetText } from '../postgres/recovery-target.ts';
import { RestoreError } from '../postgres/restore-command.ts';
import {
  type RestoreMarker,
  endRestore,
  readRestoreMarker,
  writeRestoreMarker,
} from '../postgres/restore-marker.ts';
import {
  type RestorePlace,
  discardRestored,
  removeHalfRestored,
  restoreDataDirectory,
} from '../postgres/restore.ts';
import { beganAt, isStranger } from '../postgres/restored-descent.ts';
import { endRecoverySettings } from '../postgres/restored-files.ts';
import { placeObstacle } from '../postgres/restored-places.ts';
import { hasStandbySignal } from '../postgres/upstream.ts';
import { type AgentContext, query } from './context.ts';
import type { DataDirectory } from './data-directory.ts';
import type { Bootstrap } from './instance-options.ts';
import {
  type CreateDuty,
  STOP_FAST_MS,
  UnusableError,
  WAL_SENDERS,
  assignedTimeline,
  hasReached,
  identify,
  raisedSenders,
  recoveryOf,
  settingsFor,
  startRecovery,
  stopRecovery,
} from './restore-recovery.ts';

/** A backup is read for hours, and what has failed mostly fails again. */
const PAUSE_MS = 60_000;
const PAUSE_MS_MAX = 3_600_000;

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
  // An older leader may have created the group: nobody could be told where it begins.
  if (context.featureLevel() < RESTORE_FEATURE_LEVEL)
    throw new Error(
      `cannot restore the group's first data directory: not every peer understands that yet (feature level ${context.featureLevel()} of ${RESTORE_FEATURE_LEVEL}); upgrade all of them, and nothing is done until then`,
    );
  const { failedRestore } = notes;
  if (failedRestore !== undefined && performance.now() < failedRestore.untilMs) {
    // It may go on to recover meanwhile.
    if (instance.postmaster() !== undefined)
      await checkPlaces(context, await readRestoreMarker(dataDirectory, instance.options.user), signal);
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
    const isUnusable = error instanceof UnusableError;
    const isUnstartable = error instanceof StartError;
    if (isUnusable) await giveUp(context, error.message, signal);
    else if (!isUnstartable && !(error instanceof RestoreError)) throw error;
    const pauseMs = Math.min(2 * (failedRestore?.pauseMs ?? PAUSE_MS / 2), PAUSE_MS_MAX);
    const again = new Date(Date.now() + pauseMs).toISOString();
    const what = isUnusable
      ? `it is restored anew at ${again}, or at once by`
      : isUnstartable
        ? `it is started again at ${again}, or restored anew from the backup at once by`
        : `it is tried again at ${again}, or at once by`;
    const message = `${(error as Error).message}; ${what} sentinelctl node rejoin ${instance.options.node}`;
    notes.failedRestore = { pauseMs, untilMs: performance.now() + pauseMs, error: message, isUnstartable };
    throw new Error(message);
  }
}

/** A person asks for it at once: what PostgreSQL could not be started on comes from the backup anew. */
export function retryRestore({ notes }: Pick<AgentContext, 'notes'>): void {
  notes.failedRestore =
    notes.failedRestore?.isUnstartable === true
      ? { ...notes.failedRestore, untilMs: -Infinity, isToBeAnew: true }
      : undefined;
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
    places: { tablespaces: options.tablespaces ?? new Map(), walDirectory: options.walDirectory },
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
  onNote: announce,
});

/** One step further, from whatever is found; true once it is over. */
async function recover(
  context: AgentContext,
  duty: CreateDuty,
  bootstrap: Bootstrap,
  signal: AbortSignal,
): Promise<boolean> {
  const { instance } = context;
  const { dataDirectory, user } = instance.options;
  const marker = await readRestoreMarker(dataDirectory, user);
  if (marker.recovery !== recoveryOf(context, bootstrap)) {
    await giveUp(context, 'the configuration asks for another recovery target than before', signal);
    return false;
  }
  if (context.notes.failedRestore?.isToBeAnew === true) {
    context.notes.failedRestore = undefined;
    await giveUp(context, 'somebody has asked for it with sentinelctl node rejoin', signal);
    return false;
  }
  await checkPlaces(context, marker, signal);
  const reached = duty.restore?.reached;
  if (instance.postmaster() === undefined) {
    if (marker.opened !== undefined && marker.opened === reached?.assigned)
      return finish(context, bootstrap, { marker, opened: marker.opened }, signal);
    if (marker.isStarted && !(await hasStandbySignal(dataDirectory)))
      throw new UnusableError('its recovery had ended before the log could say on which timeline');
    if (!(await startRecovery(context, bootstrap, marker, signal))) return false;
  } else if (isStarting(dataDirectory)) {
    context.activity('starting', `recovering to ${targetText(bootstrap.target)}: not consistent yet`);
    return false;
  }
  const role = await instance.readRole(query(context, signal));
  if (role.kind === 'primary') {
    // Also where more WAL came between the log's word and the promotion.
    const isAssigned = reached !== undefined && role.timeline === reached.assigned;
    if (!isAssigned || (await beganAt(dataDirectory, reached)) !== true)
      throw new UnusableError(
        `it was opened on timeline ${role.timeline}, ${isAssigned ? 'elsewhere than the log says' : 'which the log has not assigned'}`,
      );
    return finish(context, bootstrap, { marker, opened: reached.assigned }, signal);
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
  await open(context, duty, { assigned, marker }, signal);
  // Looked at anew: only what is found to be opened as the log says goes on.
  return false;
}

/** WAL may bring tablespaces, at the paths that they had on the old server: it must not go on there. */
async function checkPlaces(
  context: AgentContext,
  { parts, opened }: RestoreMarker,
  signal: AbortSignal,
): Promise<void> {
  const { dataDirectory, user } = context.instance.options;
  const obstacle = await placeObstacle(user, dataDirectory, parts);
  if (obstacle === undefined) return;
  await stopRecovery(context, 0, signal);
  const remedy =
    opened === undefined
      ? '; where its WAL has made it, take a backup from after that, or a recovery target before it'
      : '';
  throw new RestoreError(`the restored data directory is not used: ${obstacle}${remedy}`);
}

/** Nobody was let in: nothing is lost but time. */
async function giveUp(context: AgentContext, reason: string, signal: AbortSignal): Promise<void> {
  context.announce(`the restored data directory is given up, and restored anew: ${reason}`);
  await stopRecovery(context, 0, signal);
  await discardRestored(placeOf(context));
  context.clearUnexpectedEnd();
  context.notes.archiveEnd = undefined;
}

/** Opens exactly the assigned timeline; anything else throws, and is given up by the next pass. */
async function open(
  context: AgentContext,
  duty: CreateDuty,
  { assigned, marker }: { readonly assigned: Timeline; readonly marker: RestoreMarker },
  signal: AbortSignal,
): Promise<void> {
  const { instance, timing } = context;
  const { dataDirectory, user } = instance.options;
  if (!(await context.confirms('create', duty)))
    throw new Error('not opened yet: the log cannot be read through a leader, or says otherwise');
  if (!(await context.guarding.prepare(duty, { until: 'watching', signal })))
    throw new Error('not opened yet: it gets no lease');
  const { timeline: current } = await identify(context);
  await checkPlaces(context, marker, signal);
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
  { marker, opened }: { readonly marker: RestoreMarker; readonly opened: Timeline },
  signal: AbortSignal,
): Promise<true> {
  const { instance } = context;
  const { dataDirectory, node, user } = instance.options;
  const { owner } = user;
  await writeRestoreMarker(
    dataDirectory,
    { ...marker, recovery: recoveryOf(context, bootstrap), isStarted: true, opened },
    user,
  );
  const keys = [...Object.keys(settingsFor(context, bootstrap)), WAL_SENDERS];
  await endRecoverySettings(dataDirectory, keys, owner);
  const control = await readControlData(dataDirectory);
  if (instance.postmaster() !== undefined) {
    await instance.writeConfiguration({ kind: 'alone' }, 'kept-out', 'primary');
    instance.reload();
    if (WAL_SENDERS in raisedSenders(control)) await stopRecovery(context, STOP_FAST_MS, signal);
  }
  context.notes.isRecovering = false;
  await writeNewMember({ dataDirectory, node, systemIdentifier: control.systemIdentifier, owner });
  await removeHalfRestored(placeOf(context));
  await endRestore(dataDirectory);
  return true;
}
