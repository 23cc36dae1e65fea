// The logical slots of the log on this node, whatever its part: a round every few seconds, beside the passes, so that a slot that takes its time to be made or
// moved on holds nothing up. Must never touch a file of settings from within a round: a pass, and a cut, does that.
import type { LogicalSlotReport } from '../cluster/report.ts';
import type { Duty } from '../failover/duties.ts';
import { withDeadline } from '../base/clock.ts';
import type { MemberId } from '../base/ids.ts';
import { findLogicalSlots } from '../postgres/logical-slots.ts';
import { keyOf } from './carry-out.ts';
import { type AgentContext, query } from './context.ts';
import { DROP_IDLE, type Round, reignOf } from './logical-slot-round.ts';
import { type CopyNotes, copyMissingSlots } from './logical-slot-copy.ts';
import { type KnownSlot, type SlotMemory, isFitAfter, openSlotMemory } from './logical-slot-memory.ts';
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
  let reportedPid: number | undefined;
  let begunAtMs = -Infinity;
  let running: { readonly key: string; readonly abort: AbortController } | undefined;
  let failure: string | undefined;
  let lookedStream: string | undefined;
  /** What the file could not be told before the promotion: until it is, nothing that it has counts on the primary. */
  let unmarked: (() => Promise<unknown>) | undefined;

  const roundOf = (
    { incarnation }: PrimaryOrFollow,
    signal: AbortSignal,
    next: Map<string, LogicalSlotReport>,
  ): Round => ({
    ...{ context, memory, majorVersion, incarnation, signal },
    slots: options.logicalSlots(),
    // Where the duty has changed meanwhile, nothing more is asked: another statement may be under way on that session.
    find: async () => {
      signal.throwIfAborted();
      const found = await findLogicalSlots(majorVersion, (text) =>
        instance.session.query(text, [], query(context, signal)),
      );
      signal.throwIfAborted();
      return found;
    },
    noteOf: (name) => reports.get(name)?.note,
    say: (report) => void next.set(report.name, report),
  });

  const work = async (duty: PrimaryOrFollow, signal: AbortSignal): Promise<void> => {
    const pid = instance.postmaster()?.pid;
    const next = new Map<string, LogicalSlotReport>();
    const round = roundOf(duty, signal, next);
    if (duty.kind === 'primary') {
      await unmarked?.();
      unmarked = undefined;
      await primaryRound(round, duty);
    } else if (followsPrimary(context, duty))
      await (majorVersion >= 17 ? syncRound(round, duty) : copyRound(round, duty, { bars, copyNotes }));
    // Else the log has moved on, and the duty has not followed yet: nothing is dropped for that.
    else if (options.isCascading()) await cascadeRound(round, duty);
    signal.throwIfAborted();
    reports = next;
    reportedPid = pid;
  };

  const tellFailure = ({ message }: Error): void => {
    const pid = instance.postmaster()?.pid;
    if (reports.size === 0) {
      // Nothing was ever found: a person is told why.
      const note = `cannot be looked after: ${message}`;
      reports = new Map(options.logicalSlots().map(({ name }) => [name, { name, isReady: false, note }]));
      reportedPid = pid;
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
      if (instance.postmaster() === undefined || instance.isForeign()) return;
      if (duty.kind !== 'primary' && duty.kind !== 'follow') return;
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
        if (await isIdle()) {
          reports = new Map();
          begunAtMs = performance.now();
          return;
        }
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
      try {
        const limited = AbortSignal.any([signal, AbortSignal.timeout(PROMOTION_WAITS_MS)]);
        const marking = unfitMarker(context, { memory, member, duty });
        unmarked = marking;
        const dropping = marking().then((unfit) => {
          unmarked = undefined;
          return dropUnfit(context, unfit, limited);
        });
        await withDeadline('logical slots before the promotion', PROMOTION_WAITS_MS, dropping);
      } catch (error) {
        signal.throwIfAborted();
        context.log('warn', 'logical slots that are not fit to go on from are left for the primary to drop', {
          error: (error as Error).message,
        });
      }
    },
    report: () => (instance.postmaster()?.pid === reportedPid ? [...reports.values()] : []),
  };
}

/**
 * Notes as unfit what must not be gone on from once that promotion is over, and returns it: of those that this agent knows, for what it knows nothing of is
 * not taken for fit. By how things stand when this is called, whenever the work is done.
 */
function unfitMarker(
  context: AgentContext,
  options: { readonly memory: SlotMemory; readonly member: MemberId; readonly duty: PromoteDuty },
): () => Promise<readonly KnownSlot[]> {
  const { memory, member, duty } = options;
  const reign = reignOf(context, duty.timeline, duty.from.timeline);
  const { streaming } = context.notes;
  /** It has streamed since that was found: WAL has come of which nobody knows what it did to the copy. */
  const isOutdated = ({ stream }: KnownSlot): boolean =>
    stream !== undefined && streaming !== undefined && stream !== streaming.stream;
  return async () => {
    const unfit = (await memory.all(member)).filter(
      (slot) => slot.standing !== 'gone' && (!isFitAfter(slot, reign) || isOutdated(slot)),
    );
    if (unfit.length > 0)
      await memory.note(member, ...unfit.map((slot) => ({ ...slot, standing: 'unfit' as const })));
    return unfit;
  };
}

async function dropUnfit(
  context: AgentContext,
  unfit: readonly KnownSlot[],
  signal: AbortSignal,
): Promise<void> {
  let failure: Error | undefined;
  for (const { name } of unfit.filter(({ isOurs }) => isOurs)) {
    // The promotion has gone on, on the same session.
    signal.throwIfAborted();
    await context.instance.session
      .query(DROP_IDLE, [name], query(context, signal))
      .catch((error: unknown) => (failure ??= error as Error));
  }
  if (failure !== undefined) throw failure;
}
