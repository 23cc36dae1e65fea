// The logical slots of the log on this node, whatever its part: a round every few seconds, beside the passes, so that a slot that takes its time to be made or
// moved on holds nothing up. Must never touch a file of settings from within a round: a pass, and a cut, does that.
import type { LogicalSlotReport } from '../cluster/report.ts';
import type { Duty } from '../failover/duties.ts';
import { findLogicalSlots } from '../postgres/logical-slots.ts';
import { changeSlotSync } from '../postgres/upstream.ts';
import { keyOf } from './carry-out.ts';
import { type AgentContext, query } from './context.ts';
import { DROP_IDLE, type Round } from './logical-slot-round.ts';
import { type CopyNotes, copyMissingSlots } from './logical-slot-copy.ts';
import { openSlotMemory } from './logical-slot-memory.ts';
import { primaryRound } from './logical-slots-primary.ts';
import { type Bars, copyRound, syncRound } from './logical-slots-standby.ts';
import { slotSyncDue } from './slot-sync.ts';

export interface LogicalSlots {
  /** One look; called with each pass, and cheap where nothing is to be done. Throws only the signal's reason. */
  look(duty: Duty, signal: AbortSignal): Promise<void>;
  /** The duty is another: a round under way ends. */
  stop(): void;
  /** PostgreSQL does not run, and is about to be started as a standby. Never throws. */
  beforeStart(duty: Duty): Promise<void>;
  /** It is about to be promoted: copies that must not be gone on from are dropped. Never throws but the signal's reason. */
  beforePromotion(signal: AbortSignal): Promise<void>;
  report(): readonly LogicalSlotReport[];
}

const ROUND_EVERY_MS = 2000;

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

  const roundOf = (signal: AbortSignal, next: Map<string, LogicalSlotReport>): Round => ({
    ...{ context, memory, majorVersion, signal },
    slots: options.logicalSlots(),
    find: () =>
      findLogicalSlots(majorVersion, (text) => instance.session.query(text, [], query(context, signal))),
    noteOf: (name) => reports.get(name)?.note,
    say: (report) => void next.set(report.name, report),
  });

  const work = async (duty: Duty, signal: AbortSignal): Promise<void> => {
    const pid = instance.postmaster()?.pid;
    const next = new Map<string, LogicalSlotReport>();
    const round = roundOf(signal, next);
    if (duty.kind === 'primary') await primaryRound(round, duty);
    else if (duty.kind === 'follow')
      await (majorVersion >= 17 ? syncRound(round) : copyRound(round, duty, { bars, copyNotes }));
    signal.throwIfAborted();
    reports = next;
    reportedPid = pid;
  };

  const begin = (duty: Duty): void => {
    begunAtMs = performance.now();
    const present = { key: keyOf(duty), abort: new AbortController() };
    running = present;
    work(duty, present.abort.signal)
      .then(
        () => void (failure = undefined),
        (error: unknown) => {
          const { message } = error as Error;
          if (present.abort.signal.aborted || message === failure) return;
          context.log('warn', 'cannot look after the logical slots', { error: message });
          failure = message;
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
      if (performance.now() - begunAtMs < ROUND_EVERY_MS) return;
      if (running !== undefined) {
        if (running.key !== keyOf(duty)) stop();
        return;
      }
      try {
        await keepSlotSync(context, duty);
        if (await isIdle()) {
          reports = new Map();
          begunAtMs = performance.now();
          return;
        }
        begin(duty);
      } catch (error) {
        signal.throwIfAborted();
        context.log('warn', 'cannot look after the logical slots', { error: (error as Error).message });
        begunAtMs = performance.now();
      }
    },
    stop,
    async beforeStart(duty) {
      if (majorVersion >= 17 || duty.kind !== 'follow') return;
      bars.clear();
      try {
        const slots = options.logicalSlots().filter(({ standing }) => standing === 'made');
        await copyMissingSlots(context, duty, { memory, slots, notes: copyNotes });
      } catch (error) {
        context.log('warn', 'logical slots could not be copied', { error: (error as Error).message });
      }
    },
    async beforePromotion(signal) {
      stop();
      const member = context.localMember();
      if (majorVersion >= 17 || member === undefined) return;
      try {
        for (const { name, standing } of await memory.all(member)) {
          if (standing !== 'unready') continue;
          await instance.session.query(DROP_IDLE, [name], query(context, signal));
        }
      } catch (error) {
        signal.throwIfAborted();
        // It is dropped once this node is the primary.
        context.log('warn', 'a copied logical slot that is not fit to go on from could not be dropped', {
          error: (error as Error).message,
        });
      }
    },
    report: () => (instance.postmaster()?.pid === reportedPid ? [...reports.values()] : []),
  };
}

/** In a pass: a cut writes the same file. */
async function keepSlotSync(context: AgentContext, duty: Duty): Promise<void> {
  if (duty.kind !== 'follow') return;
  const syncsSlots = slotSyncDue(context, duty);
  if (syncsSlots === undefined) return;
  const { dataDirectory, user } = context.instance.options;
  if (await changeSlotSync({ dataDirectory, syncsSlots, owner: user.owner }))
    context.log('info', `slot synchronisation is ${syncsSlots ? 'on' : 'off'}`);
}
