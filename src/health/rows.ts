// PURE. The table of evidence (docs/detection.md), strongest first: for each kind, when it is ripe and what to tell people.
// Only these rows can make a node subjectively down.
import { formatDuration } from '../base/duration.ts';
import type { Evidence } from '../cluster/commands.ts';
import { isHangingAlone, type Facts } from './facts.ts';
import { REFUSED_COUNT_MIN, REFUSED_SPAN_MS } from './settings.ts';

export interface Row {
  readonly evidence: Evidence;
  /** The note when the evidence is ripe at `nowMs`, else undefined. */
  readonly ripe: (facts: Facts, nowMs: number) => string | undefined;
}

export const ROWS: readonly Row[] = [
  { evidence: 'processes-gone', ripe: processesGone },
  { evidence: 'refused', ripe: refused },
  { evidence: 'no-answer', ripe: noAnswer },
  { evidence: 'write-failing', ripe: writeFailing },
  { evidence: 'in-recovery', ripe: inRecovery },
];

/** The strongest row that is ripe. */
export function ripest(
  facts: Facts,
  nowMs: number,
): { readonly evidence: Evidence; readonly note: string } | undefined {
  for (const { evidence, ripe } of ROWS) {
    const note = ripe(facts, nowMs);
    if (note !== undefined) return { evidence, note };
  }
  return undefined;
}

/** Whether some row could ripen by the lapse of time alone, so that ticks matter. */
export function mayRipen(facts: Facts): boolean {
  return [
    facts.connectionAskedMs,
    facts.probe,
    facts.refusals,
    facts.writeFailing,
    facts.loginFailing,
    facts.notServing,
    facts.trouble,
  ].some((fact) => fact !== undefined);
}

/** 0 is the strongest. */
export function rank(evidence: Evidence): number {
  return ROWS.findIndex((row) => row.evidence === evidence);
}

function processesGone(facts: Facts): string | undefined {
  if (facts.localGone && facts.target.hostPeer === facts.self)
    return 'all its processes are gone, as its agent saw';
  if (facts.hostGoneMs !== undefined && !facts.sessionOpen && facts.refusals !== undefined) {
    return `all its processes are gone, says ${facts.target.hostPeer}, and it refuses us`;
  }
  return undefined;
}

function refused(facts: Facts, nowMs: number): string | undefined {
  const { refusals, settings, shutdownMs } = facts;
  if (refusals === undefined || refusals.count < REFUSED_COUNT_MIN) return undefined;
  if (shutdownMs !== undefined && nowMs - shutdownMs < settings.restartGraceMs) return undefined;
  const forMs = nowMs - refusals.firstMs;
  const note = `refused ${refusals.count} times within ${formatDuration(refusals.lastMs - refusals.firstMs)}`;
  // A cluster that is only starting must not fail over; an open session that still answers deserves patience.
  if (!facts.seenUp || facts.sessionOpen) return forMs >= settings.downAfterMs ? note : undefined;
  return refusals.lastMs - refusals.firstMs >= REFUSED_SPAN_MS ? note : undefined;
}

function noAnswer(facts: Facts, nowMs: number): string | undefined {
  const { settings, connectionAskedMs, probe } = facts;
  const silentMs = nowMs - facts.lastWordMs;
  const askedMs = Math.min(connectionAskedMs ?? Infinity, probe?.askedMs ?? Infinity);
  // Silence counts only as the answer to a question that has stood for a good part of that time.
  if (silentMs >= settings.downAfterMs && nowMs - askedMs >= settings.downAfterMs / 2) {
    return `no answer for ${formatDuration(silentMs)}`;
  }
  if (connectionAskedMs !== undefined && nowMs - connectionAskedMs >= settings.downAfterMs) {
    return `new connections hang for ${formatDuration(nowMs - connectionAskedMs)}${facts.sessionOpen ? ' although the open one answers' : ''}`;
  }
  if (probe?.what === 'read' && isHangingAlone(facts) && nowMs - probe.askedMs >= settings.writeDownAfterMs) {
    return `a read hangs for ${formatDuration(nowMs - probe.askedMs)} although new connections are answered`;
  }
  return undefined;
}

function writeFailing(facts: Facts, nowMs: number): string | undefined {
  if (facts.target.expect !== 'primary') return undefined;
  const { writeFailing: failing, loginFailing, probe, settings } = facts;
  if (failing !== undefined && nowMs - failing.sinceMs >= settings.writeDownAfterMs) {
    return `writes fail for ${formatDuration(nowMs - failing.sinceMs)}: ${failing.why}`;
  }
  if (loginFailing !== undefined && isLasting(loginFailing, settings.writeDownAfterMs, nowMs)) {
    return `logins fail for ${formatDuration(nowMs - loginFailing.firstMs)}: ${loginFailing.why}`;
  }
  if (
    probe?.what === 'write' &&
    isHangingAlone(facts) &&
    nowMs - probe.askedMs >= settings.writeDownAfterMs
  ) {
    return `a write hangs for ${formatDuration(nowMs - probe.askedMs)} although new connections are answered`;
  }
  return undefined;
}

/** Seen more than once, and far enough apart: one may have come of what is over since. */
function isLasting(
  { firstMs, lastMs }: { readonly firstMs: number; readonly lastMs: number },
  forMs: number,
  nowMs: number,
): boolean {
  return nowMs - firstMs >= forMs && lastMs - firstMs >= forMs / 2;
}

function inRecovery(facts: Facts, nowMs: number): string | undefined {
  if (facts.target.expect !== 'primary' || facts.notServing === undefined) return undefined;
  if (facts.notServing.isContradicted === true) return undefined;
  const forMs = nowMs - facts.notServing.sinceMs;
  return forMs >= facts.settings.recoveryDownAfterMs
    ? `${facts.notServing.why}, for ${formatDuration(forMs)}`
    : undefined;
}
