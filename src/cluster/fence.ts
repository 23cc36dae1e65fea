// The order of fencing tokens. An epoch is an index of the log; after a recovery the log goes on from an earlier index, so an
// epoch alone says nothing across recoveries: the incarnation comes first.
import type { Epoch } from '../base/ids.ts';

export interface FenceToken {
  readonly incarnation: number;
  readonly epoch: Epoch;
}

/** Positive where `a` is the higher one, 0 where they are the same. */
export function compareFences(a: FenceToken, b: FenceToken): number {
  return a.incarnation - b.incarnation || a.epoch - b.epoch;
}
