// When the leader says that a member is absent, gives its slots up, and has them made again.
import { describe, expect, test } from 'vitest';
import type { Command } from '../cluster/commands.ts';
import { SLOTS_FEATURE_LEVEL } from '../cluster/features.ts';
import { A, B, C, GROUP, type Log, MB, MC, at, newLog, running } from '../cluster/testing/example.ts';
import { ALL_WELL, type Seen, type SeenNodes, WALL_MS, leaderOf } from './testing/view.ts';

const RETENTION_MS = 3_600_000;
const AFTER_MS = 10_000;
const seenAs = (c: Seen | undefined, streamsTo = [B]): SeenNodes => ({
  ...ALL_WELL,
  ...{ a: { condition: 'primary', streamsTo }, c },
});
const LOST_C = seenAs(undefined);

/** c is out of the rule, and the leader gives it no way back into it: only its slots are looked at. */
const example = (members = [MB]): Log => {
  const log = newLog({ ...running().state, featureLevel: SLOTS_FEATURE_LEVEL });
  log.must({ kind: 'change-settings', group: GROUP, settings: { slotRetentionMs: RETENTION_MS } });
  if (members.length === 1) {
    log.must(at(log).change({ members, acks: 1 }));
    log.must(at(log).commitRule());
  }
  return log;
};
const SLOT_KINDS = ['mark-absent', 'give-up-slot', 'mark-present'];
const proposed = (commands: readonly Command[]): Command[] =>
  commands.filter(({ kind }) => SLOT_KINDS.includes(kind));
const mark = (kind: 'mark-absent' | 'give-up-slot' | 'mark-present', member = MC): Command => ({
  ...{ kind, group: GROUP, member },
});
/** Absent since the leader's time 0. */
const absent = (log = example()): Log => {
  expect(log.commit(mark('mark-absent'), { proposedAtMs: WALL_MS })).toBeUndefined();
  return log;
};
const givenUp = (): Log => {
  const log = absent();
  const proposedAtMs = WALL_MS + RETENTION_MS;
  expect(log.commit(mark('give-up-slot'), { proposedAtMs })).toBeUndefined();
  return log;
};

describe('a member', () => {
  test.each<[string, SeenNodes]>([
    ['whose agent is not heard', LOST_C],
    ['whose agent was heard long ago', seenAs({ streamingFrom: A, ageMs: 2000 })],
    ['whose PostgreSQL is stopped', seenAs({ condition: 'stopped' })],
    ['that runs, but does not stream', seenAs({ condition: 'standby' })],
    ['that is being cloned', seenAs({ condition: 'cloning' })],
    ['that is being rewound', seenAs({ condition: 'rewinding' })],
    ['that recovers', seenAs({ condition: 'starting' })],
  ])('%s is absent after ten seconds of it', (_, seen) => {
    const leader = leaderOf(example(), seen);
    expect(proposed(leader.at(0))).toEqual([]);
    expect(proposed(leader.at(AFTER_MS - 1))).toEqual([]);
    expect(proposed(leader.at(AFTER_MS))).toEqual([mark('mark-absent')]);
  });

  test.each<[string, SeenNodes]>([
    ['that streams', seenAs({ streamingFrom: A })],
    ['that streams, though its agent is not heard', seenAs(undefined, [B, C])],
  ])('%s is not', (_, seen) => {
    const leader = leaderOf(example(), seen);
    leader.at(0);
    expect(proposed(leader.at(10 * AFTER_MS))).toEqual([]);
    expect(proposed(leaderOf(absent(), seen).at(1))).toEqual([mark('mark-present')]);
  });

  test('that is back for a moment begins anew', () => {
    const leader = leaderOf(example(), LOST_C);
    leader.at(0);
    leader.at(AFTER_MS - 1, ALL_WELL);
    expect(proposed(leader.at(AFTER_MS))).toEqual([]);
  });

  test('that starts and fails again and again is absent once, and given up', () => {
    const [starts, fails] = [seenAs({ condition: 'starting' }), seenAs({ condition: 'failed' })];
    const log = example();
    const leader = leaderOf(log);
    const kinds: string[] = [];
    const stepMs = 5000;
    for (let nowMs = 0; nowMs <= RETENTION_MS + AFTER_MS + stepMs; nowMs += stepMs)
      for (const command of proposed(leader.at(nowMs, (nowMs / stepMs) % 2 === 0 ? starts : fails))) {
        kinds.push(command.kind);
        expect(log.commit(command, { proposedAtMs: WALL_MS + nowMs })).toBeUndefined();
      }
    expect(kinds).toEqual(['mark-absent', 'give-up-slot']);
  });

  test('that is paused is not absent, and no longer so once it is paused', () => {
    const log = absent();
    log.must({ kind: 'pause', group: GROUP, node: C, isMaintenance: true, untilMs: undefined });
    const leader = leaderOf(log, LOST_C);
    expect(proposed(leader.at(0))).toEqual([mark('mark-present')]);
    log.must(mark('mark-present'));
    expect(proposed(leader.at(10 * AFTER_MS))).toEqual([]);
  });

  test('is left alone while a peer might not understand it, and while the group fails over', () => {
    const { state } = example();
    const old = leaderOf(newLog({ ...state, featureLevel: SLOTS_FEATURE_LEVEL - 1 }), LOST_C);
    old.at(0);
    expect(proposed(old.at(AFTER_MS))).toEqual([]);
    const log = absent();
    log.must(at(log).begin({ kind: 'planned', to: undefined }));
    expect(proposed(leaderOf(log, LOST_C).at(2 * RETENTION_MS))).toEqual([]);
  });
});

describe('the slots of an absent member', () => {
  test('are given up when its time is over, by whoever leads then', () => {
    const leader = leaderOf(absent(), LOST_C);
    expect(proposed(leader.at(RETENTION_MS - 1))).toEqual([]);
    leader.change();
    expect(proposed(leader.at(RETENTION_MS))).toEqual([mark('give-up-slot')]);
  });

  test.each(['starting', 'cloning', 'rewinding'] as const)(
    'are kept while it is %s, and made again no sooner than it runs',
    (condition) => {
      const busy = seenAs({ condition });
      expect(proposed(leaderOf(absent(), busy).at(2 * RETENTION_MS))).toEqual([]);
      expect(proposed(leaderOf(givenUp(), busy).at(2 * RETENTION_MS))).toEqual([]);
    },
  );

  test('are kept while it is in the rule', () => {
    const log = absent(example([MB, MC]));
    expect(proposed(leaderOf(log, LOST_C).at(2 * RETENTION_MS))).toEqual([]);
  });

  test('are made again as soon as it is back', () => {
    expect(proposed(leaderOf(givenUp(), LOST_C).at(2 * RETENTION_MS))).toEqual([]);
    const back = seenAs({ condition: 'standby' });
    expect(proposed(leaderOf(givenUp(), back).at(2 * RETENTION_MS))).toEqual([mark('mark-present')]);
  });

  test('are made again a minute later where it ran all the time', () => {
    const idle = seenAs({ condition: 'standby' });
    const leader = leaderOf(givenUp(), idle);
    expect(proposed(leader.at(RETENTION_MS + 59_999))).toEqual([]);
    expect(proposed(leader.at(RETENTION_MS + 60_000))).toEqual([mark('mark-present')]);
  });
});
