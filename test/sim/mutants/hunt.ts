// Looks for the first life in which one mutation is caught by an invariant that was named for it beforehand. A life that ends
// otherwise is counted, but does not kill; nor does one that fails without the mutation, too.
import { type LifeResult, runLife } from '../life.ts';
import type { Mutation } from '../mutations/types.ts';
import type { ProfileName } from '../profiles.ts';

/** As the build's catalogue has it. */
export interface ListedMutation extends Pick<Mutation, 'id' | 'title' | 'invariants'> {
  readonly number: number;
  readonly profiles?: readonly ProfileName[];
}

/** How far the hunt for one mutation has come; plain data that a file can hold. */
export interface Hunt {
  readonly id: string;
  /** The next seed to try. */
  nextSeed: number;
  /** The life that killed it. */
  kill: Kill | undefined;
  /** What else ended lives -> how many. */
  readonly unnamed: Record<string, number>;
  /** The first of those, in words. */
  unnamedExample: string | undefined;
  /** Seeds that fail without the mutation: no proof of anything, and a bug of its own. */
  readonly unsoundSeeds: number[];
  elapsedMs: number;
}

export interface Kill {
  readonly seed: number;
  readonly profile: string;
  readonly property: string;
  readonly message: string;
}

export function beginHunt(id: string, firstSeed: number): Hunt {
  return {
    id,
    nextSeed: firstSeed,
    kill: undefined,
    unnamed: {},
    unnamedExample: undefined,
    unsoundSeeds: [],
    elapsedMs: 0,
  };
}

/** Lives the next seed; true where the mutation is killed by it. */
export function tryNextSeed(hunt: Hunt, mutation: ListedMutation): boolean {
  const seed = hunt.nextSeed;
  const profile = mutation.profiles?.[seed % mutation.profiles.length];
  hunt.nextSeed += 1;
  const result = runLife(seed, { mutant: mutation.number, profile });
  const { failure } = result;
  if (failure === undefined) return false;
  const isNamed = mutation.invariants.some((property) => property === failure.property);
  if (isNamed && runLife(seed, { profile }).failure === undefined) {
    const { property, message } = failure;
    hunt.kill = { seed, profile: result.profile, property, message };
    return true;
  }
  if (isNamed) hunt.unsoundSeeds.push(seed);
  else noteUnnamed(hunt, result);
  return false;
}

function noteUnnamed(hunt: Hunt, { seed, profile, failure }: LifeResult): void {
  if (failure === undefined) return;
  hunt.unnamed[failure.property] = (hunt.unnamed[failure.property] ?? 0) + 1;
  hunt.unnamedExample ??= `seed ${seed} (${profile}): ${failure.message}`;
}
