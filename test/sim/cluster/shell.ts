// What the daemon does when entries were applied: reads that waited, the agent's duty, the leader's decisions.
import type { Host, World } from '../world.ts';
import { settleRead } from './reads.ts';
import { dutyMayHaveChanged } from '../postgres/agent.ts';
import { considerLeading } from './leader.ts';

/** After entries were applied, or a snapshot was installed. */
export function appliedBatch(world: World, host: Host): void {
  const applied = host.replica?.state.appliedIndex ?? 0;
  if (host.reads.size > 0) {
    for (const [readId, handle] of host.reads) {
      if (handle.index === undefined || handle.index > applied) continue;
      host.reads.delete(readId);
      settleRead(handle);
    }
  }
  if (host.agent !== undefined) dutyMayHaveChanged(world, host);
  if (host.leading !== undefined) considerLeading(world, host);
}
