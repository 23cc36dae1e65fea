// The duty of a node that a person has taken out: its PostgreSQL is cut off and left running, or stopped, or its data directory removed as
// well. Each pass looks at what is, so that it goes on wherever it was broken off. Must never touch another data directory than the one
// that was taken out.
import type { Duty } from '../failover/duties.ts';
import { readControlData } from '../postgres/control-data.ts';
import { readMemberFile } from '../postgres/member.ts';
import { exists, discardDataDirectory, removeDiscarded } from '../postgres/replaced.ts';
import { cutUpstream } from '../postgres/upstream.ts';
import { type AgentContext, query } from './context.ts';
import type { DataDirectory } from './data-directory.ts';

type RemovedDuty = Extract<Duty, { readonly kind: 'removed' }>;

/** A standby that is asked to has ended within this; then it is made to. */
const FAST_MS = 10_000;

export async function carryOutRemoved(
  context: AgentContext,
  duty: RemovedDuty,
  signal: AbortSignal,
): Promise<void> {
  const { instance } = context;
  if (instance.postmaster() !== undefined) {
    if (duty.leaving === 'leave' && (await isLeft(context, duty, signal)))
      return context.activity(undefined, duty.reason);
    // An agent that has applied the log only so far must not stop what the log has let in again since.
    if (!(await context.confirms('removed', duty))) return;
    context.activity('stopping', duty.reason);
    await instance.stop({ fastMs: FAST_MS, signal });
    context.log('info', 'PostgreSQL is stopped: the node was removed');
  }
  context.clearUnexpectedEnd();
  const destroyed = duty.leaving === 'destroy' ? await destroy(context, duty, signal) : undefined;
  if (destroyed === undefined) context.activity(undefined, duty.reason);
  else context.activity(destroyed.isGone ? 'absent' : 'stopped', `${destroyed.text}; ${duty.reason}`);
}

/** Cut off, so that its slot can be dropped. `false` of a primary: it would take writes that are nobody's. */
async function isLeft(context: AgentContext, duty: RemovedDuty, signal: AbortSignal): Promise<boolean> {
  const { instance, timing } = context;
  const { dataDirectory, passfileDirectory, user } = instance.options;
  // Somebody else has started it, with settings of his own: there is nothing of ours in it to cut off.
  if (instance.isForeign()) return true;
  // It belongs to the administrator by now: a standby that cannot be asked is left alone.
  const role = await instance.readRole(query(context, signal)).catch(() => undefined);
  signal.throwIfAborted();
  if (role === undefined ? await mayBePrimary(dataDirectory) : role.kind === 'primary') return false;
  await context.once('removed', async () => {
    if (!(await context.confirms('removed', duty)))
      throw new Error('removed; the log cannot be read through a leader, or says otherwise');
    await cutUpstream({
      dataDirectory,
      passfileDirectory,
      owner: user.owner,
      timeoutMs: timing.cutTimeoutMs,
      signal,
    });
  });
  return true;
}

/** By its control file, where it cannot be asked: no session is free, or it has only begun to start. */
async function mayBePrimary(dataDirectory: string): Promise<boolean> {
  const control = await readControlData(dataDirectory).catch(() => undefined);
  return control?.state === 'in production' || control?.state === 'in crash recovery';
}

async function destroy(
  context: AgentContext,
  duty: RemovedDuty,
  signal: AbortSignal,
): Promise<{ readonly text: string; readonly isGone: boolean }> {
  const { dataDirectory } = context.instance.options;
  const found = await context.dataDirectory();
  if (found.kind !== 'absent') {
    if (!(await isMeant(dataDirectory, found, duty)))
      return {
        text: `${dataDirectory} is left as it is: it is not that of ${duty.member ?? 'a member'}, which was removed`,
        isGone: false,
      };
    if (!(await context.confirms('removed', duty)))
      return { text: 'its data directory is still there: the log could not be read', isGone: false };
    signal.throwIfAborted();
    context.activity('stopping', 'removing its data directory');
    await discardDataDirectory(dataDirectory);
    context.log('warn', 'the data directory is removed: a person asked for it', { dataDirectory });
  }
  // An earlier pass may have been broken off; this one may take minutes.
  await removeDiscarded(dataDirectory, context.instance.options.user, signal);
  if (await exists(dataDirectory)) return { text: `${dataDirectory} is there again`, isGone: false };
  return { text: 'its data directory was removed', isGone: true };
}

/**
 * By its member file. One that is fit only to be replaced may have none; then it is meant where the node had none to the log either, which it
 * has not from its next report on.
 */
async function isMeant(
  dataDirectory: string,
  found: DataDirectory,
  { member }: RemovedDuty,
): Promise<boolean> {
  if (found.kind === 'ready') return member !== undefined && found.member?.memberId === member;
  if (found.kind !== 'unfit') return false;
  return member === undefined || (await readMemberFile(dataDirectory))?.memberId === member;
}
