// One measurement of a running PostgreSQL: is it a primary, which rule does it enforce, and do enough members of that rule take what
// it writes now? Only an answer counts: what cannot be asked is a failed measurement, never lost authority.
import { delay } from '../base/clock.ts';
import type { Session } from '../postgres/session.ts';
import { type GuardedRule, isProven, parseEnforced, rulesToProve } from './authority.ts';

export type Measurement =
  | { readonly kind: 'failed'; readonly reason: string }
  | { readonly kind: 'standby' }
  | {
      readonly kind: 'primary';
      readonly enforced: string;
      /** `alone`: there is nothing to prove. */
      readonly result: 'proven' | 'unproven' | 'alone';
    };

const QUERY_TIMEOUT_MS = 5000;
const POLL_MS_FIRST = 5;
const POLL_MS_MAX = 100;

/** Takes up to `roundMs`, and a query's time limit more. Never throws. */
export async function measure(options: {
  readonly session: Pick<Session, 'query'>;
  readonly rules: readonly GuardedRule[];
  readonly roundMs: number;
  readonly signal: AbortSignal;
}): Promise<Measurement> {
  try {
    return await measureOrThrow(options);
  } catch (error) {
    return { kind: 'failed', reason: (error as Error).message };
  }
}

async function measureOrThrow(options: Parameters<typeof measure>[0]): Promise<Measurement> {
  const { session, rules, signal } = options;
  const query = { timeoutMs: QUERY_TIMEOUT_MS, signal };
  const deadlineMs = performance.now() + options.roundMs;
  const [role] = await session.query<{ standby: boolean; names: string }>(
    "select pg_is_in_recovery() as standby, current_setting('synchronous_standby_names') as names",
    [],
    { ...query, name: 'pg_sentinel_guard_role' },
  );
  if (role === undefined) throw new Error('PostgreSQL did not say whether it is a primary');
  if (role.standby) return { kind: 'standby' };
  if (rulesToProve(parseEnforced(role.names), rules).length === 0)
    return { kind: 'primary', enforced: role.names, result: 'alone' };
  // Transactional, so that it is flushed at once; the session does not wait for standbys itself. A standby that has flushed this
  // was there after it was written; that it streams says nothing.
  const [marker] = await session.query<{ at: string }>(
    "select pg_logical_emit_message(true, 'pg_sentinel', 'guard')::text as at",
    [],
    { ...query, name: 'pg_sentinel_guard_marker' },
  );
  if (marker === undefined) throw new Error('PostgreSQL did not say where it wrote the marker');
  for (let pauseMs = POLL_MS_FIRST; ; pauseMs = Math.min(2 * pauseMs, POLL_MS_MAX)) {
    await delay(pauseMs, signal);
    const [seen] = await session.query<{ names: string; holders: string[] }>(
      `select current_setting('synchronous_standby_names') as names,
         (select coalesce(json_agg(application_name), '[]'::json) from pg_stat_replication where flush_lsn > $1::pg_lsn) as holders`,
      [marker.at],
      { ...query, name: 'pg_sentinel_guard_holders' },
    );
    if (seen === undefined) throw new Error('PostgreSQL did not say who has flushed the marker');
    const needed = rulesToProve(parseEnforced(seen.names), rules);
    const common = { kind: 'primary', enforced: seen.names } as const;
    if (needed.length === 0) return { ...common, result: 'alone' };
    if (isProven(needed, seen.holders)) return { ...common, result: 'proven' };
    if (performance.now() >= deadlineMs) return { ...common, result: 'unproven' };
  }
}
