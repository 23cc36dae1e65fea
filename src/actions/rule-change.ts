// Changing the sync rule on a running primary (docs/failover.md, "Changing the rule"). Each walsender takes a reload by
// itself, and one that is late could release commits that satisfy neither rule, so the change counts only once every one
// of them was seen to have taken it, and the new members hold everything acknowledged before.
import { randomBytes } from 'node:crypto';
import { until } from '../base/clock.ts';
import type { MemberId } from '../base/ids.ts';
import { type Lsn, parseLsn } from '../base/lsn.ts';
import type { SyncRule } from '../cluster/commands.ts';
import { showsCount } from '../cluster/quorum.ts';
import type { Duty } from '../failover/duties.ts';
import type { ReplicationRow } from '../postgres/role.ts';
import { renderSynchronousStandbys } from '../postgres/settings.ts';
import { SESSION_APPLICATION_NAME } from '../postgres/session.ts';
import { type AgentContext, query, standbysFor } from './context.ts';
import { closeFresh, connectFresh } from './fresh-session.ts';

type PrimaryDuty = Extract<Duty, { readonly kind: 'primary' }>;

const POLL_MS = 5;
const STEP_TIMEOUT_MS = 5000;

export async function changeRule(
  context: AgentContext,
  duty: PrimaryDuty,
  next: NonNullable<PrimaryDuty['next']>,
  signal: AbortSignal,
): Promise<void> {
  const { instance } = context;
  if (!context.protections.rule) {
    await context.propose({ kind: 'commit-rule', group: duty.group, epoch: duty.epoch, change: next.change });
    return;
  }
  if (duty.rule.acks === 0 && next.rule.acks > 0) await beginToWait(context, signal);
  const standbys = standbysFor(context, next.rule);
  await instance.setSynchronousStandbys(standbys);
  const seenAtMs = await seenByFreshSession(context, renderSynchronousStandbys(standbys), signal);
  if (!showsCount(duty.rule, next.rule)) await endWalSenders(context, next.rule, seenAtMs, signal);
  await until(
    {
      what: 'every walsender to take the new sync rule',
      timeoutMs: STEP_TIMEOUT_MS,
      everyMs: POLL_MS,
      signal,
    },
    async () =>
      (await walSenders(context, signal)).every((sender) => hasTaken(sender, duty.rule, next.rule, seenAtMs)),
  );
  const flushed = await flushLsn(context, signal);
  await until(
    {
      what: 'the new members to hold what was acknowledged',
      timeoutMs: STEP_TIMEOUT_MS,
      everyMs: POLL_MS,
      signal,
    },
    () => haveFlushed(context, next.rule, flushed, signal),
  );
  await context.propose({ kind: 'commit-rule', group: duty.group, epoch: duty.epoch, change: next.change });
}

/** Says so once `acks` members have flushed the switch point of the last promotion. */
export async function passFloor(
  context: AgentContext,
  duty: PrimaryDuty,
  floor: Lsn,
  signal: AbortSignal,
): Promise<void> {
  if (!(await haveFlushed(context, duty.rule, floor, signal))) return;
  await context.propose({ kind: 'floor-passed', group: duty.group, epoch: duty.epoch });
}

/** The change from no rule to a rule takes effect only when the checkpointer has reloaded: a commit must be seen to wait. */
async function beginToWait(context: AgentContext, signal: AbortSignal): Promise<void> {
  const { instance } = context;
  await instance.setSynchronousStandbys({ kind: 'nobody' });
  await waitUntilCommitsWait(context, signal);
}

/** With the placeholder in force, resolves once a commit was seen to wait for it. */
export async function waitUntilCommitsWait(context: AgentContext, signal: AbortSignal): Promise<void> {
  await until(
    { what: 'a commit to wait for standbys', timeoutMs: STEP_TIMEOUT_MS, everyMs: POLL_MS, signal },
    () => isCommitSeenToWait(context, signal),
  );
}

/** Commits once with the placeholder in force; true when the commit was seen waiting, false when it went through. */
async function isCommitSeenToWait(context: AgentContext, signal: AbortSignal): Promise<boolean> {
  const name = `pg_sentinel_sync_check_${randomBytes(4).toString('hex')}`;
  const client = await connectFresh(context, { name, queryTimeoutMs: STEP_TIMEOUT_MS });
  try {
    let isDone = false;
    client
      .query("set synchronous_commit = on; select pg_logical_emit_message(true, 'pg_sentinel', 'sync check')")
      .then(
        () => (isDone = true),
        () => (isDone = true),
      );
    while (!isDone) {
      signal.throwIfAborted();
      const rows = await context.instance.session.query(
        "select 1 from pg_stat_activity where application_name = $1 and wait_event = 'SyncRep'",
        [name],
        query(context, signal),
      );
      if (rows.length > 0) return true;
    }
    return false;
  } finally {
    closeFresh(client);
  }
}

/** The server's clock (ms) at which a session that began after the reload saw the new value. */
async function seenByFreshSession(
  context: AgentContext,
  value: string,
  signal: AbortSignal,
): Promise<number> {
  return until(
    {
      what: 'a fresh session to see the new sync rule',
      timeoutMs: STEP_TIMEOUT_MS,
      everyMs: POLL_MS,
      signal,
    },
    async () => {
      const client = await connectFresh(context, {
        name: SESSION_APPLICATION_NAME,
        queryTimeoutMs: STEP_TIMEOUT_MS,
      });
      try {
        const result = await client.query<{ value: string; at: string }>(
          "select current_setting('synchronous_standby_names') as value, (extract(epoch from clock_timestamp()) * 1000)::bigint::text as at",
        );
        const row = result.rows[0];
        return row?.value === value ? Number(row.at) : undefined;
      } finally {
        closeFresh(client);
      }
    },
  );
}

/** A walsender of either rule shows the priority that `next` gives it, or began after a fresh session saw the new value. */
export function hasTaken(
  sender: Pick<ReplicationRow, 'applicationName' | 'syncPriority' | 'backendStartMs'>,
  rule: SyncRule,
  next: SyncRule,
  seenAtMs: number,
): boolean {
  const isIn = (members: readonly MemberId[]): boolean =>
    members.some((member) => member === sender.applicationName);
  if (sender.backendStartMs > seenAtMs) return true;
  if (sender.syncPriority > 0 !== isIn(next.members)) return false;
  return !isIn(next.members) || showsCount(rule, next);
}

/** Those that begin again have read the new number; their standbys are back within `wal_retrieve_retry_interval`. */
async function endWalSenders(
  context: AgentContext,
  next: SyncRule,
  seenAtMs: number,
  signal: AbortSignal,
): Promise<void> {
  await context.instance.session.query(
    `select pg_terminate_backend(pid) from pg_stat_replication
      where application_name = any($1::text[]) and extract(epoch from backend_start) * 1000 <= $2::bigint`,
    [next.members, seenAtMs],
    query(context, signal),
  );
}

async function haveFlushed(
  context: AgentContext,
  rule: SyncRule,
  flushed: Lsn,
  signal: AbortSignal,
): Promise<boolean> {
  const senders = await walSenders(context, signal);
  const holders = new Set<string>();
  for (const sender of senders) {
    const isMember = rule.members.some((member) => member === sender.applicationName);
    if (
      isMember &&
      sender.state === 'streaming' &&
      sender.flushLsn !== undefined &&
      sender.flushLsn >= flushed
    )
      holders.add(sender.applicationName);
  }
  return holders.size >= rule.acks;
}

async function walSenders(context: AgentContext, signal: AbortSignal): Promise<readonly ReplicationRow[]> {
  return (await context.instance.readRole(query(context, signal))).replication;
}

async function flushLsn(context: AgentContext, signal: AbortSignal): Promise<Lsn> {
  const [row] = await context.instance.session.query<{ flushed: string }>(
    'select pg_current_wal_flush_lsn()::text as flushed',
    [],
    query(context, signal),
  );
  if (row === undefined) throw new Error('PostgreSQL did not say how far its WAL is flushed');
  return parseLsn(row.flushed);
}
