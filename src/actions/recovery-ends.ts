// The ends of a rewound node's recovery before its time: from a count and a time on that is no passing trouble.
import type { RecoveryProgress } from '../postgres/recovery-progress.ts';
import type { RecoveryEnds } from './context.ts';

/** One that came further than the one before is the first. */
export function oneMore(
  ends: RecoveryEnds | undefined,
  progress: RecoveryProgress | undefined,
): RecoveryEnds {
  const segment = progress?.segment ?? '';
  if (ends === undefined || segment > ends.segment) return { count: 1, sinceMs: performance.now(), segment };
  return { ...ends, count: ends.count + 1 };
}

const ENDS_COUNT_MAX = 5;

/** What stands in its way may pass: a disk that is full, memory that is short. */
export const isEnding = (ends: RecoveryEnds | undefined, forMs: number): boolean =>
  ends !== undefined && ends.count >= ENDS_COUNT_MAX && performance.now() - ends.sinceMs >= forMs;
