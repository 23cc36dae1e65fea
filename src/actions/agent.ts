// The agent: one loop that compares the present duty with the local PostgreSQL and does what is missing, one pass at a time.
// A duty of another kind or epoch breaks off the pass under way. It never acts on anything but the log's duty.
import { join } from 'node:path';
import { delay, settledWithin } from '../base/clock.ts';
import type { MemberId, PeerId } from '../base/ids.ts';
import type { Command, NodeRegistration } from '../cluster/commands.ts';
import { compareFences } from '../cluster/fence.ts';
import type { AgentReport, NodeCondition } from '../cluster/report.ts';
import type { GroupState, NodeState } from '../cluster/state.ts';
import type { Duty } from '../failover/duties.ts';
import { finishInterruptedClone } from '../postgres/clone.ts';
import { removeInterruptedInit } from '../postgres/initdb.ts';
import { removeHalfRestored } from '../postgres/restore.ts';
import { createAnnouncements } from './announcements.ts';
import { carryOut, carryOutWithLooks, keyOf } from './carry-out.ts';
import type { AgentContext, AgentTiming, Protections } from './context.ts';
import { createUnexpectedEnds } from './unexpected-end.ts';
import { rememberDatabase } from './database-before.ts';
import { type DataDirectory, createInspection, inspectDataDirectory } from './data-directory.ts';
import { lockDirectory } from './directory-lock.ts';
import type { FenceFile } from './fence-file.ts';
import { type GuardSettings, createGuarding } from './guarding.ts';
import { startLeftoverArchiver } from './leftover-archiver.ts';
import { type Instance, openInstance } from './instance.ts';
import { endInterruptedRejoin } from './interrupted-rejoin.ts';
import type { InstanceOptions } from './instance-options.ts';
import { type NodeRequest, carryOutNodeRequest } from './node-requests.ts';
import { createRegistering, isDelayed, memberOf } from './registering.ts';
import { strangeReason } from './opened.ts';
import { buildReport } from './report.ts';
import { endLeftPromoteCommand } from './promote-command.ts';
import { retryRestore } from './restore-duty.ts';
import { createFoundWatch } from './found-server.ts';
import { createHbaDuty, withHba } from './hba-duty.ts';
import { stopIntruder } from './intruder.ts';
import { createLogicalSlots } from './logical-slots.ts';
import { createParameterDuty } from './parameters-duty.ts';
import { startLogRotation } from './log-rotation.ts';
import { createRequests } from './requests.ts';
import { createRivalWatch } from './rival-watch.ts';
import { createTamperWatch } from './tamper.ts';
import { createDiskWatch } from './disk-watch.ts';
import { createSlotWatch } from './slot-watch.ts';
import { endStray } from './stray-database.ts';
import { createUpkeepWatch } from './upkeep.ts';
import { createUpstreamWatch } from './upstream-watch.ts';
import { mustBeThisNodes } from './whose-server.ts';

export interface AgentOptions {
  readonly peer: PeerId;
  /** As the log can have it now: what not every peer understands yet is left out. */
  readonly registration: () => Omit<NodeRegistration, 'member' | 'systemIdentifier'>;
  /** See `createRegistering`. */
  readonly registrationObstacle?: () => string | undefined;
  readonly instance: Omit<
    InstanceOptions,
    'onUnexpectedEnd' | 'onChange' | 'beforeStandby' | 'onRefused' | 'mayBeForeign'
  >;
  readonly guard: GuardSettings;
  readonly fence: FenceFile;
  readonly timing: AgentTiming;
  readonly protections: Protections;
  readonly propose: (
    command: Command,
  ) => Promise<{ readonly kind: 'applied' | 'refused' | 'unknown'; readonly reason?: string }>;
  /** Reads the duty through the leader: what the log says after this call; undefined where nobody answers. */
  readonly readDuty: () => Promise<Duty | undefined>;
  readonly registered: () => NodeState | undefined;
  readonly group: () => GroupState | undefined;
  readonly featureLevel: () => number;
  /** What is wrong with the upstream that the configuration names; undefined: nothing, or it names none. */
  readonly upstreamProblem: () => string | undefined;
  readonly onReport: (report: AgentReport) => void;
  /** PostgreSQL is gone, every process of it, without this agent's doing. */
  readonly onGone: () => void;
  readonly onBack: () => void;
  readonly log: AgentContext['log'];
}

export interface Agent {
  setDuty(duty: Duty): void;
  /** Has it carried out once, after the pass under way; resolves with what was done, rejects with why it was not. */
  ask(
    request: NodeRequest,
    options: { readonly timeoutMs: number; readonly signal: AbortSignal },
  ): Promise<string>;
  /** What failed and is tried again later is tried again now. */
  retry(): void;
  /** Ends the loop; PostgreSQL goes on. */
  close(): Promise<void>;
}

const PASS_EVERY_MS = 250;
/** Reports come with the passes; while one takes long they come by themselves. */
const REPORT_LATEST_MS = 300;
/** A pass that took longer may have changed what it read at its beginning. */
const SHORT_PASS_MS = 50;
const PAUSE_MS_MIN = 50;
const RETRY_MS = 500;
const STARTED_AT_MS = Date.now();

/** After whatever has ended an earlier process. Somebody who works on the directory now does it himself. */
async function tidyUp({ instance, log }: AgentOptions): Promise<void> {
  const { dataDirectory, user, lockDirectory: directory } = instance;
  const tidy = { dataDirectory, user, onNote: (message: string) => log('warn', message) };
  await endLeftPromoteCommand(instance, tidy.onNote);
  const lock = await lockDirectory(directory, 'sentineld');
  if (lock.kind === 'taken') return;
  try {
    await endInterruptedRejoin(instance);
    await finishInterruptedClone(tidy);
    await removeInterruptedInit(tidy);
    await removeHalfRestored(tidy);
  } finally {
    lock.release();
  }
}

export async function startAgent(options: AgentOptions): Promise<Agent> {
  const { node, dataDirectory } = options.instance;
  let isTidy = await tidyUp(options).then(
    () => true,
    (error: unknown) => {
      options.log('error', 'what an earlier sentineld has left could not be put right', {
        error: (error as Error).message,
      });
      return false;
    },
  );
  const closing = new AbortController();
  let duty: Duty = { kind: 'none', reason: 'the log has not been read yet' };
  let passing = new AbortController();
  let wake = (): void => undefined;
  let hasRun = false;
  let foundStoppedAtMs: number | undefined;
  let activity: { readonly condition: NodeCondition | undefined; readonly message: string | undefined } = {
    condition: undefined,
    message: undefined,
  };
  let member: MemberId | undefined;
  /** False until the log was read through a leader: before that nobody knows what is registered. */
  let isTold = false;
  let doneFor = 0;
  let reportCount = 0;
  const done = new Map<string, number>();
  const announcements = createAnnouncements(() => performance.now());

  const instance: Instance = openInstance({
    ...options.instance,
    onChange: () => wake(),
    mayBeForeign: () => options.group()?.toAdopt.includes(node) ?? true,
    onUnexpectedEnd: () => void ends.note(),
    beforeStandby: async (signal) => {
      await guarding.dismiss();
      await logicalSlots.beforeStart(duty, signal);
    },
    onRefused: (message) => context.announce(message),
  });

  const confirms: AgentContext['confirms'] = async (kind, token) => {
    const read = await options.readDuty();
    return read !== undefined && read.kind === kind && 'epoch' in read && compareFences(read, token) === 0;
  };

  const guarding = createGuarding({
    guard: options.guard,
    isProtected: options.protections.guard,
    instance: options.instance,
    duty: () => duty,
    group: options.group,
    confirms,
    log: options.log,
    onChange: () => report(),
  });

  const inspection = createInspection({
    inspect: () => inspectDataDirectory(dataDirectory, node),
    postmasterPid: () => instance.postmaster()?.pid,
    nowMs: () => performance.now(),
  });

  const ends = createUnexpectedEnds({
    ...{ dataDirectory, announcements, onGone: options.onGone, signal: closing.signal },
    restartGraceMs: options.timing.restartGraceMs,
    isRunning: () => instance.postmaster() !== undefined,
    announce: (message) => context.announce(message),
    onNoted() {
      report();
      wake();
    },
  });

  const propose: AgentOptions['propose'] = async (command) => {
    const outcome = await options.propose(command);
    if (outcome.kind === 'refused') options.log('warn', `the log refused ${command.kind}: ${outcome.reason}`);
    if (outcome.kind === 'unknown' && !closing.signal.aborted)
      options.log('warn', `${command.kind}: no answer from a Raft leader; trying again`);
    return outcome;
  };

  const context: AgentContext = {
    notes: {
      cut: undefined,
      failedFollows: undefined,
      followed: undefined,
      isUnproven: false,
      streaming: undefined,
    },
    instance,
    guarding,
    fence: options.fence,
    timing: options.timing,
    protections: options.protections,
    duty: () => duty,
    registration: options.registered,
    group: options.group,
    featureLevel: options.featureLevel,
    propose: async (command) => (await propose(command)).kind === 'applied',
    confirms,
    activity(condition, message) {
      if (activity.condition === condition && activity.message === message) return;
      activity = { condition, message };
      report();
    },
    announce(message, fields) {
      options.log('warn', message, fields);
      announcements.add(message);
      report();
    },
    withdraw: (message) => announcements.withdraw(message),
    unexpectedEnd: ends.current,
    foundStoppedAtMs: () => (hasRun ? undefined : foundStoppedAtMs),
    clearUnexpectedEnd() {
      if (ends.clear()) options.onBack();
    },
    dataDirectory: () => inspection.recent(),
    registerAgain: async () => register(await inspection.fresh()),
    localMember: () => member,
    dropUnfitSlots: (promotion, signal) => logicalSlots.beforePromotion(promotion, signal),
    archiveLeftovers: () => archiver.wake(),
    async once(key, work, againAfterMs = Infinity) {
      const pid = instance.postmaster()?.pid ?? 0;
      if (pid !== doneFor) done.clear();
      doneFor = pid;
      const doneAtMs = done.get(key);
      if (doneAtMs !== undefined && performance.now() - doneAtMs < againAfterMs) return;
      await work();
      done.set(key, performance.now());
    },
    wasDone: (key) => (instance.postmaster()?.pid ?? 0) === doneFor && done.has(key),
    log: options.log,
  };

  const tamper = createTamperWatch(context);
  const requests = createRequests<NodeRequest>(() => shownActivity().message);
  const upkeep = createUpkeepWatch({ instance, duty: () => duty, nowMs: () => performance.now() });
  const upstreamWatch = createUpstreamWatch({
    problem: options.upstreamProblem,
    say: (message) => options.log('warn', message),
    nowMs: () => performance.now(),
  });
  const rivalWatch = createRivalWatch({
    dataDirectory,
    isInGroup: () => options.group() !== undefined,
    announce: context.announce,
    warn: (message) => options.log('warn', message),
    withdraw: context.withdraw,
    nowMs: () => performance.now(),
  });
  const slotWatch = createSlotWatch({
    announce: context.announce,
    withdraw: context.withdraw,
    nowMs: () => performance.now(),
  });
  const diskWatch = createDiskWatch({
    log: options.log,
    directories: { data: dataDirectory, wal: join(dataDirectory, 'pg_wal') },
    nowMs: () => performance.now(),
  });
  const parameters = createParameterDuty(context);
  const hba = createHbaDuty(context);
  const logicalSlots = createLogicalSlots(context);
  const found = createFoundWatch(context);
  const archiver = startLeftoverArchiver({
    ...options.instance,
    announce: context.announce,
    withdraw: context.withdraw,
    log: options.log,
  });

  const registering = createRegistering({
    wanted: options.registration,
    ...(options.registrationObstacle === undefined ? {} : { obstacle: options.registrationObstacle }),
    registered: options.registered,
    postmaster: () => instance.postmaster(),
    isRemoved: () => duty.kind === 'removed' || (duty.kind === 'none' && duty.isRemoved === true),
    isDelayed: () => isDelayed(context),
    propose,
    announce: context.announce,
    withdraw: context.withdraw,
  });
  const register = (data: DataDirectory): Promise<boolean> => {
    member = memberOf(data);
    return registering.register(data);
  };

  const shownActivity = (): typeof activity => {
    const refused = tamper.refusal();
    if (refused !== undefined) return { condition: 'failed', message: refused };
    const guarded = guarding.message(instance.postmaster() !== undefined);
    return { ...activity, message: activity.message ?? guarded ?? announcements.text() };
  };

  const sendReport = async (roleAgeMsMax: number): Promise<void> => {
    reporter.refresh();
    reportCount += 1;
    const sequence = reportCount;
    const upkept = upkeep.latest();
    slotWatch.look(upkept);
    diskWatch.look(upkept);
    upstreamWatch.look();
    rivalWatch.look().catch(() => undefined);
    const report = await buildReport({
      instance,
      peer: options.peer,
      fenceEpoch: options.fence.epoch,
      member,
      activity: shownActivity(),
      parameters: withHba(parameters.report(), hba.problem()),
      sequence,
      startedAtMs: STARTED_AT_MS,
      roleAgeMsMax,
      isGuarded: options.protections.guard ? guarding.isGuarded() : undefined,
      upkeep: upkept,
      found: found.latest(),
      logicalSlots: logicalSlots.report(),
      restores: options.instance.bootstrap !== undefined,
      strange: (timeline) =>
        strangeReason(options.group(), options.instance.dataDirectory, { member, timeline }),
    });
    if (!closing.signal.aborted) options.onReport(report);
  };

  /** A report never throws; what cannot be read is left out. */
  const report = (roleAgeMsMax = 0): void => {
    if (closing.signal.aborted) return;
    sendReport(roleAgeMsMax).catch((error: unknown) =>
      options.log('warn', 'no report sent', { error: (error as Error).message }),
    );
  };

  const pass = async (signal: AbortSignal): Promise<void> => {
    instance.attach();
    hasRun ||= instance.postmaster() !== undefined;
    foundStoppedAtMs ??= performance.now();
    // A PostgreSQL that runs is not in the way of it, nor it in the way of that.
    if (!isTidy && instance.postmaster() === undefined) {
      await tidyUp(options);
      isTidy = true;
    }
    if (ends.current() !== undefined && instance.postmaster() !== undefined) context.clearUnexpectedEnd();
    const present = duty;
    if (await stopIntruder(context, present, { peer: options.peer, signal })) return;
    if (isTold && (await endStray(context, present, { peer: options.peer, signal }))) return;
    if (present.kind === 'none') {
      await found.look(signal);
      const isRegistered = isTold && (await register(await inspection.recent()));
      context.activity(undefined, isRegistered ? present.reason : (registering.refusal() ?? present.reason));
      return;
    }
    if (compareFences(present, options.fence) < 0) {
      context.activity(undefined, `waiting for the log to reach epoch ${options.fence.epoch}`);
      return;
    }
    // A cut makes the epoch durable itself, beside its other writes, before it reports: there each millisecond is an outage.
    if (present.kind !== 'cut') await options.fence.raise(present);
    // What an administrator has done to the data directory meanwhile is nobody's business yet.
    if (present.kind === 'hands-off') member ??= options.registered()?.member;
    else if (present.kind === 'removed') member = memberOf(await inspection.recent());
    else if (present.kind === 'primary' || present.kind === 'follow' || member === undefined) {
      const data = await dataFor(present);
      if (data !== undefined) await register(data);
    }
    if (present.kind === 'primary' || present.kind === 'follow') await rememberDatabase(context);
    if (guarding.isOn && (await isNoPrimary(present))) await guarding.dismiss();
    // Nothing of it is ours to put right any more.
    if (present.kind === 'removed') {
      await mustBeThisNodes(context, await inspection.recent());
      return carryOut(context, present, signal);
    }
    const carryOutDuty = async (): Promise<void> => {
      const looks = [parameters, hba, logicalSlots];
      const data = await dataFor(present);
      await carryOutWithLooks(context, present, { data, tamper, looks, signal });
    };
    const isRequested = await requests.carryOut(
      async (request) => {
        await mustBeThisNodes(context, await inspection.recent());
        return carryOutNodeRequest(context, request, carryOutDuty, signal);
      },
      () => signal.aborted && !closing.signal.aborted,
    );
    if (!isRequested) await carryOutDuty();
  };

  /** What is to be stopped is stopped also where its disk fails: undefined then. */
  const dataFor = (present: Duty): Promise<DataDirectory | undefined> => {
    const found = inspection.recent();
    return present.kind === 'stopped' || present.kind === 'hands-off' ? found.catch(() => undefined) : found;
  };

  /** Whether what runs here, if anything, is certainly none and is not to become one. */
  const isNoPrimary = async (present: Exclude<Duty, { kind: 'none' }>): Promise<boolean> => {
    if (present.kind === 'create' || present.kind === 'primary' || present.kind === 'promote') return false;
    if (instance.postmaster() === undefined) return true;
    if (present.kind !== 'follow' && present.kind !== 'hands-off' && present.kind !== 'removed') return false;
    const role = await instance.readRole({ timeoutMs: options.timing.queryTimeoutMs }).catch(() => undefined);
    return role?.kind === 'standby';
  };

  const loop = async (): Promise<void> => {
    while (!closing.signal.aborted) {
      passing = new AbortController();
      const { signal } = passing;
      const woken = new AbortController();
      wake = () => woken.abort();
      const startMs = performance.now();
      let everyMs = PASS_EVERY_MS;
      try {
        await pass(signal);
      } catch (error) {
        if (!signal.aborted) {
          const message = (error as Error).message;
          if (activity.message !== message)
            options.log('error', `cannot do its duty (${duty.kind})`, { error: message });
          context.activity(instance.postmaster() === undefined ? 'failed' : undefined, message);
          everyMs = RETRY_MS;
        }
      }
      const tookMs = performance.now() - startMs;
      // A pass that was broken off is followed by one at once, whose statements should not have to wait.
      if (!signal.aborted) report(tookMs < SHORT_PASS_MS ? tookMs : 0);
      if (!signal.aborted && !closing.signal.aborted)
        await delay(Math.max(PAUSE_MS_MIN, everyMs - tookMs), woken.signal);
    }
  };

  const reporter = setInterval(() => report(), REPORT_LATEST_MS);
  const logs = startLogRotation(options.instance, options.log);
  const running = loop();

  return {
    setDuty(next) {
      isTold = true;
      const isOther = keyOf(next) !== keyOf(duty);
      const isNews = isOther || JSON.stringify(next, bigintAsText) !== JSON.stringify(duty, bigintAsText);
      duty = next;
      if (isOther) {
        activity = { condition: undefined, message: undefined };
        passing.abort(new Error('the duty has changed'));
        logicalSlots.stop();
      }
      if (isNews) wake();
    },
    ask(request, asked) {
      const outcome = requests.ask(request, asked);
      wake();
      return outcome;
    },
    retry() {
      context.notes.failedClone = undefined;
      retryRestore(context);
      context.notes.noRoom = undefined;
      context.notes.failedFollows = undefined;
      registering.retry();
      archiver.wake();
      wake();
    },
    async close() {
      closing.abort();
      passing.abort(new Error('sentineld is stopping'));
      logicalSlots.stop();
      wake();
      clearInterval(reporter);
      guarding.close();
      await settledWithin(Promise.all([running, archiver.close(), logs.close()]), CLOSE_TIMEOUT_MS);
      await instance.close();
    },
  };
}

const CLOSE_TIMEOUT_MS = 5000;

const bigintAsText = (_key: string, value: unknown): unknown =>
  typeof value === 'bigint' ? value.toString() : value;
