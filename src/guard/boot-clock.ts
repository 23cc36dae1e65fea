// The clock that a lease is measured on: time since the host booted, suspended time included (CLOCK_BOOTTIME). Node's own
// monotonic clock (CLOCK_MONOTONIC) stands still while the host is suspended, so a lease would outlive its end on it; wall time
// may be set. Two processes of one host read the same clock, so a deadline can be passed from one to the other.
import { readFileSync } from 'node:fs';

/** A moment of one boot. */
export interface Moment {
  /** Since the host booted, in steps of 10 ms, rounded down. */
  readonly bootMs: number;
  /** Random, new for each boot: times of another boot mean nothing. */
  readonly bootId: string;
}

const BOOT_ID = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();

/** Reads /proc/uptime, which takes microseconds and no disk. */
export function readMoment(): Moment {
  const seconds = Number(readFileSync('/proc/uptime', 'utf8').split(' ', 1)[0]);
  if (!Number.isFinite(seconds)) throw new Error('/proc/uptime holds no number: is /proc mounted?');
  return { bootMs: Math.round(seconds * 1000), bootId: BOOT_ID };
}

const READ_MS_MAX = 20;

/** How far the wall clock is from the boot clock: changes when one of them is set, or one alone stood still. */
export function readWallOffsetMs(): number {
  for (;;) {
    const before = readMoment().bootMs;
    const wallMs = Date.now();
    // This process may have been kept waiting between the two readings.
    if (readMoment().bootMs - before <= READ_MS_MAX) return wallMs - before;
  }
}
