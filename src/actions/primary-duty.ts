// The duties of a primary: the first one of a new group, and any later one. No node becomes a read-write primary because it
// was one: PostgreSQL is started as primary only after the log, read through the leader, says that this node still is.
import type { Duty } from '../failover/duties.ts';
import { endedAsStandby } from '../postgres/control-data.ts';
import { initDataDirectory } from '../postgres/initdb.ts';
import { type Member, writeNewMember } from '../postgres/member.ts';
import { renderSynchronousStandbys } from '../postgres/settings.ts';
import { revisionOfAccounts, setUpAccounts } from './accounts-duty.ts';
import {
  carryOutUnprotected,
  confirmAdopted,
  keepDecoding,
  leftToOwner,
  stopForeign,
  takeOverStopped,
} from './adopt-duty.ts';
import { type AgentContext, query, standbysFor } from './context.ts';
import { holdBackBefore } from './database-before.ts';
import { inspectDataDirectory } from './data-directory.ts';
import { lockFor } from './directory-lock.ts';
import { keepGuarded, mayProveItself } from './guarding.ts';
import { mustHoldAll } from './left-directory.ts';
import { changeRule, passFloor, waitUntilCommitsWait } from './rule-change.ts';
import { mustBeDatabaseOfGroup, otherDatabaseText } from './other-database.ts';
import { archiveAgain, archivingKey } from './restore-archiving.ts';
import { carryOutRestore, checkFirstData, isToRestore } from './restore-duty.ts';
import { closeFresh, connectFresh } from './fresh-session.ts';
import type { InForce } from './instance.ts';
import { ADVANCE_SLOTS_EVERY_MS, advanceIdleSlots, lookAfterSlots, slotNote } from './slots.ts';
import { takeOutOverrides } from './tamper.ts';
import { endHaste } from './zero-fill.ts';

type DutyOf<K extends Duty['kind']> = Extract<Duty, { readonly kind: K }>;

/** Of initdb. */
export const INITDB_TIMEOUT_MS = 120_000;

/** First primary of a new group: a new data directory, or the one that is there already. */
export async function carryOutCreate(
  context: AgentContext,
  duty: DutyOf<'create'>,
  signal: AbortSignal,
): Promise<void> {
  const { instance, timing } = context;
  const { dataDirectory } = instance.options;
  const member = await makeFirstData(context, duty, signal);
  if (member === undefined) return;
  if (instance.postmaster() === undefined) {
    if (!(await context.confirms('create', duty))) return;
    if (!(await context.guarding.prepare(duty, { until: 'watching', signal }))) return;
    await holdBackBefore(context);
    // Clients are let in once the log says that the group runs: another first primary may be chosen until then.
    await instance.writeConfiguration({ kind: 'alone' }, 'kept-out', 'primary');
    context.activity('starting', 'starting as the first primary');
    await instance.startAs('primary', { timeoutMs: timing.startTimeoutMs, signal });
  }
  await context.once(`accounts ${revisionOfAccounts(context)}`, () => setUpAccounts(context, signal));
  const role = await instance.readRole(query(context, signal));
  if (role.kind !== 'primary')
    throw new Error(`${dataDirectory} runs as a standby; it cannot become the group's first primary`);
  await context.propose({
    kind: 'group-ready',
    group: duty.group,
    epoch: duty.epoch,
    member: member.memberId,
    systemIdentifier: member.systemIdentifier,
    timeline: role.timeline,
  });
  await context.registerAgain();
  context.activity(undefined, undefined);
}

/** The data directory, with a member id; undefined while another process works on it. */
async function makeFirstData(
  context: AgentContext,
  duty: DutyOf<'create'>,
  signal: AbortSignal,
): Promise<Member | undefined> {
  const { instance } = context;
  const { binaries, user, dataDirectory, node, superuser, walDirectory, initdb } = instance.options;
  const present = await inspectDataDirectory(dataDirectory, node);
  mustBeDatabaseOfGroup(context, present);
  if (present.kind === 'ready') await checkFirstData(context, duty);
  if (present.kind === 'ready' && present.member !== undefined && instance.postmaster() !== undefined)
    return present.member;
  const lock = await lockFor(context, 'sentineld, initdb');
  if (lock === undefined) return undefined;
  try {
    let data = await inspectDataDirectory(dataDirectory, node);
    mustBeDatabaseOfGroup(context, data);
    if (isToRestore(context, duty, data)) {
      if (!(await carryOutRestore(context, duty, data, signal))) return undefined;
      data = await inspectDataDirectory(dataDirectory, node);
    }
    if (data.kind === 'ready') await checkFirstData(context, duty);
    if (data.kind === 'unfit' || data.kind === 'foreign')
      throw new Error(`cannot create the group's first primary: ${data.reason}`);
    if (data.kind === 'absent') {
      context.activity('starting', 'initdb');
      const place = { binaries, user, dataDirectory, superuser, walDirectory };
      await initDataDirectory({ ...place, settings: initdb, timeoutMs: INITDB_TIMEOUT_MS, signal });
      data = await inspectDataDirectory(dataDirectory, node);
    }
    if (data.kind !== 'ready') throw new Error(`initdb left no usable data directory in ${dataDirectory}`);
    const { systemIdentifier, state } = data.control;
    // Opening it without a promotion would end its old primary's timeline in two ways.
    if (instance.postmaster() === undefined && endedAsStandby(data.control)) {
      throw new Error(
        `cannot create the group's first primary: ${dataDirectory} is a standby's (it was ${state}); promote it with pg_ctl promote and stop it, or empty it`,
      );
    }
    return (
      data.member ?? (await writeNewMember({ dataDirectory, node, systemIdentifier, owner: user.owner }))
    );
  } finally {
    lock.release();
  }
}

/** Keeps the primary running with the rule of the log, its slots and its roles. One pass; it is called again and again. */
export async function carryOutPrimary(
  context: AgentContext,
  duty: DutyOf<'primary'>,
  signal: AbortSignal,
): Promise<void> {
  const { instance } = context;
  if (instance.isForeign()) {
    if (duty.isUnprotected === true) return carryOutUnprotected(context, duty, signal);
    // It enforces no rule: no majority is needed to stop that.
    await stopForeign(context, signal);
    return;
  }
  if (instance.postmaster() === undefined && !(await startInPlace(context, duty, signal))) return;
  if (!(await keepGuarded(context, duty, signal))) {
    context.activity(undefined, NO_LEASE);
    return;
  }
  const role = await instance.readRole(query(context, signal));
  if (role.kind === 'standby') {
    // It was started to report where its WAL ends, and then given back its group: same timeline, nobody else was promoted.
    context.activity('stopping', 'the group was given back to this node');
    await instance.stop({ fastMs: 1000, signal });
    return;
  }
  if (role.timeline !== duty.timeline) {
    await instance.stop({ fastMs: 0, signal });
    throw new Error(
      `stopped: this node was open on timeline ${role.timeline}, but the group is on ${duty.timeline}`,
    );
  }
  context.clearUnexpectedEnd();
  await beginRule(context, duty, { inForce: role, signal });
  if (!(await isProved(context, duty))) {
    context.activity(
      undefined,
      'clients are kept out: neither a Raft leader nor its members have confirmed it yet',
    );
    return;
  }
  const waits = standbysFor(context, duty.rule).kind !== 'alone';
  context.activity(undefined, slotNote(context, { readerLimit: role.readerLimit, waits }));
  if (duty.isUnprotected === true) await confirmAdopted(context, duty);
  await context.once('admit', () => instance.admitClients());
  // What was written until then waits for it; clients wait for nothing that is not theirs.
  await context.once(archivingKey(context), () => archiveAgain(context, signal));
  await lookAfterSlots(context, duty.slots, signal, () => keepRule(context, duty, role, signal));
}

/** The rule of the log, once clients are let in, and what goes with it. */
async function keepRule(
  context: AgentContext,
  duty: DutyOf<'primary'>,
  inForce: InForce,
  signal: AbortSignal,
): Promise<void> {
  const { instance } = context;
  await context.once(`accounts ${revisionOfAccounts(context)}`, () => setUpAccounts(context, signal));
  if (duty.floor === undefined)
    await context.once(`checkpoint ${duty.timeline}`, () => checkpointAside(context));
  if (duty.next !== undefined) await changeRule(context, duty, duty.next, signal);
  else {
    await instance.setSynchronousStandbys(standbysFor(context, duty.rule), inForce);
    if (duty.floor === undefined) await endHaste(context);
    else await passFloor(context, duty, duty.floor, signal);
  }
  await advanceElsewhere(context, duty, signal);
}

/** Of standbys that stream from another one: they would keep all WAL here. */
async function advanceElsewhere(
  context: AgentContext,
  { elsewhere }: DutyOf<'primary'>,
  signal: AbortSignal,
): Promise<void> {
  if (elsewhere === undefined) return;
  const advance = (): Promise<void> => advanceIdleSlots(context, { only: elsewhere }, signal);
  // Another connection may have taken the slot meanwhile: nothing waits for this.
  await context.once('advance', advance, ADVANCE_SLOTS_EVERY_MS).catch((error: unknown) => {
    signal.throwIfAborted();
    context.log('warn', 'slots of cascading standbys could not be moved on', {
      error: (error as Error).message,
    });
  });
}

const NO_LEASE = 'it gets no lease: the log cannot be read through a leader, or says otherwise';

/**
 * After a start, which is made with the placeholder in force: until the checkpointer has read its settings commits do not wait, whatever
 * those say, so one must be seen to, however often that is broken off. A PostgreSQL that has yet to prove itself then needs the rule
 * for that: nobody takes what it writes under the placeholder.
 */
async function beginRule(
  context: AgentContext,
  duty: DutyOf<'primary'>,
  { inForce, signal }: { readonly inForce: InForce; readonly signal: AbortSignal },
): Promise<void> {
  const { instance, notes } = context;
  // One that an earlier sentineld has started may be unproven as well.
  await context.once('kept out', async () => {
    notes.isUnproven ||= await instance.keepsClientsOut();
  });
  const standbys = standbysFor(context, duty.next?.rule ?? duty.rule);
  if (standbys.kind === 'alone') return;
  if (inForce.synchronousStandbyNames === renderSynchronousStandbys({ kind: 'nobody' }))
    await context.once('commits wait', () => waitUntilCommitsWait(context, signal));
  if (notes.isUnproven) await instance.setSynchronousStandbys(standbys, inForce);
}

/**
 * Whether clients may be let in: always, but for a PostgreSQL that was started without the log's word. That one waits for it, or
 * for proof that enough members of the rule still take what it writes: then nobody else can have been promoted.
 */
async function isProved(context: AgentContext, duty: DutyOf<'primary'>): Promise<boolean> {
  if (!context.notes.isUnproven) return true;
  const pid = context.instance.postmaster()?.pid;
  const isProven = pid !== undefined && context.guarding.state()?.provenPostmaster === pid;
  if (!isProven && !(await context.confirms('primary', duty))) return false;
  context.log('info', 'authority is proved; clients are let in');
  context.notes.isUnproven = false;
  return true;
}

const CHECKPOINT_TIMEOUT_MS = 600_000;

/**
 * Begins a checkpoint soon after a promotion, without waiting for it: pg_rewind before PostgreSQL 16 reads the source's
 * timeline from its last checkpoint, so a former primary could not rejoin before.
 */
async function checkpointAside(context: AgentContext): Promise<void> {
  const client = await connectFresh(context, {
    name: 'pg_sentinel_checkpoint',
    queryTimeoutMs: CHECKPOINT_TIMEOUT_MS,
  });
  client
    .query('checkpoint')
    .catch((error: unknown) =>
      context.log('warn', 'checkpoint after the promotion failed', { error: (error as Error).message }),
    )
    .finally(() => closeFresh(client))
    .catch(() => undefined);
}

/** Starts the primary again where it was; false while it must stay down. */
async function startInPlace(
  context: AgentContext,
  duty: DutyOf<'primary'>,
  signal: AbortSignal,
): Promise<boolean> {
  const { instance, timing } = context;
  const { dataDirectory, node } = instance.options;
  let data = await inspectDataDirectory(dataDirectory, node);
  if (data.kind !== 'ready') {
    throw new Error(
      `cannot start the primary: ${data.kind === 'absent' ? `no data directory in ${dataDirectory}` : data.reason}`,
    );
  }
  const other = otherDatabaseText(context, data.control);
  if (other !== undefined) throw new Error(`cannot start the primary: ${other}`);
  if (duty.isUnprotected === true) {
    // Before anything of it is made ours.
    const left = leftToOwner(context, duty, data.control);
    if (left !== undefined) {
      context.activity('stopped', left);
      return false;
    }
    if (!(await takeOverStopped(context))) return false;
    data = await inspectDataDirectory(dataDirectory, node);
  }
  if (
    data.kind !== 'ready' ||
    data.member === undefined ||
    data.member.memberId !== context.registration()?.member
  ) {
    throw new Error(
      `cannot start the primary: ${dataDirectory} is not the data directory that the log knows (${context.registration()?.member ?? 'none'})`,
    );
  }
  const end = context.unexpectedEnd();
  if (duty.isPaused && end?.isClean === true) {
    context.activity('stopped', 'shut down cleanly by somebody; it is left so while it is paused');
    return false;
  }
  if (end !== undefined && duty.rule.acks > 0 && !duty.isPaused) {
    const holdMs = timing.crashHoldMs + (end.isClean ? timing.restartGraceMs : 0);
    if (performance.now() - end.atMs < holdMs) {
      context.activity(
        'stopped',
        end.isClean ? 'shut down cleanly by somebody; waiting' : 'crashed; a standby may take over',
      );
      return false;
    }
  }
  const isConfirmed = await context.confirms('primary', duty);
  signal.throwIfAborted();
  if (!isConfirmed && !mayProveItself(context, duty)) {
    const why = context.guarding.message(false);
    context.activity(
      'stopped',
      `${why === undefined ? '' : `${why}; `}not started: the log cannot be read through a leader, or says otherwise`,
    );
    return false;
  }
  const { control } = data;
  const newest = Math.max(control.checkpointTimeline, control.minRecoveryTimeline ?? 0);
  if (newest !== duty.timeline) {
    throw new Error(
      `cannot start the primary: ${dataDirectory} is on timeline ${newest}, but the group is on ${duty.timeline}`,
    );
  }
  await mustHoldAll(context, { control, isLogs: true, otherwise: 'cannot start the primary' });
  signal.throwIfAborted();
  context.log('info', 'starting PostgreSQL as primary in place', {
    timeline: duty.timeline,
    epoch: duty.epoch,
    state: control.state,
  });
  context.activity('starting', 'starting as primary');
  if (!(await context.guarding.prepare(duty, { until: 'watching', signal }))) {
    context.activity('stopped', `not started: ${NO_LEASE}`);
    return false;
  }
  if (duty.isUnprotected === true) {
    await keepDecoding(context, control);
    await takeOutOverrides(context);
  }
  // Before it runs: this may be broken off while it starts.
  context.notes.isUnproven = !isConfirmed;
  const rule = duty.next?.rule ?? duty.rule;
  const standbys = standbysFor(context, rule);
  if (standbys.kind === 'alone') {
    await instance.writeConfiguration(standbys, 'admitted', 'primary');
    await instance.startAs('primary', { timeoutMs: timing.startTimeoutMs, signal });
    return true;
  }
  // Clients are let in before the rule is in force, and their commits wait. Readers of logical slots must as well: they could get what a failover loses.
  const readersWaitFor = standbys.kind === 'any' ? standbys.members : (standbys.readersWaitFor ?? []);
  await instance.writeConfiguration({ kind: 'nobody', readersWaitFor }, 'kept-out', 'primary');
  await instance.startAs('primary', { timeoutMs: timing.startTimeoutMs, signal });
  return true;
}
