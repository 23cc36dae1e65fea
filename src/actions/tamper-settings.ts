// What our files have to say at any moment, so that the tamper watch puts back nothing but what a pass has written or would write. Pure.
import type { Duty } from '../failover/duties.ts';
import { READER_LIMIT, SLOT_SYNC, renderSynchronousStandbys } from '../postgres/settings.ts';
import { type AgentContext, placeholder, standbysFor } from './context.ts';
import type { ClientAccess } from './instance-options.ts';

export type WatchedDuty = Extract<Duty, { readonly kind: 'primary' | 'follow' }>;

/** Set by the passes to values that only they know, and there in every file that is whole. A cut ends a standby's delay. */
const BY_DUTY = new Set([
  'primary_conninfo',
  'primary_slot_name',
  'recovery_min_apply_delay',
  SLOT_SYNC,
  READER_LIMIT,
]);

/**
 * The values of `synchronous_standby_names` that a pass of this duty may have left, the one to fall back on first: while the rule
 * changes either rule may count already, so that only waiting for nobody is certain to acknowledge nothing that it must not.
 */
export function standbysDue(context: AgentContext, duty: WatchedDuty): readonly string[] {
  const nobody = renderSynchronousStandbys(placeholder(context));
  if (duty.kind === 'follow') return [nobody];
  const rule = renderSynchronousStandbys(standbysFor(context, duty.rule));
  if (duty.next === undefined) return [rule, nobody];
  return [nobody, rule, renderSynchronousStandbys(standbysFor(context, duty.next.rule))];
}

/** What pg_hba.conf has to say; undefined while the next passes of a primary write it anew. */
export function clientsDue(context: AgentContext, duty: WatchedDuty): ClientAccess | undefined {
  if (duty.kind === 'follow') return 'admitted';
  if (context.notes.isUnproven) return 'kept-out';
  return context.wasDone('admit') ? 'admitted' : undefined;
}

/**
 * What has to change in `pg_sentinel.conf` before anybody reloads it. A file that somebody has emptied or edited must not weaken a rule
 * that the server still enforces: what a pass has set is taken from the server.
 */
export function wrongSettings(options: {
  /** In the file. */
  readonly present: ReadonlyMap<string, string>;
  /** All that belongs in the file, names in lower case. */
  readonly expected: Readonly<Record<string, string>>;
  readonly inForce: ReadonlyMap<string, string>;
  /** See {@link standbysDue}. */
  readonly standbys: readonly string[];
}): Record<string, string> {
  const { present, inForce, standbys } = options;
  const wrong: Record<string, string> = {};
  for (const [name, value] of Object.entries(options.expected)) {
    const now = present.get(name);
    if (name === 'synchronous_standby_names') {
      if (now !== undefined && standbys.includes(now)) continue;
      const enforced = inForce.get(name);
      wrong[name] = enforced !== undefined && standbys.includes(enforced) ? enforced : (standbys[0] ?? value);
    } else if (BY_DUTY.has(name)) {
      if (now === undefined) wrong[name] = inForce.get(name) ?? value;
    } else if (now !== value) wrong[name] = value;
  }
  return wrong;
}
