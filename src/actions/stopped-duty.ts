// The duty of a fenced node: PostgreSQL is stopped, and again whenever somebody starts it.
import type { Duty } from '../failover/duties.ts';
import type { AgentContext } from './context.ts';

/** A standby that is asked to has ended within this; then it is made to. */
const FAST_MS = 10_000;

export async function carryOutStopped(
  context: AgentContext,
  duty: Extract<Duty, { readonly kind: 'stopped' }>,
  signal: AbortSignal,
): Promise<void> {
  const { instance } = context;
  if (instance.postmaster() !== undefined) {
    context.activity('stopping', duty.reason);
    await instance.stop({ fastMs: FAST_MS, signal });
    context.log('info', 'PostgreSQL is stopped: the node is fenced');
  }
  context.clearUnexpectedEnd();
  context.activity(undefined, duty.reason);
}
