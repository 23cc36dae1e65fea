// The arithmetic of the benchmark with many groups: from counters read twice to the figures that are printed. Pure.
import { percentile } from '../failover/statistics.ts';

/** Of one process, at one moment. */
export interface Usage {
  /** Processor time so far, user and system. */
  readonly cpuMs: number;
  readonly residentBytes: number;
}

/** The share of one core, in percent, that a process took between two moments. Throws where no time has passed. */
export function corePercent(before: Usage, after: Usage, elapsedMs: number): number {
  if (!(elapsedMs > 0)) throw new RangeError(`no share of ${elapsedMs} ms can be given`);
  return rounded((100 * (after.cpuMs - before.cpuMs)) / elapsedMs, 2);
}

/** What /proc/PID/stat says of processor time; the name in it may hold spaces and brackets. Throws where it is not that file. */
export function cpuMsOf(stat: string, ticksPerSecond: number): number {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const ticks = Number(fields[11]) + Number(fields[12]);
  if (!stat.includes(')') || !Number.isFinite(ticks))
    throw new RangeError(`not what /proc/PID/stat holds: ${stat.slice(0, 80)}`);
  return (1000 * ticks) / ticksPerSecond;
}

/** The resident memory in /proc/PID/status. Throws where it is not that file. */
export function residentBytesOf(status: string): number {
  const match = /^VmRSS:\s+(\d+) kB$/m.exec(status);
  if (match?.[1] === undefined) throw new RangeError(`no VmRSS in ${status.slice(0, 80)}`);
  return Number(match[1]) * 1024;
}

/** What was counted between two moments, for a minute. */
export function perMinute(before: number, after: number, elapsedMs: number): number {
  if (!(elapsedMs > 0)) throw new RangeError(`no rate over ${elapsedMs} ms can be given`);
  return rounded(((after - before) * 60_000) / elapsedMs, 1);
}

export interface Times {
  readonly count: number;
  /** Milliseconds, to a tenth. */
  readonly median: number;
  readonly p99: number;
  readonly worst: number;
}

/** Throws on an empty list. */
export function timesOf(valuesMs: readonly number[]): Times {
  const at = (percent: number): number => rounded(percentile(valuesMs, percent), 1);
  return { count: valuesMs.length, median: at(50), p99: at(99), worst: at(100) };
}

/** Throws where there is nothing to compare with: it was not measured. */
export function ratioOf(value: number, to: number): number {
  if (!(to > 0)) throw new RangeError(`there is no ratio of ${value} to ${to}`);
  return rounded(value / to, 2);
}

/** A tenth of all groups, and never fewer than two: one is not many at once. */
export const burstSize = (groupCount: number): number => Math.max(2, Math.round(groupCount / 10));

/** The next `count` of `items`, each in its turn: whoever was taken comes last again. Throws where there are not so many. */
export function takeTurns<T>(items: T[], count: number): T[] {
  if (count > items.length) throw new RangeError(`there are ${items.length} to choose from, not ${count}`);
  const taken = items.splice(0, count);
  items.push(...taken);
  return taken;
}

export function rounded(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
