// What a person asks of a node's PostgreSQL: restart, reload, a new clone. Each is carried out in a pass of its own, so that nothing else is
// done to it meanwhile. Must never stop or replace a PostgreSQL whose part in the log is another than whoever asked has seen.
import { delay, unlessAborted } from '../base/clock.ts';
import type { Duty } from '../failover/duties.ts';
import { reloadPostgres } from '../postgres/lifecycle.ts';
import { PENDING_RESTART } from '../postgres/pending-restart.ts';
import { markForReinit } from '../postgres/reinit-marker.ts';
import { checkpoint } from '../postgres/sql.ts';
import { whileRunning } from '../postgres/while-running.ts';
import { type AgentContext, query } from './context.ts';
import { type ReplacementRequest, offerDatabase } from './other-database.ts';
import { locate } from './site-source.ts';
import { siteSource } from './upstream-source.ts';

export type NodeRequest =
  /**
   * `standby`: it is stopped, while it is aside; its duty starts it again once it is back. `primary`: it is stopped and, with the duty's own
   * steps, started again, while failovers are paused.
   */
  | { readonly kind: 'restart'; readonly as: 'standby' | 'primary' }
  | { readonly kind: 'reload' }
  /** Its data directory is stopped and marked, while it is aside; its duty replaces it by a clone. `obstacle` is asked again just before. */
  | { readonly kind: 'reinit'; readonly obstacle: () => string | undefined }
  | ReplacementRequest;

const CHECKPOINT_TIMEOUT_MS = 60_000;
/** Sessions end at once; what takes time is the last checkpoint. */
const STOP_FAST_MS = 60_000;
/** The postmaster hands the signal on. */
const RELOADED_AFTER_MS = 300;

/** What was done, for a person. Throws why it was not. `carryOutDuty` is a pass as usual. */
export async function carryOutNodeRequest(
  context: AgentContext,
  request: NodeRequest,
  carryOutDuty: () => Promise<void>,
  signal: AbortSignal,
): Promise<string> {
  switch (request.kind) {
    case 'restart':
      return request.as === 'standby'
        ? stopStandby(context, 'stopping: a restart was asked for', signal)
        : restartPrimary(context, carryOutDuty, signal);
    case 'reload':
      return reload(context, signal);
    case 'reinit':
      return reinit(context, request.obstacle, signal);
    case 'replace-database':
      return offerDatabase(context, request);
  }
}

/**
 * It has left the sync rule, and nobody promotes it, for as long as the log says that it is aside. A site leader cannot be set aside, and need
 * not: no commit waits for it, and nothing is promoted in a group that follows another site.
 */
async function confirmAside(context: AgentContext): Promise<void> {
  const duty = context.duty();
  const isSiteLeader = duty.kind === 'follow' && duty.upstream.site === 'outside';
  if (duty.kind !== 'hands-off' && !isSiteLeader)
    throw new Error(`its part is another by now (${duty.kind}); nothing was done`);
  if (!(await context.confirms(duty.kind, duty)))
    throw new Error('the log cannot be read through a leader, or says otherwise; nothing was done');
}

async function stopStandby(context: AgentContext, why: string, signal: AbortSignal): Promise<string> {
  const { instance } = context;
  await confirmAside(context);
  if (instance.postmaster() === undefined) return 'its PostgreSQL did not run';
  const role = await instance.readRole(query(context, signal)).catch(() => undefined);
  signal.throwIfAborted();
  if (role?.kind === 'primary') throw new Error('its PostgreSQL runs as a primary; nothing was done');
  context.activity('stopping', why);
  await instance.stop({ fastMs: STOP_FAST_MS, signal });
  context.clearUnexpectedEnd();
  context.activity(undefined, undefined);
  return 'its PostgreSQL was stopped';
}

async function restartPrimary(
  context: AgentContext,
  carryOutDuty: () => Promise<void>,
  signal: AbortSignal,
): Promise<string> {
  const { instance } = context;
  const duty = context.duty();
  mustBePausedPrimary(duty);
  if (!(await context.confirms('primary', duty)))
    throw new Error('the log cannot be read through a leader, or says otherwise; nothing was done');
  if (instance.postmaster() !== undefined) {
    context.activity(undefined, 'checkpoint before the restart');
    const isRunning = (): boolean => instance.postmaster() !== undefined;
    // While it checkpoints, writes go on; the stop then has little left to flush.
    await whileRunning(isRunning, signal, (running) =>
      checkpoint(instance.session, { timeoutMs: CHECKPOINT_TIMEOUT_MS, signal: running }),
    ).catch((error: unknown) => {
      signal.throwIfAborted();
      context.log('warn', 'checkpoint before the restart failed; the stop will take longer', {
        error: (error as Error).message,
      });
    });
    mustBePausedPrimary(context.duty());
    context.activity('stopping', 'stopping: a restart was asked for');
    await instance.stop({ fastMs: STOP_FAST_MS, signal });
    context.clearUnexpectedEnd();
  }
  await carryOutDuty();
  if (instance.postmaster() === undefined)
    throw new Error(
      'its PostgreSQL was stopped, and is not up again yet; see its message in sentinelctl status',
    );
  return 'its PostgreSQL was restarted';
}

function mustBePausedPrimary(duty: Duty): asserts duty is Extract<Duty, { readonly kind: 'primary' }> {
  if (duty.kind !== 'primary') throw new Error(`its part is another by now (${duty.kind}); nothing was done`);
  if (!duty.isPaused) throw new Error('its group is not paused: it would be failed over; nothing was done');
}

async function reload(context: AgentContext, signal: AbortSignal): Promise<string> {
  const { instance } = context;
  const { kind } = context.duty();
  if (kind !== 'primary' && kind !== 'follow' && kind !== 'hands-off')
    throw new Error(`its part changes (${kind}); nothing was done, ask again once that is over`);
  if (instance.postmaster() === undefined) throw new Error('its PostgreSQL does not run; nothing was done');
  reloadPostgres(instance.options.dataDirectory);
  await delay(RELOADED_AFTER_MS, signal);
  const [row] = await instance.session
    .query<{ pending: string | null; wrong: string | null }>(AFTER_RELOAD_QUERY, [], query(context, signal))
    .catch(() => []);
  const pending = row?.pending ?? undefined;
  if (row?.wrong) throw new Error(`it does not take all of its settings: ${row.wrong}`);
  return [
    'its PostgreSQL reads its settings again',
    ...(row === undefined ? ['whether they are right could not be asked'] : []),
    ...(pending === undefined ? [] : [`a restart is needed for ${pending}`]),
  ].join('; ');
}

const AFTER_RELOAD_QUERY = `
  select (select string_agg(name, ', ' order by name) from pg_settings s where ${PENDING_RESTART}) as pending,
         (select string_agg(distinct coalesce(name, sourcefile) || ' (' || error || ')', ', ') from pg_file_settings
           where error is not null and error <> 'setting could not be applied') as wrong`;

async function reinit(
  context: AgentContext,
  obstacle: () => string | undefined,
  signal: AbortSignal,
): Promise<string> {
  const { instance, notes } = context;
  const { dataDirectory, user } = instance.options;
  const refuse = (): void => {
    const reason = obstacle();
    if (reason !== undefined) throw new Error(`${reason}; its data directory was left as it is`);
  };
  refuse();
  await mustReachSite(context, signal);
  const data = await context.dataDirectory();
  if (data.kind === 'foreign') throw new Error(data.reason);
  await stopStandby(context, 'stopping: a new clone was asked for', signal);
  // Stopping takes its time.
  await confirmAside(context);
  signal.throwIfAborted();
  refuse();
  await mustReachSite(context, signal);
  notes.failedClone = undefined;
  notes.noRoom = undefined;
  if (data.kind === 'absent') return 'it has no data directory';
  await markForReinit({ dataDirectory, owner: user.owner });
  context.log('warn', 'the data directory is to be replaced by a clone: a person asked for it');
  return 'its data directory is replaced by a clone';
}

/** A site leader is copied from the other site: what it holds may be all that is left of that, and is not given up before that answers. */
async function mustReachSite(context: AgentContext, signal: AbortSignal): Promise<void> {
  const duty = context.duty();
  if (duty.kind !== 'follow' || duty.upstream.site !== 'outside') return;
  const asked = locate(siteSource(context), context.group()?.systemIdentifier);
  await unlessAborted(signal, asked).catch((error: unknown) => {
    signal.throwIfAborted();
    throw new Error(`${(error as Error).message}; its data directory was left as it is`, { cause: error });
  });
}
