// One operation as a client saw it, and what PostgreSQL said of it. Times are of one monotonic clock (performance.now()).
import type { Attempt } from '../../../harness/attempt.ts';

/** Every operation writes, reads too: an answer that needs no acknowledged write may be stale on a primary that is cut off. */
export interface Operation extends Attempt {
  /** Of the WAL that the write went to: acknowledged only. Each epoch has a timeline of its own. */
  readonly timeline?: number;
  readonly register?: RegisterStep;
}

/** What an operation did with a register beside its insert. Values are written at most once each. */
export type RegisterStep =
  /** `won`: the register held `expected` and holds `value` from then on. Counts only where acknowledged. */
  | {
      readonly kind: 'compare-and-set';
      readonly key: string;
      readonly expected: string;
      readonly value: string;
      readonly won: boolean;
    }
  /** `value` counts only where acknowledged. */
  | { readonly kind: 'read'; readonly key: string; readonly value: string };
