// What a soak does, from its seed alone: rounds of one to three faults with pauses between them. Pure.
import { createRandom } from '../../sim/engine/random.ts';

export interface Step {
  readonly fault: string;
  /** 0 is the primary as the round begins, 1 and 2 the standbys. */
  readonly role: 0 | 1 | 2;
  /** The victim's two fellows change places. */
  readonly isSwapped: boolean;
  readonly pauseMs: number;
}

export type Round = readonly Step[];

const STEPS_MAX = 3;
const PAUSE_MS_MAX = 6000;

/** What befalls the primary matters most. */
const ROLES = [0, 0, 1, 2] as const;

/** Endless: the round with number n is the same for the same seed. */
export function* rounds(seed: number, faults: readonly string[]): Generator<Round, never> {
  const random = createRandom(seed);
  for (;;) {
    const count = random.between(1, STEPS_MAX);
    yield Array.from({ length: count }, () => ({
      fault: random.pick(faults),
      role: random.pick(ROLES),
      isSwapped: random.below(2) === 1,
      pauseMs: random.below(PAUSE_MS_MAX),
    }));
  }
}
