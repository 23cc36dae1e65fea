// What a majority of the voters holds in common. Learners are never counted here.
// Must never answer "yes" for a set of peers that some other majority could miss (Raft §5.2, §5.3).
import { assert } from '../base/assert.ts';
import type { PeerId } from '../base/ids.ts';

/** How many of `voterCount` voters make a majority. */
export function majority(voterCount: number): number {
  assert(voterCount > 0, 'a membership without voters has no majority');
  return Math.floor(voterCount / 2) + 1;
}

/** Whether a majority of `voters` is among `peers`. */
export function hasMajority(voters: readonly PeerId[], peers: ReadonlySet<PeerId>): boolean {
  return voters.filter((voter) => peers.has(voter)).length >= majority(voters.length);
}

/** The greatest value that a majority of `voters` has reached, each voter's own value given by `valueOf`. */
export function reachedByMajority(voters: readonly PeerId[], valueOf: (voter: PeerId) => number): number {
  const values = voters.map(valueOf);
  values.sort(descending);
  const value = values[majority(voters.length) - 1];
  assert(value !== undefined, 'a majority is never larger than the voters');
  return value;
}

const descending = (a: number, b: number): number => b - a;

export type Tally = 'won' | 'lost' | 'open';

/** The state of a ballot: `lost` once so many refused that the rest cannot win it any more. */
export function tally(voters: readonly PeerId[], votes: ReadonlyMap<PeerId, boolean>): Tally {
  let granted = 0;
  let refused = 0;
  for (const voter of voters) {
    const vote = votes.get(voter);
    if (vote === true) granted += 1;
    else if (vote === false) refused += 1;
  }
  const needed = majority(voters.length);
  if (granted >= needed) return 'won';
  return voters.length - refused < needed ? 'lost' : 'open';
}
