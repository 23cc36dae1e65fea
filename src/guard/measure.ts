// One measurement of a running PostgreSQL: is it a primary, which rule does it enforce, and do enough members of that rule take what
// it writes now? Only an answer counts: what cannot be asked is a failed measurement, never lost authority.
import { delay } from '../base/clock.ts';
import { type GuardedRule, isProven, parseEnforced, rulesToProve } from './authority.ts';
import type { ServerSession } from './server-session.ts';

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
  readonly session: Pick<ServerSession, 'query'>;
  readonly rules: readonly GuardedRule[];
  readonly roundMs: number;
}): Promise<Measurement> {
  try {
    return await measureOrThrow(options);
  } catch (error) {
    return { kind: 'failed', reason: (error as Error).message };
  }
}

async function measureOrThrow(options: Parameters<typeof measure>[0]): Promise<Measurement> {
  const { session, rules } = options;
  const ask = async (text: string): Promise<readonly string[]> => {
    const [row] = await session.query(text, QUERY_TIMEOUT_MS);
    if (row === undefined) throw new Error(`PostgreSQL returned no row: ${text}`);
    return row.map((value) => value ?? '');
  };
  const deadlineMs = performance.now() + options.roundMs;
  const [isStandby, names = ''] = await ask(
    "select pg_is_in_recovery(), current_setting('synchronous_standby_names')",
  );
  if (isStandby === 't') return { kind: 'standby' };
  if (rulesToProve(parseEnforced(names), rules).length === 0)
    return { kind: 'primary', enforced: names, result: 'alone' };
  // Transactional, so that it is flushed at once; the session does not wait for standbys itself. A standby that has flushed this
  // was there after it was written; that it streams says nothing.
  const [marker = ''] = await ask("select pg_logical_emit_message(true, 'pg_sentinel', 'guard')");
  if (!/^[0-9A-F]+\/[0-9A-F]+$/.test(marker)) throw new Error(`"${marker}" is no place in the WAL`);
  for (let pauseMs = POLL_MS_FIRST; ; pauseMs = Math.min(2 * pauseMs, POLL_MS_MAX)) {
    await delay(pauseMs);
    const [enforced = '', holders = ''] = await ask(
      `select current_setting('synchronous_standby_names'),
         (select json_agg(application_name) from pg_stat_replication where flush_lsn > '${marker}'::pg_lsn)`,
    );
    const needed = rulesToProve(parseEnforced(enforced), rules);
    if (needed.length === 0) return { kind: 'primary', enforced, result: 'alone' };
    if (holders !== '' && isProven(needed, JSON.parse(holders) as string[]))
      return { kind: 'primary', enforced, result: 'proven' };
    if (performance.now() >= deadlineMs) return { kind: 'primary', enforced, result: 'unproven' };
  }
}
