// A server that runs in this node's data directory and holds another database than its group, such as the one before a replacement
// (docs/decisions/0020-major-upgrades.md). Nobody may take it for the group's, whoever has started it: a primary is stopped, and a standby is cut off
// from its upstream. No majority is needed for either. Must never touch somebody else's server that a wrong configuration has led us to, nor one
// of a group whose database is not known yet.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { PeerId } from '../base/ids.ts';
import { compareFences } from '../cluster/fence.ts';
import type { Duty } from '../failover/duties.ts';
import { readControlData } from '../postgres/control-data.ts';
import { readMemberFile } from '../postgres/member.ts';
import { isSameDirectory } from '../postgres/processes.ts';
import { readSettings } from '../postgres/settings.ts';
import { cutUpstream } from '../postgres/upstream.ts';
import type { AgentContext } from './context.ts';

/** No session goes on meanwhile, and one that was stopped cleanly may still be what somebody wants. */
const STOP_FAST_MS = 5000;

/** True where it was stopped, being a primary or one that could not be cut off; the next pass goes on from there. */
export async function endStray(
  context: AgentContext,
  duty: Duty,
  { peer, signal }: { readonly peer: PeerId; readonly signal: AbortSignal },
): Promise<boolean> {
  const { instance } = context;
  if (instance.postmaster() === undefined || !isLogAhead(context, duty)) return false;
  const { node, dataDirectory } = instance.options;
  const [group, registration] = [context.group(), context.registration()];
  if (group === undefined || registration?.peer !== peer || registration.group !== group.id) return false;
  const expected = group.systemIdentifier;
  if (expected === undefined || group.toAdopt.includes(node)) return false;
  const data = await context.dataDirectory().catch(() => undefined);
  if (data?.kind !== 'ready' || data.control.systemIdentifier === expected) return false;
  if (!(await isOurs(context))) return false;
  // It may have been promoted since it was looked at.
  const { state, systemIdentifier } = await readControlData(dataDirectory);
  if (systemIdentifier === expected) return false;
  const isStandby = state !== 'in production' && existsSync(join(dataDirectory, 'standby.signal'));
  if (isStandby && (instance.isForeign() || (await isCut(context, signal)))) return false;
  context.announce(
    `PostgreSQL ran in ${dataDirectory} with another database (system identifier ${systemIdentifier}, group ${group.id} has ${expected}); it is stopped`,
  );
  context.activity('stopping', 'stopping: it holds another database than the group');
  await instance.stop({ fastMs: STOP_FAST_MS, signal });
  return true;
}

/**
 * Any sentineld's server looks like one of ours from outside, whichever cluster or group it is of. Its data directory says whose it is; one that says
 * nothing, as it was never a member's, is ours only where it is reached as ours is.
 */
async function isOurs({ instance }: AgentContext): Promise<boolean> {
  const { dataDirectory, node, clusterName, socketDirectory } = instance.options;
  const named = await readMemberFile(dataDirectory);
  if (named === undefined) {
    const at = instance.postmaster()?.socketDirectory;
    return at !== undefined && isSameDirectory(at, socketDirectory);
  }
  const cluster = (await readSettings(dataDirectory)).get('cluster_name');
  return named.node === node && (cluster === undefined || cluster === clusterName);
}

/** Whether what the log says here is at least as new as all that this node has obeyed: before that the database that runs may be a later one. */
function isLogAhead({ fence, group }: AgentContext, duty: Duty): boolean {
  return duty.kind === 'none' ? (group()?.epoch ?? -1) >= fence.epoch : compareFences(duty, fence) >= 0;
}

async function isCut(context: AgentContext, signal: AbortSignal): Promise<boolean> {
  try {
    await context.once('cut off as stray', () => cut(context, signal));
    return true;
  } catch (error) {
    signal.throwIfAborted();
    context.log('warn', 'a standby with another database than the group could not be cut off', {
      error: (error as Error).message,
    });
    return false;
  }
}

/** It must acknowledge nothing to a primary of the database before. */
async function cut(context: AgentContext, signal: AbortSignal): Promise<void> {
  const { dataDirectory, passfileDirectory, user } = context.instance.options;
  context.notes.followed = undefined;
  const { ended } = await cutUpstream({
    ...{ dataDirectory, passfileDirectory, owner: user.owner, signal },
    timeoutMs: context.timing.cutTimeoutMs,
  });
  context.log('info', 'cut off: it holds another database than the group', { ended });
}
