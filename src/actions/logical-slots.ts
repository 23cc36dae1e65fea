// The logical slots of the log on this node, whatever its part: a round every few seconds, beside the passes, so that a slot that takes its time to be made or
// moved on holds nothing up. Must never touch a file of settings from within a round: a pass, and a cut, does that.
import type { LogicalSlotReport } from '../cluster/report.ts';
import type { Duty } from '../failover/duties.ts';
import { withDeadline } from '../base/clock.ts';
import { findLogicalSlots } from '../postgres/logical-slots.ts';
import { keyOf } from './carry-out.ts';
import { type AgentContext, query } from './context.ts';
import { type Round, dropIdle } from './logical-slot-round.ts';
import { type CopyNotes, copyMissingSlots } from './logical-slot-copy.ts';
import { type KnownSlot, isFitAfter, openSlotMemory } from './logical-slot-memory.ts';
import { primaryRound } from './logical-slots-primary.ts';
import { type Bars, cascadeRound, copyRound, syncRound } from './logical-slots-standby.ts';
import { followsPrimary, keepSlotSync } from './slot-sync.ts';

export interface LogicalSlots {
  /** One look; called with each pass, and cheap where nothing is to be done. Throws only the signal's reason. */
  look(duty: Duty, signal: AbortSignal): Promise<void>;
  /** The duty is another: a round under way ends. */
  stop(): void;
  /** PostgreSQL does not run, and is about to be started as a standby: a few seconds at most. Never throws but the signal's reason. */
  beforeStart(duty: Duty, signal: AbortSignal): Promise<void>;
  /** It is about to be promoted: what must not be gone on from is dropped, as far as that takes no time. Never throws but the signal's reason. */
  beforePromotion(duty: PromoteDuty, signal: AbortSignal): Promise<void>;
  report(): readonly LogicalSlotReport[];
}

const ROUND_EVERY_MS = 2000;
/** What was found says nothing any more. */
const STALE_MS = 10_000;
/** No promotion waits longer for slots; the primary drops then what is left, and says that it is lost. */
const PROMOTION_WAITS_MS = 500;

type PrimaryOrFollow = Extract<Duty, { readonly kind: 'primary' | 'follow' }>;
type PromoteDuty = Extract<Duty, { readonly kind: 'promote' }>;

export function createLogicalSlots(context: AgentContext): LogicalSlots {
  const { instance } = context;
  const { options } = instance;
  const { version: majorVersion } = options.binaries;
  const memory = openSlotMemory(options.logicalSlotsFile);
  const bars: Bars = new Map();
  const copyNotes: CopyNotes = new Map();
  let reports = new Map<string, LogicalSlotReport>();
  /** Those of the last round that came to its end. */
  let found = reports;
  let reportedPid: number | undefined;
  let reportedAtMs = -Infinity;
  let begunAtMs = -Infinity;
  let running: { readonly key: string; readonly abort: AbortController } | undefined;
  let failure: string | undefined;
  let lookedStream: string | undefined;

  const roundOf = (
    { incarnation }: PrimaryOrFollow,
    signal: AbortSignal,
    next: Map<string, LogicalSlotReport>,
  ): Round => ({
    ...{ context, majorVersion, incarnation, signal },
    // What a round has found that was broken off says nothing of what has come since.
    memory: {
      ...memory,
      note: async (member, ...slots) => {
        signal.throwIfAborted();
        await memory.note(member, ...slots);
      },
    },
    slots: options.logicalSlots(),
    // Where the duty has changed meanwhile, nothing more is asked: another statement may be under way on that session.
    find: async () => {
      signal.throwIfAborted();
      const present = await findLogicalSlots(majorVersion, (text) =>
        instance.session.query(text, [], query(context, signal)),
      );
      signal.throwIfAborted();
      return present;
    },
    noteOf: (name) => found.get(name)?.note,
    say: (report) => void next.set(report.name, report),
  });

  const lookAfter = async (round: Round, duty: PrimaryOrFollow): Promise<void> => {
    if (duty.kind === 'primary') await primaryRound(round, duty);
    else if (followsPrimary(context, duty))
      await (majorVersion >= 17 ? syncRound(round, duty) : copyRound(round, duty, { bars, copyNotes }));
    // Else the log has moved on, and the duty has not followed yet: nothing is dropped for that.
    else if (options.isCascading()) await cascadeRound(round, duty);
  };

  const work = async (duty: PrimaryOrFollow, signal: AbortSignal): Promise<void> => {
    const pid = instance.postmaster()?.pid;
    const next = new Map<string, LogicalSlotReport>();
    const round = roundOf(duty, signal, next);
    // One that somebody else has started may be a standby by now.
    if (instance.isForeign() && (await instance.readRole(query(context, signal))).kind !== 'primary') return;
    if (!(await isIdle())) await lookAfter(round, duty);
    signal.throwIfAborted();
    found = next;
    tell(next, pid);
  };

  const tell = (next: Map<string, LogicalSlotReport>, pid: number | undefined): void => {
    reports = next;
    reportedPid = pid;
    reportedAtMs = performance.now();
  };

  const tellFailure = ({ message }: Error): void => {
    const pid = instance.postmaster()?.pid;
    // What was found stands for a while. Before that, as after a promotion, and later a person is told why nobody knows.
    // Of one that is being adopted nothing is said then: a switchover waits until its slots were looked at.
    const isDue = !instance.isForeign();
    if (isDue && (pid !== reportedPid || reports.size === 0 || performance.now() - reportedAtMs > STALE_MS)) {
      const note = `cannot be looked after: ${message}`;
      tell(new Map(options.logicalSlots().map(({ name }) => [name, { name, isReady: false, note }])), pid);
      reportedAtMs = -Infinity;
    }
    if (message === failure) return;
    context.log('warn', 'cannot look after the logical slots', { error: message });
    failure = message;
  };

  const begin = (duty: PrimaryOrFollow): void => {
    begunAtMs = performance.now();
    const present = { key: keyOf(duty), abort: new AbortController() };
    running = present;
    work(duty, present.abort.signal)
      .then(
        () => void (failure = undefined),
        (error: unknown) => {
          if (!present.abort.signal.aborted) tellFailure(error as Error);
        },
      )
      .finally(() => {
        if (running === present) running = undefined;
      });
  };

  const stop = (): void => {
    running?.abort.abort(new Error('the duty has changed'));
    running = undefined;
    begunAtMs = -Infinity;
    // What was found under another primary says nothing of this one.
    reportedPid = undefined;
  };

  const isIdle = async (): Promise<boolean> => {
    if (options.logicalSlots().length > 0) return false;
    const member = context.localMember();
    return member === undefined || (await memory.all(member)).length === 0;
  };

  return {
    async look(duty, signal) {
      if (instance.postmaster() === undefined) return;
      if (duty.kind !== 'primary' && duty.kind !== 'follow') return;
      if (instance.isForeign() && !isGoingOn(duty)) return;
      // What was found of a copy held for the stream before.
      const isOtherStream = lookedStream !== context.notes.streaming?.stream;
      if (!isOtherStream && performance.now() - begunAtMs < ROUND_EVERY_MS) return;
      if (running !== undefined) {
        if (running.key !== keyOf(duty)) stop();
        return;
      }
      lookedStream = context.notes.streaming?.stream;
      try {
        if (duty.kind === 'follow') await keepSlotSync(context, duty, signal);
        signal.throwIfAborted();
        begin(duty);
      } catch (error) {
        signal.throwIfAborted();
        tellFailure(error as Error);
        begunAtMs = performance.now();
      }
    },
    stop,
    async beforeStart(duty, signal) {
      // What it would still find was before.
      stop();
      if (majorVersion >= 17 || duty.kind !== 'follow' || !followsPrimary(context, duty)) return;
      bars.clear();
      try {
        const slots = options.logicalSlots().filter(({ standing }) => standing === 'made');
        await copyMissingSlots(context, duty, { memory, slots, notes: copyNotes, signal });
      } catch (error) {
        signal.throwIfAborted();
        context.log('warn', 'logical slots could not be copied', { error: (error as Error).message });
      }
    },
    async beforePromotion(duty, signal) {
      stop();
      const member = context.localMember();
      if (member === undefined) return;
      const limited = AbortSignal.any([signal, AbortSignal.timeout(PROMOTION_WAITS_MS)]);
      const judging = memory.judge(member, verdictBefore(context, duty));
      const unfitDropped = judging.then((known) =>
        dropUnfit({ context, signal: limited }, known.filter(isUnfitCopy)),
      );
      const kept = judging.then(() => memory.keep());
      kept.catch(() => undefined);
      try {
        await withDeadline(
          'logical slots before the promotion',
          PROMOTION_WAITS_MS,
          unfitDropped.then(() => kept),
        );
      } catch (error) {
        signal.throwIfAborted();
        context.log('warn', 'the primary has to see to logical slots that are not fit to go on from', {
          error: (error as Error).message,
        });
      }
    },
    report: () => (instance.postmaster()?.pid === reportedPid ? [...reports.values()] : []),
  };
}

/**
 * Which of those that this agent knows may be gone on from once that promotion is over: all others are unfit. By how things stand when this is called,
 * whenever it is asked.
 */
function verdictBefore(
  context: AgentContext,
  { timeline, from }: PromoteDuty,
): (slot: KnownSlot) => KnownSlot {
  const branches = context.group()?.branches ?? [];
  const reign = { timeline, parent: from.timeline, opened: branches.map((branch) => branch.timeline) };
  const stream = context.notes.streaming?.stream;
  return (slot) => {
    if (slot.standing !== 'fit' || slot.timeline === timeline) return slot;
    // Of a copy, where WAL may have come by another stream since, nobody knows what that did to it: also where this process has seen none yet.
    const isOutdated = slot.stream !== undefined && slot.stream !== stream;
    return isOutdated || !isFitAfter(slot, reign) ? { ...slot, standing: 'unfit' } : { ...slot, timeline };
  };
}

/** A primary that is being adopted: what it has of slots has to be known before anybody is promoted, who would make another one of that name. */
const isGoingOn = (duty: PrimaryOrFollow): boolean => duty.kind === 'primary' && duty.isUnprotected === true;

const isUnfitCopy = ({ standing, isOurs }: KnownSlot): boolean => standing === 'unfit' && isOurs;

async function dropUnfit(
  round: Pick<Round, 'context' | 'signal'>,
  unfit: readonly KnownSlot[],
): Promise<void> {
  let failure: Error | undefined;
  for (const slot of unfit) {
    // The promotion has gone on, on the same session.
    round.signal.throwIfAborted();
    await dropIdle(round, slot).catch((error: unknown) => (failure ??= error as Error));
  }
  if (failure !== undefined) throw failure;
}
