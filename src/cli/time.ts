// Times as people write them on the command line, in the local time zone. Pure.
import { parseDurationMs } from '../base/duration.ts';

export const TIME_RULE = 'a time such as 03:00, 2026-11-22T03:00, 2026-11-22T03:00Z or +2h';

/** Milliseconds since 1970, or undefined where it is no time. `03:00` is the next one after `nowMs`. */
export function parseTimeMs(text: string, nowMs: number): number | undefined {
  if (text.startsWith('+')) {
    const afterMs = parseDurationMs(text.slice(1));
    return afterMs === undefined ? undefined : nowMs + afterMs;
  }
  const clock = /^([01]\d|2[0-3]):([0-5]\d)$/.exec(text);
  if (clock !== null) {
    const at = new Date(nowMs);
    at.setHours(Number(clock[1]), Number(clock[2]), 0, 0);
    if (at.getTime() <= nowMs) at.setDate(at.getDate() + 1);
    return at.getTime();
  }
  if (!/^\d{4}-\d\d-\d\d[T ]\d\d:\d\d/.test(text)) return undefined;
  const atMs = new Date(text.replace(' ', 'T')).getTime();
  return Number.isNaN(atMs) ? undefined : atMs;
}
