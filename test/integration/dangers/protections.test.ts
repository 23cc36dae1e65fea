// One danger for each of the protections that the promises rest on first, from a seed, such that it must end badly without that
// protection. `npm run protections` runs each with the protection and without (test/protections.mjs).
//
// PG_SENTINEL_TEST_SEEDS: separated by commas, each a test. The seed says which standby is which, how much is written when, and how the
// primary is lost.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Random, seededRandom } from '../../../src/failover/testing/random.ts';
import type { Host } from '../../../harness/host.ts';
import { type Ending, type Load, openScene, type Scene, TEST_MS } from './scene.ts';
import { hang, postmasterOf, processOf, standStill, walSenderTo } from './victims.ts';

const SEEDS = (process.env['PG_SENTINEL_TEST_SEEDS'] ?? '1').split(',').map(Number);
/** With two of the three hosts gone a majority of the peers is left. */
const WITNESS_COUNT = 2;

let scene: Scene;

beforeAll(async () => {
  scene = await openScene({ witnessCount: WITNESS_COUNT });
}, TEST_MS);
afterAll(async () => {
  await scene?.close();
});

/** Judged as the danger has left it; what comes next waits until the cluster is whole again. */
async function play(
  seed: number,
  ending: Ending,
  danger: (load: Load, random: Random) => Promise<void>,
): Promise<void> {
  const random = seededRandom(seed);
  await scene.underLoad((load) => danger(load, random), { ...ending, isJudgedAtOnce: true });
}

/** `ahead` alone holds the last writes, and cannot report before it is released: its startup process stands still. */
async function leaveBehind(
  load: Load,
  random: Random,
): Promise<{
  readonly ahead: Host;
  readonly behind: Host;
  readonly letReport: () => void;
  readonly letStream: () => void;
}> {
  const [one, two] = load.standbys;
  const [ahead, behind] = random.chance(0.5) ? [one, two] : [two, one];
  const startup = processOf(ahead, 'startup');
  const letReport = load.stop(startup);
  await standStill(startup);
  const walSender = await walSenderTo(load.primary, behind.node);
  const letStream = load.stop(walSender);
  await standStill(walSender);
  await load.moreAcks(random.between(20, 100), [load.primary]);
  return { ahead, behind, letReport, letStream };
}

test.each(SEEDS)(
  'cut: an old primary that goes on has nobody left who acknowledges its writes (seed %i)',
  (seed) =>
    play(seed, {}, async (load, random) => {
      await load.moreAcks(random.between(20, 100));
      const { ahead, behind, letReport, letStream } = await leaveBehind(load, random);
      hang(load);
      await load.event('cut-report', new RegExp(`^${behind.node} `));
      // From here on nobody tells it whom to follow.
      load.stop(behind.sentineldPid ?? expect.fail('no sentineld'));
      letStream();
      letReport();
      await load.event('promoted', new RegExp(`^${ahead.node} `));
      await load.moreAcks(random.between(100, 200), [ahead]);
    }),
  TEST_MS,
);

test.each(SEEDS)(
  'guard: with durability async an old primary without its sentineld has ended when another one begins (seed %i)',
  (seed) =>
    play(seed, { mayLose: true }, async (load, random) => {
      await load.change({ durability: 'async', leaseMs: random.between(2000, 4000) });
      load.undo(() => load.change({ durability: 'quorum' }));
      await load.event('commit-rule');
      await load.moreAcks(random.between(20, 100), [load.primary]);
      if (random.chance(0.5)) hang(load);
      else {
        await load.primary.stopSentineld('SIGKILL');
        load.undo(() => load.primary.startSentineld());
        load.stop(postmasterOf(load.primary));
      }
      await load.event('promoted');
      await load.moreAcks(random.between(100, 200), load.standbys);
    }),
  TEST_MS,
);

test.each(SEEDS)(
  'floor: a promoted node that is lost before anybody has followed it takes no write along (seed %i)',
  (seed) =>
    play(seed, {}, async (load, random) => {
      // So that it waits for its member instead of going on alone.
      await load.change({ durability: 'strict' });
      load.undo(() => load.change({ durability: 'quorum' }));
      await load.moreAcks(random.between(20, 100));
      const { ahead, behind, letReport } = await leaveBehind(load, random);
      await load.primary.kill();
      load.undo(() => load.primary.startSentineld());
      await load.event('cut-report', new RegExp(`^${behind.node} `));
      const startup = processOf(behind, 'startup');
      const letFollow = load.stop(startup);
      await standStill(startup);
      letReport();
      await load.event('promoted', new RegExp(`^${ahead.node} `));
      await ahead.kill();
      letFollow();
      await load.event('cut-report', new RegExp(`^${behind.node} `), 2);
      ahead.startSentineld();
      await load.event('promoted', /./, 2);
    }),
  TEST_MS,
);
