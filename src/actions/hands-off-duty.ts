// The duty of a node that is paused or in maintenance: PostgreSQL belongs to the administrator. It is not started, stopped, rewound or
// cloned. One thing must not be: that it runs as a primary, which the log says another node is.
import type { Duty } from '../failover/duties.ts';
import { type AgentContext, query } from './context.ts';
import { ADVANCE_SLOTS_EVERY_MS, advanceIdleSlots, lookAfterSlots } from './slots.ts';

export async function carryOutHandsOff(
  context: AgentContext,
  duty: Extract<Duty, { readonly kind: 'hands-off' }>,
  signal: AbortSignal,
): Promise<void> {
  const { instance } = context;
  context.activity(undefined, duty.reason);
  if (instance.postmaster() === undefined) return;
  // It may be being stopped or started by hand: whatever cannot be asked is left alone.
  const role = await instance.readRole(query(context, signal)).catch(() => undefined);
  signal.throwIfAborted();
  if (role === undefined) return;
  if (role.kind === 'primary') {
    if (!(await context.confirms('hands-off', duty))) return;
    context.announce('PostgreSQL ran as a primary, which another node is by the log; it is stopped');
    await instance.stop({ fastMs: 0, signal });
    return;
  }
  // Its slots would keep all WAL on it for as long as this lasts.
  await lookAfterSlots(context, duty.slots, signal)
    .then(() => context.once('advance', () => advanceIdleSlots(context, {}, signal), ADVANCE_SLOTS_EVERY_MS))
    .catch(() => undefined);
}
