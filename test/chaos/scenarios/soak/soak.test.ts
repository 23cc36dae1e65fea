// `npm run chaos -- --soak MINUTES --seed S`: rounds of random faults, each judged by itself as a scenario is.
import { expect, test } from 'vitest';
import { delay } from '../../../../src/base/clock.ts';
import type { ChaosHost } from '../../cluster/host.ts';
import { scene } from '../scene.ts';
import { FAULTS } from '../../soak/faults.ts';
import { rounds, type Step } from '../../soak/schedule.ts';

const minutes = Number(process.env['PG_SENTINEL_CHAOS_SOAK_MINUTES']);
const seed = Number(process.env['PG_SENTINEL_CHAOS_SEED']);
const SLACK_MS = 600_000;

const describeStep = ({ fault, role, pauseMs }: Step): string =>
  `${fault} (${role === 0 ? 'primary' : `standby ${role}`}), ${pauseMs} ms`;

test(
  `${minutes} minutes of random faults, seed ${seed}`,
  async () => {
    expect(minutes).toBeGreaterThan(0);
    const endMs = performance.now() + minutes * 60_000;
    const schedule = rounds(seed, Object.keys(FAULTS));
    let count = 0;
    while (performance.now() < endMs) {
      const round = schedule.next().value;
      console.log(`round ${count++}: ${round.map(describeStep).join('; ')}`);
      await scene(async ({ cluster, primary, standbys }) => {
        const roles: readonly ChaosHost[] = [primary, ...standbys];
        const down = new Set<ChaosHost>();
        for (const { fault, role, isSwapped, pauseMs } of round) {
          const victim = roles[role] ?? primary;
          const [one, other] = cluster.others(victim);
          // Nothing can befall a process of a host that is down or frozen; that is not this round's failure.
          const play = FAULTS[fault];
          if (play === undefined) throw new Error(`there is no fault ${fault}`);
          await play({ cluster, victim, others: isSwapped ? [other, one] : [one, other] }).catch(
            (error: unknown) => {
              if (down.size === 0) throw error;
              console.log(`not done, for an earlier fault is in its way: ${fault}`);
            },
          );
          down.add(victim);
          await delay(pauseMs);
        }
      })();
    }
    console.log(`${count} rounds, seed ${seed}: nothing lost, nothing double`);
  },
  minutes * 60_000 + SLACK_MS,
);
