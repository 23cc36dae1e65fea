// `npm run chaos -- --soak MINUTES --seed S`: rounds of random faults, each judged by itself as a scenario is.
import { expect, test } from 'vitest';
import { delay } from '../../../../src/base/clock.ts';
import type { ChaosHost } from '../../cluster/host.ts';
import { expectKept, runScene, type Scene } from '../scene.ts';
import { FAULTS } from '../../soak/faults.ts';
import { rounds, type Round, type Step } from '../../soak/schedule.ts';
import { addRound, noRounds, renderSummary } from '../../soak/summary.ts';

const minutes = Number(process.env['PG_SENTINEL_CHAOS_SOAK_MINUTES']);
const seed = Number(process.env['PG_SENTINEL_CHAOS_SEED']);
const SLACK_MS = 600_000;

test(
  `${minutes} minutes of random faults, seed ${seed}`,
  async () => {
    expect(minutes).toBeGreaterThan(0);
    const startedMs = performance.now();
    const schedule = rounds(seed, Object.keys(FAULTS));
    let summary = noRounds;
    try {
      while (performance.now() < startedMs + minutes * 60_000) {
        const round = schedule.next().value;
        console.log(`round ${summary.rounds}: ${round.map(describeStep).join('; ')}`);
        let faults = 0;
        const outcome = await runScene(async (scene) => {
          faults = await play(scene, round);
        });
        summary = addRound(summary, faults, outcome.verdict);
        expectKept(outcome);
      }
    } finally {
      const tookMinutes = (performance.now() - startedMs) / 60_000;
      console.log(renderSummary(summary, { seed, minutes: tookMinutes, wantedMinutes: minutes }));
    }
  },
  minutes * 60_000 + SLACK_MS,
);

const describeStep = ({ fault, role, pauseMs }: Step): string =>
  `${fault} (${role === 0 ? 'primary' : `standby ${role}`}), ${pauseMs} ms`;

/** The number of faults that came about. */
async function play({ cluster, primary, standbys }: Scene, round: Round): Promise<number> {
  const roles: readonly ChaosHost[] = [primary, ...standbys];
  let count = 0;
  for (const { fault, role, isSwapped, pauseMs } of round) {
    const victim = roles[role] ?? primary;
    const [one, other] = cluster.others(victim);
    const act = FAULTS[fault];
    if (act === undefined) throw new Error(`there is no fault ${fault}`);
    try {
      await act({ cluster, victim, others: isSwapped ? [other, one] : [one, other] });
      count += 1;
    } catch (error) {
      // Nothing can befall a process of a host that is down or frozen; that is not this round's failure.
      if (count === 0) throw error;
      console.log(`not done, for an earlier fault is in its way: ${fault}`);
    }
    await delay(pauseMs);
  }
  return count;
}
