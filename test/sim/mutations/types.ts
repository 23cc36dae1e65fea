// A mutation: one deliberate bug, written into the source of the test build as a switch that is off unless a life asks for it.
// Data only; build.mjs applies it, and fails where `find` is not found exactly once.

import type { Property } from '../engine/violation.ts';

/** One place in one file. */
export interface Edit {
  /** From the root of the project, such as `src/raft/commit.ts`; also below `test/sim`, where the shell is modelled. */
  readonly file: string;
  /** Occurs exactly once in the file, white space included. */
  readonly find: string;
  /** What stands there while the mutation is on. */
  readonly replace: string;
  /**
   * `expression` (the default): `find` is a whole expression, and becomes `(on ? (replace) : (find))`. A condition without its
   * brackets, a call, an operand: never a part that binds less tightly than what stands around it.
   * `statements`: `find` is one or more whole statements, and becomes `if (on) { replace } else { find }`. What they declare
   * must not be used behind them.
   */
  readonly as?: 'expression' | 'statements';
}

export interface Mutation extends Edit {
  /** Begins with the number of the project's list: `08-commits-earlier-term`; `04a-...` and `04b-...` where one has two switches. */
  readonly id: string;
  /** What is broken, for people. */
  readonly title: string;
  /** Which invariants may catch it, said beforehand. Anything else that fails does not count. */
  readonly invariants: readonly Property[];
  /** Where one bug takes more than one place. */
  readonly also?: readonly Edit[];
  /**
   * Steers lives towards where the bug can show: names of life profiles (see profiles.ts), one of which is used for each seed.
   * Left out: whatever the seed says. The same seeds in the same profiles pass without the mutation.
   */
  readonly profiles?: readonly string[];
}
