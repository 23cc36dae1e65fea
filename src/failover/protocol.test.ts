// The promise of docs/failover.md over whole lives under faults, each from a seed; see testing/life.ts.
// PROTOCOL_SEED=<n> replays one, PROTOCOL_SEEDS=<n> runs that many, PROTOCOL_FIRST_SEED=<n> says where to begin.
import { describe, expect, test } from 'vitest';
import type { AgentFaults } from './testing/agent-model.ts';
import * as durability from './testing/broken-durability.ts';
import * as log from './testing/broken-log.ts';
import * as places from './testing/broken-places.ts';
import * as recovery from './testing/broken-recovery.ts';
import { memberRemoved } from './testing/broken-removal.ts';
import { type Apply, BrokenPromise, type LifeOptions } from './testing/life-options.ts';
import { live } from './testing/life.ts';
import type { Tally } from './testing/life-parts.ts';

const first = Number(process.env['PROTOCOL_SEED'] ?? process.env['PROTOCOL_FIRST_SEED'] ?? 1);
const count = process.env['PROTOCOL_SEED'] === undefined ? Number(process.env['PROTOCOL_SEEDS'] ?? 600) : 1;
const ALLOWED_MS = 60_000 + count * 200;

function liveAll(options: Omit<LifeOptions, 'seed'>): Tally {
  const totals: Record<string, number> = {};
  for (let seed = first; seed < first + count; seed += 1) {
    for (const [what, times] of Object.entries(live({ ...options, seed })))
      totals[what] = (totals[what] ?? 0) + times;
  }
  console.log(`${count} lives from seed ${first}: ${JSON.stringify(totals)}`);
  return totals as unknown as Tally;
}

describe('a group under faults', () => {
  test(
    'loses no acknowledged write and never has two nodes that can acknowledge, whatever is interrupted, delayed, repeated or lost',
    () => {
      const tally = liveAll({ steps: 2000 });
      if (count < 500) return;
      for (const what of [
        'promotionsOverFloor',
        'promotionsDuringChange',
        'formerChosenAgain',
        'failedPromotions',
        'resumed',
        'clones',
      ] as const) {
        expect(tally[what], what).toBeGreaterThan(20);
      }
      expect(tally.fetched).toBeGreaterThan(3);
    },
    ALLOWED_MS,
  );

  test(
    'comes back by itself, with every standby in the rule, from wherever it was when all agents and nodes return',
    () => {
      liveAll({ steps: 800, heals: true });
    },
    ALLOWED_MS,
  );

  test(
    'loses nothing and comes back by itself where nodes are taken out and let in again',
    () => {
      const tally = liveAll({ steps: 2000, heals: true, removes: true });
      if (count >= 500) expect(tally.removals).toBeGreaterThan(500);
    },
    ALLOWED_MS,
  );

  test(
    'loses nothing and comes back by itself where its log is recovered by a peer that lacks the end of it',
    () => {
      const tally = liveAll({ steps: 2000, heals: true, recovers: true });
      if (count >= 500) expect(tally.recoveries).toBeGreaterThan(1000);
    },
    ALLOWED_MS,
  );

  test(
    'keeps the promise of each durability, and never has two that can acknowledge, while people change it, fence nodes and accept losses',
    () => {
      const tally = liveAll({ steps: 2000, heals: true, isSteered: true });
      if (count < 500) return;
      for (const what of [
        'leasedPromotions',
        'forcedPromotions',
        'strictPromotions',
        'fenceCommands',
      ] as const)
        expect(tally[what], what).toBeGreaterThan(20);
    },
    ALLOWED_MS,
  );

  test(
    'loses nothing while owners say which nodes are never promoted or counted, where they are and where the primary should be',
    () => {
      const lives = { steps: 2000, heals: true, isPlaced: true } as const;
      const tallies = [
        liveAll(lives),
        liveAll({ ...lives, isSteered: true }),
        liveAll({ ...lives, recovers: true }),
      ];
      if (count < 500) return;
      for (const { promotions } of tallies) expect(promotions).toBeGreaterThan(200);
      expect(tallies.reduce((sum, { passedOver }) => sum + passedOver, 0)).toBeGreaterThan(8);
    },
    3 * ALLOWED_MS,
  );

  test('lives the same life again from the same seed', () => {
    expect(live({ seed: 7, steps: 2000 })).toEqual(live({ seed: 7, steps: 2000 }));
  });
});

/** The number of lives it takes until the broken promise shows, or undefined. */
function livesUntilCaught(broken: {
  readonly faults?: AgentFaults;
  readonly apply?: Apply;
  readonly steps?: number;
  readonly recovers?: boolean;
  readonly heals?: boolean;
  readonly removes?: boolean;
  readonly isSteered?: boolean;
  readonly recounts?: boolean;
  readonly isPlaced?: boolean;
  readonly leaderSees?: NonNullable<LifeOptions['leaderSees']>;
}): { readonly lives: number; readonly how: string } | undefined {
  for (let seed = 1; seed <= LIVES_MAX; seed += 1) {
    try {
      live({ steps: 2000, ...broken, seed });
    } catch (error) {
      if (!(error instanceof BrokenPromise)) throw error;
      return { lives: seed, how: error.message };
    }
  }
  return undefined;
}

const LIVES_MAX = Number(process.env['PROTOCOL_LIVES_MAX'] ?? 3000);

/** What takes a second failover soon after a first, or while the rule changes, shows in long lives. */
const LONG_LIVES: Readonly<Record<string, number>> = { oldEpochAccepted: 6000, pendingRuleReplaced: 6000 };

describe('the model notices when the log', () => {
  test.each(Object.entries(log))(
    'is broken: %s',
    (name, apply) => {
      const caught = livesUntilCaught({ apply, steps: LONG_LIVES[name] ?? 2000 });
      console.log(`${name}: ${caught === undefined ? 'NOT CAUGHT' : `life ${caught.lives}: ${caught.how}`}`);
      expect(caught).toBeDefined();
    },
    300_000,
  );
});

const FAULTS: readonly (keyof AgentFaults)[] = [
  'cutForgottenAtRestart',
  'reportsWithoutCut',
  'reportsReplayedOnly',
  'timelineByPostgres',
  'walSendersUnverified',
  'strangersUnverified',
  'flushUnverified',
  'waitUnseen',
  'obeysWhileCatchingUp',
];

describe('the model notices when an agent', () => {
  test.each(FAULTS)(
    'is broken: %s',
    (fault) => {
      const caught = livesUntilCaught({ faults: { [fault]: true } });
      console.log(`${fault}: ${caught === undefined ? 'NOT CAUGHT' : `life ${caught.lives}: ${caught.how}`}`);
      expect(caught).toBeDefined();
    },
    300_000,
  );
});

describe('the model notices when, after a recovery of the log,', () => {
  const broken: readonly (readonly [string, Parameters<typeof livesUntilCaught>[0]])[] = [
    ...Object.entries(recovery).map(([name, apply]) => [name, { apply }] as const),
    // An agent that takes the recovered log for an old one obeys nothing any more: the group does not come back.
    ['incarnationIgnored', { faults: { incarnationIgnored: true }, heals: true }],
  ];

  test.each(broken)(
    'something is broken: %s',
    (name, options) => {
      const caught = livesUntilCaught({ ...options, recovers: true });
      console.log(`${name}: ${caught === undefined ? 'NOT CAUGHT' : `life ${caught.lives}: ${caught.how}`}`);
      expect(caught).toBeDefined();
    },
    300_000,
  );
});

describe('the model notices when, while owners say which nodes are never promoted,', () => {
  test('a member of the sync rule is passed over', () => {
    const caught = livesUntilCaught({
      apply: places.memberPassedOver,
      leaderSees: places.withoutBarred,
      isPlaced: true,
    });
    console.log(
      `memberPassedOver: ${caught === undefined ? 'NOT CAUGHT' : `life ${caught.lives}: ${caught.how}`}`,
    );
    expect(caught).toBeDefined();
  }, 300_000);
});

describe('the model notices when, while a standby fetches WAL before its promotion,', () => {
  test('it is promoted as if it had it already', () => {
    const caught = livesUntilCaught({ apply: places.fetchTakenForGranted });
    console.log(
      `fetchTakenForGranted: ${caught === undefined ? 'NOT CAUGHT' : `life ${caught.lives}: ${caught.how}`}`,
    );
    expect(caught).toBeDefined();
  }, 300_000);
});

describe('the model notices when, while nodes are taken out,', () => {
  test('a member is that commits rest on', () => {
    const caught = livesUntilCaught({ apply: memberRemoved, removes: true });
    console.log(
      `memberRemoved: ${caught === undefined ? 'NOT CAUGHT' : `life ${caught.lives}: ${caught.how}`}`,
    );
    expect(caught).toBeDefined();
  }, 300_000);
});

describe('the model notices when, while people change the number of acknowledgements,', () => {
  test('a walsender is taken to count to the new one', () => {
    const caught = livesUntilCaught({ faults: { countUnverified: true }, recounts: true, steps: 4000 });
    console.log(
      `countUnverified: ${caught === undefined ? 'NOT CAUGHT' : `life ${caught.lives}: ${caught.how}`}`,
    );
    expect(caught).toBeDefined();
  }, 300_000);
});

describe('the model notices when, while people change durability and accept losses,', () => {
  const broken: readonly (readonly [string, Parameters<typeof livesUntilCaught>[0]])[] = [
    ['proofNotAsked', { apply: durability.proofNotAsked }],
    ['leaseNotWaitedFor', { leaderSees: durability.withoutLeases }],
  ];

  test.each(broken)(
    'something is broken: %s',
    (name, options) => {
      const caught = livesUntilCaught({ ...options, isSteered: true });
      console.log(`${name}: ${caught === undefined ? 'NOT CAUGHT' : `life ${caught.lives}: ${caught.how}`}`);
      expect(caught).toBeDefined();
    },
    300_000,
  );
});
