// A standby that is to be promoted takes the WAL that it lacks from another one. It streams for that moment from that one alone, under a name
// that no sync rule counts, so that whoever answers there, nothing is acknowledged by it. Afterwards it is cut off anew by the caller.
import { until } from '../base/clock.ts';
import { formatLsn, parseLsn } from '../base/lsn.ts';
import type { FetchSource } from '../failover/duties.ts';
import { followUpstream } from '../postgres/upstream.ts';
import { whileRunning } from '../postgres/while-running.ts';
import { type AgentContext, type Standing, query } from './context.ts';
import { findUpstreamPassword, sourceOf } from './upstream-source.ts';

/** Never that of a member: no primary counts what a connection of this name has flushed. */
const FETCH_NAME = 'pg_sentinel_fetch';

/** Whether a node that stands there holds all that the source does. */
export function holdsAllOf(standing: Standing, { timeline, position }: FetchSource): boolean {
  return standing.timeline === timeline && standing.position >= position;
}

/**
 * Streams until the source's position is on disk. Throws where that takes too long, or PostgreSQL ends meanwhile. The stream is left open:
 * whoever called has to cut this node off again, whatever came of it.
 */
export async function fetchWal(
  context: AgentContext,
  source: FetchSource,
  signal: AbortSignal,
): Promise<void> {
  const { instance, timing, notes } = context;
  const { dataDirectory, passfileDirectory, user } = instance.options;
  const { node, host, port, position, limitMs = timing.fetchTimeoutMs } = source;
  context.activity('standby', `fetching WAL from ${node}, up to ${formatLsn(position)}, before a promotion`);
  // From now on it streams: no promotion may count on the cut before.
  notes.cut = undefined;
  notes.followed = undefined;
  const duty = { upstream: { host, port } };
  await findUpstreamPassword(context, duty);
  signal.throwIfAborted();
  // Without a slot: its own may be missing there, and keeps that WAL where it exists, also unused.
  await followUpstream({
    dataDirectory,
    passfileDirectory,
    upstream: sourceOf(context, duty, FETCH_NAME),
    slotName: '',
    owner: user.owner,
  });
  const isThere = async (running: AbortSignal): Promise<boolean> => {
    const [row] = await instance.session.query<{ received: string | null }>(
      'select pg_last_wal_receive_lsn()::text as received',
      [],
      query(context, running),
    );
    return typeof row?.received === 'string' && parseLsn(row.received) >= position;
  };
  const isRunning = (): boolean => instance.postmaster() !== undefined;
  await whileRunning(isRunning, signal, (running) =>
    until(
      {
        what: `WAL up to ${formatLsn(position)} from ${node} at ${host}:${port}`,
        timeoutMs: Math.min(limitMs, timing.fetchTimeoutMs),
        everyMs: 5,
        signal: running,
      },
      () => isThere(running),
    ),
  );
}
