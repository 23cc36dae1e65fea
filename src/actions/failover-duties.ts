// The duties of a failover: cut and report, hand over, promote. Each can be broken off at any point and begun again, by this
// agent or after a restart: it looks at what is, not at what it did before.
import { delay } from '../base/clock.ts';
import { type Lsn, formatLsn, lsn } from '../base/lsn.ts';
import { type FenceToken, compareFences } from '../cluster/fence.ts';
import { heardReports } from '../cluster/site-history.ts';
import type { Duty } from '../failover/duties.ts';
import { readControlData } from '../postgres/control-data.ts';
import { readCutPosition } from '../postgres/position.ts';
import { forgetOpened } from '../postgres/opened-marker.ts';
import { type Promotion, promotePostgres } from '../postgres/promote.ts';
import { checkpoint } from '../postgres/sql.ts';
import { type SynchronousStandbys, readSettings } from '../postgres/settings.ts';
import { timelinesAhead } from '../postgres/unreached.ts';
import { cutUpstream, writeStandbySignal } from '../postgres/upstream.ts';
import { whileRunning } from '../postgres/while-running.ts';
import { stopForeign, takeOverForCut } from './adopt-duty.ts';
import { type AgentContext, type Standing, placeholder, query, standbysFor } from './context.ts';
import { inspectDataDirectory } from './data-directory.ts';
import { fetchWal, holdsAllOf } from './fetch-wal.ts';
import { forgetUnreached } from './forget-unreached.ts';
import { keepGuarded } from './guarding.ts';
import { leftOut, strangeness } from './opened.ts';
import { openPromoteRun } from './promote-command.ts';
import { keepSlots } from './slots.ts';

type DutyOf<K extends Duty['kind']> = Extract<Duty, { readonly kind: K }>;

/** Ends every WAL stream, replays what is here, and reports it (docs/failover.md, step 2). */
export async function carryOutCut(
  context: AgentContext,
  duty: DutyOf<'cut'>,
  signal: AbortSignal,
): Promise<void> {
  const isAdopted = isBeingAdopted(context);
  if (context.instance.isForeign()) {
    // It goes on as it is: what is not ours can be neither cut nor asked where it stands.
    if (!(await context.confirms('cut', duty))) {
      context.activity(undefined, 'not cut off: the log cannot be read through a leader, or says otherwise');
      return;
    }
    // The next pass starts it with our settings alone: those of ALTER SYSTEM would count before the cut's.
    await context.fence.raise(duty);
    if (isAdopted) await takeOverForCut(context, signal);
    await stopForeign(context, signal);
    return;
  }
  if (isAdopted) await takeOverForCut(context, signal);
  const raising = context.fence.raise(duty);
  raising.catch(() => undefined);
  const again = (): Promise<Cut | undefined> =>
    cutOff(context, { wasPrimary: duty.wasPrimary, token: duty, signal, kind: 'cut' });
  const { fetch } = duty;
  // One that was to fetch WAL may be streaming, also where that was before a restart of this process: it is cut off anew, and reports anew.
  const known = fetch === undefined ? undefined : standingCut(context, duty);
  const standing: Cut | undefined =
    fetch === undefined && hasReported(context) ? undefined : (known ?? (await again()));
  await raising;
  if (standing === undefined) return;
  if (fetch?.kind !== 'from' || holdsAllOf(standing, fetch.source))
    return report(context, duty, standing, standing.isStopped === true);
  const failure = await fetchWal(context, fetch.source, signal).then(
    () => undefined,
    (error: unknown) => (error as Error).message,
  );
  signal.throwIfAborted();
  const fetched = await again();
  if (fetched === undefined) return;
  if (holdsAllOf(fetched, fetch.source)) return report(context, duty, fetched, false);
  const { node } = context.instance.options;
  const reason = failure ?? `what ${fetch.source.node} sent ends at ${formatLsn(fetched.position)}`;
  await context.propose({ kind: 'fetch-failed', group: duty.group, epoch: duty.epoch, node, reason });
}

/** Stops cleanly, so that all WAL is shipped, and reports where it ends. */
export async function carryOutHandOver(
  context: AgentContext,
  duty: DutyOf<'hand-over'>,
  signal: AbortSignal,
): Promise<void> {
  const { instance } = context;
  const { dataDirectory, user } = instance.options;
  if (hasReported(context)) return keepHandedOver(context, signal);
  if (instance.postmaster() !== undefined) {
    // It takes writes until it has stopped, which may be longer than the lease that it was given at the epoch before has left.
    if (duty.rule.leased === true && !(await keepGuarded(context, duty, signal))) return;
    if (!(await context.confirms('hand-over', duty))) return;
    // While it checkpoints, writes go on; the stop then has little left to flush.
    context.activity(undefined, 'checkpoint before the switchover');
    const isRunning = (): boolean => instance.postmaster() !== undefined;
    await whileRunning(isRunning, signal, (running) =>
      checkpoint(instance.session, { timeoutMs: CHECKPOINT_TIMEOUT_MS, signal: running }),
    ).catch((error: unknown) => {
      signal.throwIfAborted();
      context.log('warn', 'checkpoint before the switchover failed; the stop will take longer', {
        error: (error as Error).message,
      });
    });
    context.activity('stopping', 'stopping cleanly for a switchover');
    const wasForeign = instance.isForeign();
    await instance.stop({ fastMs: HAND_OVER_FAST_MS, signal });
    // The next pass takes the settings of ALTER SYSTEM away, should it have to be started to report.
    if (wasForeign && (await readControlData(dataDirectory)).state !== 'shut down') return;
  }
  const control = await readControlData(dataDirectory);
  if (control.state === 'shut down') {
    if (isBeingAdopted(context)) {
      // The operating system may start it again, and another node may be promoted as soon as this is reported: it comes up as a standby.
      await writeStandbySignal(dataDirectory, user.owner);
      const { state } = await readControlData(dataDirectory);
      if (instance.postmaster() !== undefined || state !== 'shut down') return;
    }
    await report(
      context,
      duty,
      { timeline: duty.timeline, position: endOfShutdown(control.checkpoint) },
      true,
    );
    return;
  }
  // It did not stop cleanly: only as a standby that replays its own WAL can it say where that ends.
  const standing = await cutOff(context, { wasPrimary: true, token: duty, signal, kind: 'hand-over' });
  if (standing !== undefined) await report(context, duty, standing, false);
}

/** Another node may be promoted by now, or have been: whatever somebody else starts here takes writes that are lost. */
async function keepHandedOver(context: AgentContext, signal: AbortSignal): Promise<void> {
  const { instance } = context;
  if (instance.postmaster() === undefined) return;
  if (instance.isForeign()) return stopForeign(context, signal);
  const { state } = await readControlData(instance.options.dataDirectory);
  if (state !== 'in production') return;
  context.announce('PostgreSQL was started as a primary after it was handed over; it is stopped');
  await instance.stop({ fastMs: 0, signal });
}

/** Its server runs, or ran until just now, as somebody else has started it. */
function isBeingAdopted(context: AgentContext): boolean {
  return context.group()?.toAdopt.includes(context.instance.options.node) === true;
}

const HAND_OVER_FAST_MS = 3000;
const CHECKPOINT_TIMEOUT_MS = 30_000;

/** Just beyond the start of the last record of a cleanly stopped node: whoever stands there or above holds that record. */
export function endOfShutdown(checkpoint: Lsn): Lsn {
  return lsn(checkpoint + 1n);
}

/**
 * What is in force when the server opens. A command may take long, hang, or promote when nobody looks after it any more: what it opens acknowledges
 * nothing alone before the log has its promotion.
 */
function standbysToOpen(context: AgentContext, { rule }: DutyOf<'promote'>): SynchronousStandbys {
  const standbys = standbysFor(context, rule);
  const isByCommand = context.instance.options.promoteCommand !== undefined;
  return isByCommand && standbys.kind === 'alone' ? placeholder(context) : standbys;
}

const NO_LEASE_TO_PROMOTE = 'not promoted: no lease is to be had';

/** Opens exactly the assigned timeline, with the new rule in force from the start; anything else is stopped at once. */
export async function carryOutPromote(
  context: AgentContext,
  duty: DutyOf<'promote'>,
  signal: AbortSignal,
): Promise<void> {
  const { instance } = context;
  const { dataDirectory, promoteCommand: command } = instance.options;
  const run = command && openPromoteRun(context, { command, duty });
  let promotion: Promotion;
  try {
    // With settings of his own, which neither keep a rule nor can be promoted to a timeline.
    if (instance.isForeign()) throw new Error('its PostgreSQL was started by somebody else');
    const confirmation = context.confirms('promote', duty);
    const guarded = context.guarding.prepare(duty, { until: 'started', isUrgent: true, signal });
    guarded.catch(() => undefined);
    const standing =
      standingCut(context, duty) ?? (await cutOff(context, { token: duty, signal, isPromotion: true }));
    if (!(await confirmation)) {
      context.activity('standby', 'not promoted: the log cannot be read through a leader, or says otherwise');
      return;
    }
    if (standing !== undefined && isBelow(standing, duty.from)) {
      throw new Error(
        `it stands at timeline ${standing.timeline}, ${formatLsn(standing.position)}, below timeline ${duty.from.timeline}, ${formatLsn(duty.from.position)}, which it reported`,
      );
    }
    // Its rule lets commits through alone: no standby may be left with that.
    if (duty.rule.leased === true && !(await guarded)) {
      context.activity('standby', NO_LEASE_TO_PROMOTE);
      return;
    }
    const by = command === undefined ? '' : `, by ${command.command[0]}`;
    context.activity('standby', `being promoted to timeline ${duty.timeline}${by}`);
    // All three are there before the promotion; none waits for another.
    const ruling = instance.setSynchronousStandbys(standbysToOpen(context, duty));
    try {
      await Promise.all([
        guarded,
        ruling,
        slotsOfMembers(context, duty, signal),
        context.once(`unfit slots ${duty.epoch}`, () => context.dropUnfitSlots(duty, signal)),
      ]);
    } finally {
      // Where another step fails or this is broken off, the next duty writes the same file at once.
      await ruling.catch(() => undefined);
    }
    // No lease, or a start to be cut off, as a standby, has dismissed the guard that was on its way.
    if (!(await context.guarding.prepare(duty, { until: 'started', isUrgent: true, signal }))) {
      context.activity('standby', NO_LEASE_TO_PROMOTE);
      return;
    }
    if (context.group()?.site !== undefined) await forgetOpened(dataDirectory);
    promotion = await promotePostgres({
      dataDirectory,
      user: instance.options.user,
      session: instance.session,
      current: standing?.timeline ?? duty.timeline,
      assigned: duty.timeline,
      timeoutMs: command?.timeoutMs ?? context.timing.promoteTimeoutMs,
      byCommand: run && ((running) => run.begin(running)),
      signal,
    });
  } catch (error) {
    // What it left may be what promotes the server after all; it is stopped whether that ends or not.
    const ending = run?.end();
    if (!signal.aborted) {
      context.log('error', 'promotion failed', { error: (error as Error).message });
      await instance.stop({ fastMs: 0, signal });
    }
    await ending;
    if (signal.aborted) throw error;
    const reason = (error as Error).message;
    await context.propose({
      kind: 'promotion-failed',
      group: duty.group,
      epoch: duty.epoch,
      node: instance.options.node,
      reason,
    });
    return;
  }
  context.log('info', 'promoted', { timeline: promotion.timeline, tookMs: Math.round(promotion.tookMs) });
  context.activity(undefined, undefined);
  const leaving = run?.leave();
  await context.propose({
    kind: 'promoted',
    group: duty.group,
    epoch: duty.epoch,
    node: instance.options.node,
    timeline: promotion.timeline,
    switchLsn: promotion.switchLsn,
  });
  await leaving;
}

/** Nobody can stream without, but a promotion that fails for one helps nobody: the primary tries again with each pass. */
async function slotsOfMembers(
  context: AgentContext,
  { slots }: DutyOf<'promote'>,
  signal: AbortSignal,
): Promise<void> {
  await context
    .once(`slots ${slots.join(' ')}`, () => keepSlots(context, slots, signal))
    .catch((error: unknown) => {
      signal.throwIfAborted();
      context.log('warn', 'not all replication slots of members could be made before the promotion', {
        error: (error as Error).message,
      });
    });
}

/**
 * Brings the node to where it receives no WAL from anybody, acknowledges nothing, and has replayed all it holds; returns where it stands.
 * Undefined where there is nothing to report from: no data directory, or a former primary that is kept stopped for
 * a while first (it is rarely needed, and its recovery would take the machine's time from the promotion).
 */
async function cutOff(
  context: AgentContext,
  options: {
    readonly kind?: 'cut' | 'hand-over';
    readonly wasPrimary?: boolean;
    readonly token: FenceToken;
    readonly signal: AbortSignal;
    /** It may have been promoted already, by this duty. */
    readonly isPromotion?: boolean;
    /** What was read and never reached is gone already; whatever is there again stays. */
    readonly isTidy?: true;
  },
): Promise<Cut | undefined> {
  const { instance, timing } = context;
  const { signal } = options;
  const { dataDirectory, passfileDirectory, user } = instance.options;
  const data = await inspectDataDirectory(dataDirectory, instance.options.node);
  if (data.kind !== 'ready') {
    context.activity('absent', data.kind === 'absent' ? 'no data directory' : data.reason);
    return undefined;
  }
  if (instance.postmaster() !== undefined) {
    const role = await readRoleOrWorse(context, options.isPromotion === true, signal);
    if (role === 'primary') {
      if (options.isPromotion === true) return undefined;
      // The log applied here may lag behind: a healthy primary is not stopped for a duty that has passed.
      if (!(await context.confirms(options.kind ?? 'cut', options.token))) return undefined;
      context.activity('stopping', 'stopping: another node takes over');
      await instance.stop({ fastMs: 0, signal });
    } else if (!(await isHeldBack(context))) {
      // A promotion that was given up left it without the placeholder, and from none to one the change takes effect late.
      await instance.stop({ fastMs: 1000, signal });
    }
  }
  const left = options.isPromotion === true ? undefined : await leftOut(context, data.member?.memberId);
  if (left !== undefined) {
    if (instance.postmaster() !== undefined) await instance.stop({ fastMs: 0, signal });
    const { node } = instance.options;
    context.activity(
      'stopped',
      `left as it is, and not promoted: ${left}; a person may have it promoted all the same, by its name (${node})`,
    );
    return { ...(await stoppedStanding(dataDirectory)), isStopped: true, isStrange: true };
  }
  if (instance.postmaster() === undefined) {
    if (options.wasPrimary === true) {
      context.activity('stopped', 'stopped: another node takes over');
      await delay(timing.formerPrimaryDelayMs, signal);
      signal.throwIfAborted();
    }
    await instance.writeConfiguration(placeholder(context));
    await cutUpstream({
      dataDirectory,
      passfileDirectory,
      owner: user.owner,
      timeoutMs: timing.cutTimeoutMs,
      signal,
    });
    await forgetUnreached(context, signal);
    context.activity('starting', 'starting cut off, to tell where its WAL ends');
    await instance.startAs('standby', { timeoutMs: timing.startTimeoutMs, signal });
  }
  if (context.protections.cut) {
    context.notes.followed = undefined;
    const cut = await cutUpstream({
      dataDirectory,
      passfileDirectory,
      owner: user.owner,
      timeoutMs: timing.cutTimeoutMs,
      signal,
    });
    if (cut.ended > 0)
      context.log('info', 'WAL streams cut', { ended: cut.ended, tookMs: Math.round(cut.tookMs) });
  }
  const standing = await readCutPosition({
    session: instance.session,
    socketDirectory: instance.options.socketDirectory,
    port: instance.options.port,
    superuser: instance.options.superuser,
    isRunning: () => instance.postmaster() !== undefined,
    timeoutMs: timing.startTimeoutMs,
    signal,
  });
  // A candidate was lost right after it had opened one, or a site leader lags behind the other site's. To be promoted from there would fail.
  // Its own promotion, that another run of this agent has begun, is not to be disturbed.
  const mayTidy = options.isTidy !== true && options.isPromotion !== true;
  if (mayTidy && (await timelinesAhead(dataDirectory, standing.timeline)).length > 0) {
    // Not stopped, as the leader sees it: it is about to say where it stands.
    context.activity('starting', 'starting anew without what it has read of timelines that it did not reach');
    await instance.stop({ fastMs: 1000, signal });
    return cutOff(context, { ...options, wasPrimary: false, isTidy: true });
  }
  const strange = await strangeness(context, data.member?.memberId, standing);
  context.activity(
    undefined,
    strange === undefined ? 'cut off from every upstream' : `cut off, and not promoted: ${strange}`,
  );
  const postmasterPid = instance.postmaster()?.pid;
  if (postmasterPid !== undefined) {
    const { incarnation, epoch } = options.token;
    context.notes.cut = { token: { incarnation, epoch }, postmasterPid, standing };
  }
  return strange === undefined ? standing : { ...standing, isStrange: true };
}

/** Where it stands once it is cut off. */
interface Cut extends Standing {
  /** It was left as it is: that is where its last checkpoint began. */
  readonly isStopped?: true;
  /** What it holds is not known to be from the other site that the group has followed. */
  readonly isStrange?: true;
}

async function stoppedStanding(dataDirectory: string): Promise<Standing> {
  const { checkpointTimeline: timeline, checkpoint: position } = await readControlData(dataDirectory);
  return { timeline, position };
}

/** Where this node stands by the cut of this very epoch, if that cut was this agent's and PostgreSQL has run ever since. */
export function standingCut(context: AgentContext, token: FenceToken): Standing | undefined {
  const { cut } = context.notes;
  const isStanding =
    cut !== undefined &&
    compareFences(cut.token, token) === 0 &&
    cut.postmasterPid === context.instance.postmaster()?.pid;
  return isStanding ? cut.standing : undefined;
}

/** Puts the placeholder in force on a running standby; false where commits do not wait there at all. */
async function isHeldBack(context: AgentContext): Promise<boolean> {
  if (!context.protections.rule) return true;
  const { instance } = context;
  const names = (await readSettings(instance.options.dataDirectory)).get('synchronous_standby_names') ?? '';
  if (names === '') return false;
  await instance.setSynchronousStandbys(placeholder(context));
  return true;
}

const ROLE_TRY_COUNT_MAX = 3;

/** A node that runs but does not answer is treated as what is worse, a primary; one that is to be promoted is asked again. */
async function readRoleOrWorse(
  context: AgentContext,
  isPromotion: boolean,
  signal: AbortSignal,
): Promise<'primary' | 'standby'> {
  for (let tries = 1; ; tries += 1) {
    try {
      return (await context.instance.readRole(query(context, signal))).kind;
    } catch (error) {
      signal.throwIfAborted();
      if (!isPromotion) return 'primary';
      if (tries >= ROLE_TRY_COUNT_MAX) throw error;
    }
  }
}

function isBelow(standing: Standing, from: Standing): boolean {
  return standing.timeline !== from.timeline || standing.position < from.position;
}

/** The report of this epoch is in the log already; what it says cannot change while the streams stay cut. */
function hasReported(context: AgentContext): boolean {
  const phase = context.group()?.phase;
  const { node } = context.instance.options;
  return (
    phase?.kind === 'fencing' &&
    heardReports(phase).some((known) => known.node === node && known.member === context.localMember())
  );
}

async function report(
  context: AgentContext,
  duty: DutyOf<'cut'> | DutyOf<'hand-over'>,
  standing: Cut,
  stopped: boolean,
): Promise<void> {
  const member = context.registration()?.member;
  if (member === undefined || member !== context.localMember()) {
    context.activity(undefined, 'not reported: its data directory is not the one that is registered');
    return;
  }
  await context.propose({
    kind: 'cut-report',
    group: duty.group,
    epoch: duty.epoch,
    node: context.instance.options.node,
    member,
    timeline: standing.timeline,
    position: standing.position,
    stopped,
    ...(standing.isStrange === true ? { isStrange: true } : {}),
    ...(duty.kind === 'cut' && duty.fetch !== undefined ? { afterFetch: true } : {}),
  });
}
