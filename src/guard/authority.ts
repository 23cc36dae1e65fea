// Whether this PostgreSQL may go on as primary (DESIGN §4, "Authority of a primary"): a lease that has not run out, or proof that
// enough members of the rule it enforces still take what it writes. Pure: measurements and clocks are inputs.
import { renderSynchronousStandbys } from '../postgres/settings.ts';
import type { Moment } from './boot-clock.ts';

export interface GuardedRule {
  readonly members: readonly string[];
  readonly acks: number;
}

/** Granted by a read of the log through its leader that was asked for at `sent`. */
export interface Lease {
  readonly sent: Moment;
  readonly untilBootMs: number;
}

/** What the running server waits for, as `synchronous_standby_names` says. */
export type Enforced =
  | { readonly kind: 'alone' }
  | ({ readonly kind: 'any' } & GuardedRule)
  /** Not written by us. */
  | { readonly kind: 'unknown' };

export function parseEnforced(names: string): Enforced {
  if (names.trim() === '') return { kind: 'alone' };
  const match = /^\s*ANY\s+(\d+)\s*\(([^()]*)\)\s*$/i.exec(names);
  const members = (match?.[2] ?? '').split(',').map((name) => name.trim().replace(/^"([^"]*)"$/, '$1'));
  const acks = Number(match?.[1]);
  if (match === null || acks < 1 || members.some((name) => name === '' || name === '*'))
    return { kind: 'unknown' };
  return { kind: 'any', acks, members };
}

const NOBODY = parseEnforced(renderSynchronousStandbys({ kind: 'nobody' }));

const waitsForNobody = (enforced: Enforced): boolean =>
  enforced.kind === 'any' &&
  NOBODY.kind === 'any' &&
  enforced.members.length === 1 &&
  enforced.members[0] === NOBODY.members[0];

/**
 * The rules of which each needs proof; none where nothing can be proved because nobody else may be promoted: the primary runs alone
 * by the log's word. Also while it is changing to a rule and waits for nobody yet: the change counts in the log only after its agent has
 * put the new rule in force. A server that somebody else told to run alone is measured by the log's rules.
 */
export function rulesToProve(enforced: Enforced, rules: readonly GuardedRule[]): readonly GuardedRule[] {
  const isAlone = rules.some(({ acks }) => acks === 0);
  if (enforced.kind === 'any' && !(isAlone && waitsForNobody(enforced))) return [enforced];
  return isAlone ? [] : rules;
}

/** `holders`: the `application_name` of every walsender whose standby has flushed the marker. */
export function isProven(rules: readonly GuardedRule[], holders: readonly string[]): boolean {
  const holding = new Set(holders);
  return rules.every(
    ({ acks, members }) => new Set(members.filter((name) => holding.has(name))).size >= acks,
  );
}

/** For how long proof has been missing. A time in which nothing could be measured does not count. */
export interface Proving {
  readonly unprovenMs: number;
  /** Of the last measurement that came to a result, if the one before this did. */
  readonly measuredAtMs: number | undefined;
}

export const NOT_MEASURED: Proving = { unprovenMs: 0, measuredAtMs: undefined };

/** A guard that was frozen or suspended between two measurements has seen nothing meanwhile: its standbys are given time again. */
const GAP_MS_MAX = 5000;

export function afterMeasurement(
  before: Proving,
  result: 'proven' | 'unproven' | 'failed',
  nowMs: number,
): Proving {
  if (result === 'failed') return { ...before, measuredAtMs: undefined };
  if (result === 'proven') return { unprovenMs: 0, measuredAtMs: nowMs };
  const gapMs = before.measuredAtMs === undefined ? 0 : nowMs - before.measuredAtMs;
  return {
    unprovenMs: before.unprovenMs + Math.min(Math.max(0, gapMs), GAP_MS_MAX),
    measuredAtMs: nowMs,
  };
}

const MARGIN_SHARE = 0.2;
const JUMP_SHARE = 0.1;
const JUMP_MS_MIN = 250;

export const lengthOf = (lease: Lease): number => lease.untilBootMs - lease.sent.bootMs;

/** How long before the end of a lease PostgreSQL is stopped: by half of it SIGQUIT has done, by all of it SIGKILL. */
export function marginOf(lease: Lease): number {
  return lengthOf(lease) * MARGIN_SHARE;
}

/** The wall clock has jumped against the boot clock, at that boot time. */
export interface ClockJump {
  readonly bootMs: number;
  readonly byMs: number;
}

/** `offsetMs`: of the wall clock against the boot clock; a jump is less than half of the drift that a leader adds to the lease. */
export function jumpBetween(
  before: number,
  offsetMs: number,
  now: Moment,
  lease: Lease | undefined,
): ClockJump | undefined {
  const lengthMs = lease === undefined ? 0 : lengthOf(lease);
  const byMs = Math.round(offsetMs - before);
  return Math.abs(byMs) > Math.max(JUMP_MS_MIN, lengthMs * JUMP_SHARE)
    ? { bootMs: now.bootMs, byMs }
    : undefined;
}

/** Why the lease does not hold `marginMs` from now; undefined while it does. `jump`: the last one seen. */
export function leaseTrouble(
  lease: Lease | undefined,
  now: Moment,
  marginMs: number,
  jump?: ClockJump,
): string | undefined {
  if (lease === undefined) return 'there is no lease';
  if (lease.sent.bootId !== now.bootId) return 'the lease is of an earlier boot of the host';
  const leftMs = lease.untilBootMs - now.bootMs;
  if (leftMs <= marginMs)
    return leftMs > 0
      ? `the lease is not renewed and ends in ${leftMs} ms`
      : `the lease has ended ${-leftMs} ms ago`;
  if (jump !== undefined && jump.bootMs >= lease.sent.bootMs)
    return `the wall clock has jumped by ${jump.byMs} ms, so the lease may have ended`;
  return undefined;
}
