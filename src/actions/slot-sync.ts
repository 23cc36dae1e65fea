// Whether a standby synchronises its upstream's logical slots by PostgreSQL's own means (17 and later).
import type { AgentContext } from './context.ts';
import type { FollowDuty } from './upstream-source.ts';

/** Undefined: this version has no such means. PostgreSQL synchronises from a primary only, never from another standby. */
export function slotSyncDue(context: AgentContext, duty: FollowDuty): boolean | undefined {
  const { options } = context.instance;
  if (options.binaries.version < 17) return undefined;
  return options.logicalSlots().length > 0 && context.group()?.phase.primary === duty.upstream.node;
}
