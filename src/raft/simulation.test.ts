// Whole lives of a cluster under faults, each from a seed; see testing/life.ts and testing/invariants.ts.
// RAFT_SEED=<n> replays one, RAFT_SEEDS=<n> runs that many, RAFT_FIRST_SEED=<n> says where to begin.
import { describe, expect, test } from 'vitest';
import { live } from './testing/life.ts';

const first = Number(process.env['RAFT_SEED'] ?? process.env['RAFT_FIRST_SEED'] ?? 1);
const count = process.env['RAFT_SEED'] === undefined ? Number(process.env['RAFT_SEEDS'] ?? 300) : 1;

describe('a cluster under faults', () => {
  test(
    `keeps every invariant and converges afterwards (${count} seeds from ${first})`,
    () => {
      const totals = {
        steps: 0,
        messages: 0,
        elections: 0,
        crashes: 0,
        committed: 0,
        faults: 0,
        snapshots: 0,
        restores: 0,
        changes: 0,
      };
      for (let seed = first; seed < first + count; seed += 1) {
        const report = live(seed);
        for (const key of Object.keys(totals) as (keyof typeof totals)[]) totals[key] += report[key];
      }
      console.log(`${count} lives: ${JSON.stringify(totals)}`);
      expect(Math.min(totals.committed, totals.restores, totals.changes)).toBeGreaterThan(0);
    },
    60_000 + count * 100,
  );

  test('lives the same life again from the same seed', () => {
    expect(live(7)).toEqual(live(7));
  });
});
