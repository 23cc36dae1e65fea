// Logical slots on the primary: made once, found to be there ever after, said to be lost where they are not, and dropped once a person has
// unset them.
import type { Duty } from '../failover/duties.ts';
import type { CommandOf } from '../cluster/applied.ts';
import { logicalSlotText } from '../cluster/logical-slots.ts';
import type { LogicalSlot } from '../cluster/state.ts';
import { type Found, createLogicalSlot } from '../postgres/logical-slots.ts';
import { closeFresh, connectFresh } from './fresh-session.ts';
import { type KnownSlot, isFitOrNew } from './logical-slot-memory.ts';
import { type PrimaryStep, isSame, primaryStep } from './logical-slot-steps.ts';
import { NOTICE_CLOSED, type Round, dropIdle } from './logical-slot-round.ts';
import { dropForgotten } from './logical-slots-forgotten.ts';

type Outcome = CommandOf<'logical-slot'>['outcome'];
type PrimaryDuty = Extract<Duty, { readonly kind: 'primary' }>;

/** It waits for transactions that run. */
const CREATE_TIMEOUT_MS = 60_000;

export async function primaryRound(round: Round, duty: PrimaryDuty): Promise<void> {
  const { context, memory, slots, signal } = round;
  const member = context.localMember();
  if (member === undefined) return;
  await dropForgotten(round, member, { timeline: duty.timeline });
  const found = await round.find();
  const known = await memory.all(member);
  for (const slot of slots) {
    const { name, setAt } = slot;
    const noted = known.find((each) => each.name === name);
    const knownSlot = noted?.setAt === setAt ? noted : undefined;
    const step = primaryStep({
      slot,
      found: found.slots.find((each) => each.name === name),
      known: knownSlot,
      former: knownSlot === undefined ? noted : undefined,
      timeline: duty.timeline,
      node: context.instance.options.node,
      walLevel: found.walLevel,
      walEnd: found.walEnd,
      majorVersion: round.majorVersion,
      before: round.noteOf(name),
    });
    signal.throwIfAborted();
    const isAbsent = !found.slots.some((each) => each.name === name);
    const told: Round = {
      ...round,
      say: (report) => round.say(isAbsent && !report.isReady ? { ...report, isAbsent } : report),
    };
    try {
      await carryOut(told, duty, { slot, step, found, known: knownSlot });
    } catch (error) {
      signal.throwIfAborted();
      const why = 'reason' in step && step.reason !== undefined ? `${step.reason}; ` : '';
      told.say({ name, isReady: false, note: `${why}${(error as Error).message}` });
    }
  }
}

async function carryOut(
  round: Round,
  duty: PrimaryDuty,
  {
    slot,
    step,
    found,
    known,
  }: {
    readonly slot: LogicalSlot;
    readonly step: PrimaryStep;
    readonly found: Found;
    readonly known: KnownSlot | undefined;
  },
): Promise<void> {
  const { context, memory, signal } = round;
  const { name, setAt } = slot;
  const text = logicalSlotText(slot);
  const member = context.localMember();
  if (member === undefined) return;
  const note = (standing: KnownSlot['standing'], isOurs: boolean): Promise<void> =>
    memory.note(member, {
      ...{ name, setAt, standing, isOurs, text },
      ...{ timeline: duty.timeline, incarnation: round.incarnation },
    });
  const wasOurs = known?.isOurs === true && slot.isOurs;
  const here = found.slots.find((each) => each.name === name && isSame(each, slot));
  const noteGone = (): Promise<void> => note('gone', wasOurs && here?.isLost === true);
  const propose = (outcome: Outcome, reason?: string): Promise<boolean> =>
    context.propose({
      ...{ kind: 'logical-slot', group: duty.group, epoch: duty.epoch, node: context.instance.options.node },
      ...{ name, setAt, outcome, reason },
    });
  switch (step.kind) {
    case 'stay':
      if (step.isReady) await note('fit', wasOurs);
      else if (step.isGone === true) await noteGone();
      round.say({ name, isReady: step.isReady, note: step.note });
      return;
    case 'create':
      // First: whatever comes in between, it is known as ours, here and wherever PostgreSQL synchronises it.
      if (!slot.isOurs && !(await propose('making'))) {
        round.say({ name, isReady: false, note: 'it is made once the log takes that' });
        return;
      }
      signal.throwIfAborted();
      await note('fit', true);
      await create(round, slot).catch(async (error: unknown) => {
        // The server says that it has made none; else nobody knows.
        if ((error as { severity?: string }).severity !== undefined) await memory.forget(member, name);
        throw error;
      });
      await propose('made');
      round.say({ name, isReady: true, note: undefined });
      return;
    case 'drop':
      // Somebody has begun to read from it, or has dropped it: the next round sees which.
      if (!(await dropIdle(round, { name, text }))) {
        round.say({ name, isReady: false, note: step.reason });
        return;
      }
      context.log('info', `logical slot ${name} was dropped`, {
        reason: step.reason ?? 'it is no longer wanted',
      });
      if (step.outcome !== undefined && (await propose(step.outcome, step.reason)) && step.outcome === 'gone')
        await memory.forget(member, name);
      round.say({ name, isReady: false, note: step.reason });
      return;
    case 'say': {
      if (step.outcome === 'gone' && found.slots.some((each) => each.name === name))
        context.announce(
          `logical slot ${name} is left as it is: it is not known to be of pg-sentinel's making`,
        );
      if (step.outcome === 'lost') {
        context.announce(
          `logical slot ${name} is lost: ${step.reason ?? ''}; its consumer has to begin anew`,
        );
        // First: whatever is there is not to pass as a new one once the log says that it is lost.
        if (here?.isLost === false) await note('unfit', wasOurs);
        else await noteGone();
      }
      if (step.outcome === 'found') await note('fit', false);
      const isSaid = await propose(step.outcome, step.reason);
      // One that is there and of which nobody knows that it is fit is not to pass for that once it is set again.
      const isLeft = here !== undefined && !isFitOrNew(known, duty.timeline);
      if (step.outcome === 'gone' && isSaid)
        await (isLeft ? note('left', false) : memory.forget(member, name));
      round.say({ name, isReady: step.outcome === 'found' || step.outcome === 'made', note: step.reason });
    }
  }
}

async function create({ context, majorVersion, signal }: Round, slot: LogicalSlot): Promise<void> {
  const client = await connectFresh(context, {
    name: 'pg_sentinel_slots',
    database: slot.database,
    queryTimeoutMs: CREATE_TIMEOUT_MS,
  });
  const abort = (): void => closeFresh(client);
  signal.addEventListener('abort', abort);
  try {
    signal.throwIfAborted();
    // The server ends it as well, and takes a slot that is half made away.
    await client.query(`set statement_timeout = ${CREATE_TIMEOUT_MS - 1000}`);
    await client.query(NOTICE_CLOSED);
    await createLogicalSlot(client, majorVersion, slot);
    context.log('info', `logical slot ${slot.name} was made`);
  } finally {
    signal.removeEventListener('abort', abort);
    closeFresh(client);
  }
}
