// The protocol's model (model/failover.pml) holds within its bounds, was searched to its end, and would notice: each protection left
// out loses a write, and everything that matters is come by. Needs spin and gcc.
import { describe, expect, test } from 'vitest';
import { GOALS, SMALL, SWITCHES, missingPackage, search } from '../../model/run.mjs';

const missing = missingPackage();
if (missing !== undefined)
  console.log(`model.test.ts is skipped: ${missing} is not installed; on Debian: apt-get install ${missing}`);

/** Fewer states than these mean that something can no longer happen. */
const STATE_COUNT_MIN: Readonly<Record<keyof typeof SMALL, number>> = {
  'four epochs': 1_300_000,
  'a change of the rule': 750_000,
};
const ALLOWED_MS = 900_000;

test('is not skipped where CI is set', () => {
  expect(process.env['CI'] === 'true' ? missing : undefined).toBeUndefined();
});

describe.skipIf(missing !== undefined)('the model of the failover protocol (needs spin and gcc)', () => {
  test(
    'loses no acknowledged write, whatever happens within its bounds, and comes by all that it is about',
    async () => {
      const reached = new Set<number>();
      const unreached: (readonly number[])[] = [];
      for (const [name, bounds] of Object.entries(SMALL)) {
        const result = await search(bounds);
        console.log(`${name}: ${result.stateCount} states, depth ${result.depth}`);
        expect(result.violation, result.trail.join('\n')).toBeUndefined();
        expect(result.isComplete, result.output).toBe(true);
        expect(result.stateCount).toBeGreaterThan(STATE_COUNT_MIN[name as keyof typeof SMALL]);
        unreached.push(result.unreached);
        for (const [goal, count] of Object.entries(result.goals)) if (count > 0) reached.add(Number(goal));
      }
      expect(Math.max(...Object.values(SMALL).map(({ EPOCHS }) => EPOCHS))).toBeGreaterThanOrEqual(4);
      const [first = [], ...others] = unreached;
      expect(first.filter((line) => others.every((lines) => lines.includes(line)))).toEqual([]);
      expect([...reached].sort((a, b) => a - b)).toEqual(Object.keys(GOALS).map(Number));
    },
    ALLOWED_MS,
  );

  test.each(Object.entries(SWITCHES))(
    'finds how a write is lost with %s',
    async (name, bounds) => {
      const result = await search({ ...bounds, [name]: 1 });
      console.log(`${name}: ${result.violation}, after\n  ${result.trail.join('\n  ')}`);
      expect(result.violation).toMatch(/lost|acknowledged/);
      expect(result.trail.some((line) => line.includes('acknowledges everything'))).toBe(true);
    },
    ALLOWED_MS,
  );

  test(
    'takes the claim that nobody acknowledges after the last failover for wrong',
    async () => {
      const result = await search({ ...SMALL['four epochs'], GOAL: 1 });
      expect(result.violation).toBe('the goal is reached');
      expect(result.trail.at(-1)).toContain('acknowledges everything');
      expect(result.trail.filter((line) => line.includes('opens the timeline')).length).toBeGreaterThan(0);
    },
    ALLOWED_MS,
  );

  test(
    'says so where a part of it cannot be reached, and where the search was cut short',
    async () => {
      const idle = await search({ EPOCHS: 2, WRITES: 0, CHANGES: 1 });
      expect(idle.unreached).not.toEqual([]);
      const shallow = await search({ EPOCHS: 2, WRITES: 1, CHANGES: 0 }, { depthMax: 20 });
      expect(shallow.isComplete).toBe(false);
    },
    ALLOWED_MS,
  );
});
