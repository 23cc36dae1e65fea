// Logical slots on the primary: made once, found to be there ever after, said to be lost where they are not, and dropped once a person has
// unset them.
import type { Duty } from '../failover/duties.ts';
import type { LogicalSlot } from '../cluster/state.ts';
import { type Found, createLogicalSlot } from '../postgres/logical-slots.ts';
import { query } from './context.ts';
import { closeFresh, connectFresh } from './fresh-session.ts';
import { type PrimaryStep, primaryStep } from './logical-slot-steps.ts';
import { DROP_IDLE, type Round } from './logical-slot-round.ts';
import { dropForgotten } from './logical-slots-forgotten.ts';

type PrimaryDuty = Extract<Duty, { readonly kind: 'primary' }>;

/** It waits for transactions that run. */
const CREATE_TIMEOUT_MS = 60_000;

export async function primaryRound(round: Round, duty: PrimaryDuty): Promise<void> {
  const { context, memory, slots, signal } = round;
  const member = context.localMember();
  if (member === undefined) return;
  await dropForgotten(round, member);
  const found = await round.find();
  const known = await memory.all(member);
  for (const slot of slots) {
    const { name, setAt } = slot;
    const step = primaryStep({
      slot,
      found: found.slots.find((each) => each.name === name),
      known: known.find((each) => each.name === name && each.setAt === setAt)?.standing,
      node: context.instance.options.node,
      walLevel: found.walLevel,
      majorVersion: round.majorVersion,
      before: round.noteOf(name),
    });
    signal.throwIfAborted();
    try {
      await carryOut(round, duty, { slot, step, found });
    } catch (error) {
      signal.throwIfAborted();
      round.say({ name, isReady: false, note: (error as Error).message });
    }
  }
}

async function carryOut(
  round: Round,
  duty: PrimaryDuty,
  { slot, step, found }: { readonly slot: LogicalSlot; readonly step: PrimaryStep; readonly found: Found },
): Promise<void> {
  const { context, memory, signal } = round;
  const { name, setAt } = slot;
  const member = context.localMember();
  if (member === undefined) return;
  const propose = (outcome: 'made' | 'found' | 'lost' | 'gone', reason?: string): Promise<boolean> =>
    context.propose({
      ...{ kind: 'logical-slot', group: duty.group, epoch: duty.epoch, node: context.instance.options.node },
      ...{ name, setAt, outcome, reason },
    });
  switch (step.kind) {
    case 'stay':
      if (step.isReady) await memory.note(member, { name, setAt, standing: 'own' });
      round.say({ name, isReady: step.isReady, note: step.note });
      return;
    case 'create':
      // First: whatever comes in between, it is known as ours.
      await memory.note(member, { name, setAt, standing: 'own' });
      await create(round, slot).catch(async (error: unknown) => {
        await memory.forget(member, name);
        throw error;
      });
      await propose('made');
      round.say({ name, isReady: true, note: undefined });
      return;
    case 'drop':
      context.log('info', `dropping logical slot ${name}`, {
        reason: step.reason ?? 'it is no longer wanted',
      });
      await context.instance.session.query(DROP_IDLE, [name], query(context, signal));
      if (step.outcome === undefined || (await propose(step.outcome, step.reason)))
        await memory.forget(member, name);
      round.say({ name, isReady: false, note: step.reason });
      return;
    case 'say': {
      const isThere = found.slots.some((each) => each.name === name);
      if (step.outcome === 'gone' && isThere)
        context.announce(`logical slot ${name} is left as it is: somebody else has made it`);
      if (step.outcome === 'lost')
        context.announce(
          `logical slot ${name} is lost: ${step.reason ?? ''}; its consumer has to begin anew`,
        );
      const isSaid = await propose(step.outcome, step.reason);
      if (step.outcome === 'found' && isSaid) await memory.note(member, { name, setAt, standing: 'own' });
      // A copy that is not fit is known as such for as long as it is there.
      if ((step.outcome === 'gone' || (step.outcome === 'lost' && !isThere)) && isSaid)
        await memory.forget(member, name);
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
    await createLogicalSlot(client, majorVersion, slot);
    context.log('info', `logical slot ${slot.name} was made`);
  } finally {
    signal.removeEventListener('abort', abort);
    closeFresh(client);
  }
}
