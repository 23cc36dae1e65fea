// What a soak has come to, for the last lines that it prints. Pure.
import type { ChaosVerdict } from '../checker/check.ts';

export interface SoakSummary {
  readonly rounds: number;
  readonly faults: number;
  /** Changes from one timeline that clients had acknowledgements on to another. */
  readonly failovers: number;
  readonly acked: number;
  readonly lost: number;
  readonly double: number;
  /** All that was found, those among them. */
  readonly violations: number;
  readonly longestOutageMs: number;
}

export const noRounds: SoakSummary = {
  rounds: 0,
  faults: 0,
  failovers: 0,
  acked: 0,
  lost: 0,
  double: 0,
  violations: 0,
  longestOutageMs: 0,
};

/** `faults` is how many came about in the round. */
export function addRound(summary: SoakSummary, faults: number, verdict: ChaosVerdict): SoakSummary {
  return {
    rounds: summary.rounds + 1,
    faults: summary.faults + faults,
    failovers: summary.failovers + Math.max(0, verdict.primaries.length - 1),
    acked: summary.acked + verdict.acked,
    lost: summary.lost + verdict.lost,
    double: summary.double + verdict.double,
    violations: summary.violations + verdict.violations.length,
    longestOutageMs: Math.max(summary.longestOutageMs, verdict.longestOutageMs),
  };
}

export function renderSummary(
  summary: SoakSummary,
  run: { readonly seed: number; readonly minutes: number; readonly wantedMinutes: number },
): string {
  const { rounds, faults, failovers, acked, lost, double, violations, longestOutageMs } = summary;
  return [
    `soak: seed ${run.seed}, ${run.minutes.toFixed(1)} min, ${rounds} rounds judged, ${faults} faults, ${failovers} failovers`,
    `soak: ${acked} acknowledged writes, ${lost} lost, ${double} double, ${violations} violations; longest outage ${(longestOutageMs / 1000).toFixed(1)} s`,
    `soak: the same schedule again: npm run chaos -- --soak ${run.wantedMinutes} --seed ${run.seed}`,
  ].join('\n');
}
