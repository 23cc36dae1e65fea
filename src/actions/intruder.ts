// A server that somebody else has started in our data directory, most often the operating system after a reboot, and that takes writes
// which the log gives to another node. It enforces no rule, so that it is stopped at once: no majority is needed to stop that. Must never
// stop a primary that is being adopted, or another database.
import type { PeerId } from '../base/ids.ts';
import { compareFences } from '../cluster/fence.ts';
import type { Duty } from '../failover/duties.ts';
import { readControlData } from '../postgres/control-data.ts';
import type { AgentContext } from './context.ts';

/** Where one may run as a primary, and what the others do about it is their own. */
const LOOKED_AT: ReadonlySet<Duty['kind']> = new Set(['none', 'follow', 'cut', 'hands-off']);

/** True where there was one; the next pass goes on from there. */
export async function stopIntruder(
  context: AgentContext,
  duty: Duty,
  { peer, signal }: { readonly peer: PeerId; readonly signal: AbortSignal },
): Promise<boolean> {
  const { instance } = context;
  if (!instance.isForeign()) return false;
  const isBehind = duty.kind !== 'none' && compareFences(duty, context.fence) < 0;
  if (!isBehind && !LOOKED_AT.has(duty.kind)) return false;
  const { node, dataDirectory } = instance.options;
  const group = context.group();
  if (group === undefined || context.registration()?.peer !== peer) return false;
  // Whatever is asked of it, a person has said so, and the duty confirms it.
  if (group.phase.primary === node && (group.phase.kind === 'running' || group.toAdopt.includes(node)))
    return false;
  const control = await readControlData(dataDirectory).catch(() => undefined);
  if (control?.state !== 'in production' || control.systemIdentifier !== group.systemIdentifier) return false;
  context.announce(
    `PostgreSQL was started by somebody else and took writes, which are those of ${group.phase.primary} by the log; it is stopped`,
  );
  context.activity('stopping', 'stopping: somebody else has started it as a primary');
  await instance.stop({ fastMs: 0, signal });
  return true;
}
