// What a thread is asked to do, and what it says of it: some lives, summed up, and those that failed.
import { markCounts } from '../engine/marks.ts';
import { type Failure, type LifeOptions, runLife } from '../life.ts';
import type { ProfileName } from '../profiles.ts';
import { type Tally, addTally, createTally } from '../tally.ts';

export interface Task {
  readonly first: number;
  readonly count: number;
  readonly options: Pick<LifeOptions, 'mutant' | 'profile' | 'troubledEventsMax'>;
}

export interface Found {
  readonly seed: number;
  readonly profile: ProfileName;
  readonly failure: Failure;
}

export interface Batch {
  readonly lives: number;
  readonly tally: Tally;
  readonly failures: readonly Found[];
  /** Times each mark was reached, by number. */
  readonly marks: Float64Array;
}

export function liveBatch({ first, count, options }: Task): Batch {
  const tally = createTally();
  const failures: Found[] = [];
  markCounts.fill(0);
  for (let seed = first; seed < first + count; seed += 1) {
    const result = runLife(seed, options);
    addTally(tally, result.tally);
    if (result.failure !== undefined)
      failures.push({ seed, profile: result.profile, failure: result.failure });
  }
  const marks = markCounts.slice();
  return { lives: count, tally, failures, marks };
}
