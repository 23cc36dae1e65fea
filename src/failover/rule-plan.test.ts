// Which rule the leader wants: whoever streams comes in at once, whoever is gone leaves after a while.
import { describe, expect, test } from 'vitest';
import { epoch, memberId } from '../base/ids.ts';
import { DEFAULT_GROUP_SETTINGS } from '../cluster/apply-settings.ts';
import type { Command, GroupSettings, SyncRule } from '../cluster/commands.ts';
import { SETTINGS_FEATURE_LEVEL } from '../cluster/features.ts';
import {
  ALONE,
  B,
  C,
  GROUP,
  type Log,
  MB,
  MC,
  RULE_BC,
  at,
  P1,
  P2,
  P3,
  newLog,
  promoting,
  running,
  runningAlone,
} from '../cluster/testing/example.ts';
import { ALL_WELL, leaderOf, type SeenNodes } from './testing/view.ts';

const streaming = (...nodes: readonly (typeof B)[]): SeenNodes => ({
  ...ALL_WELL,
  a: { condition: 'primary', streamsTo: nodes },
});
const change = (next: unknown) => [{ kind: 'begin-rule-change', next }];

describe('a standby comes into the rule', () => {
  test('at once when it streams and its agent is reachable', () => {
    const log = runningAlone();
    expect(leaderOf(log, streaming(B)).at(0)).toMatchObject(change({ members: [MB], acks: 1 }));
    expect(leaderOf(log).at(0)).toMatchObject(change(RULE_BC));
  });

  test.each<[string, SeenNodes]>([
    ['it does not stream', streaming()],
    ['its agent is silent', { ...ALL_WELL, b: { condition: 'standby', ageMs: 2000 }, c: undefined }],
    ['it is not up as a standby', { ...ALL_WELL, b: { condition: 'starting' }, c: { condition: 'cloning' } }],
    [
      'its data directory is not the registered one',
      { ...ALL_WELL, b: { member: memberId('b_0000000f') }, c: undefined },
    ],
    ['the primary is silent', { ...ALL_WELL, a: { condition: 'primary', streamsTo: [B, C], ageMs: 2000 } }],
    ['the primary is not up', { ...ALL_WELL, a: { condition: 'starting', streamsTo: [B, C] } }],
    [
      'the primary does not know of this epoch yet',
      { ...ALL_WELL, a: { condition: 'primary', streamsTo: [B, C], fenceEpoch: epoch(1) } },
    ],
  ])('not while %s', (_, seen) => {
    expect(leaderOf(runningAlone(), seen).at(0)).toEqual([]);
  });
});

describe('a member leaves the rule', () => {
  test.each<[string, SeenNodes]>([
    ['it no longer streams', streaming(B)],
    ['its agent cannot be reached', { ...ALL_WELL, c: { condition: 'standby', ageMs: 5000 } }],
  ])('700 ms after %s', (_, seen) => {
    const leader = leaderOf(running(), seen);
    expect(leader.at(0)).toEqual([]);
    expect(leader.at(699)).toEqual([]);
    expect(leader.at(700)).toMatchObject(change({ members: [MB], acks: 1 }));
  });

  test('also where the primary is heard of only every 1.5 s', () => {
    const leader = leaderOf(running());
    const seen = (ageMs: number): SeenNodes => ({
      ...ALL_WELL,
      a: { condition: 'primary', streamsTo: [B], ageMs },
    });
    for (let nowMs = 0; nowMs < 1500; nowMs += 100) expect(leader.at(nowMs, seen(nowMs))).toEqual([]);
    expect(leader.at(1500, seen(0))).toMatchObject(change({ members: [MB], acks: 1 }));
  });

  test('not when it came back in between', () => {
    const leader = leaderOf(running());
    leader.at(0, streaming(B));
    leader.at(400, ALL_WELL);
    expect(leader.at(800, streaming(B))).toEqual([]);
  });

  test('not on the word of a leader that has only just been elected', () => {
    const leader = leaderOf(running(), streaming(B));
    leader.at(0);
    leader.change();
    expect(leader.at(700)).toEqual([]);
  });

  test('the last one too: writes go on alone', () => {
    const leader = leaderOf(running({ members: [MB], acks: 1 }), { ...streaming(), c: undefined });
    leader.at(0);
    expect(leader.at(700)).toMatchObject(change(ALONE));
  });
});

describe('of a new primary', () => {
  /** b was promoted with the rule "1 of c" at 0, and c does not stream from it at once. Of its agent the report of `lastMs` is the latest. */
  const newPrimary = () => {
    const log = promoting();
    const seenAt = (nowMs: number, lastMs: number): SeenNodes => ({
      b: { condition: 'primary', ageMs: nowMs - lastMs },
      c: { condition: 'standby' },
    });
    const leader = leaderOf(log);
    expect(leader.at(0, seenAt(0, 0))).toEqual([]);
    log.must(at(log).promoted(B, 2, 100));
    const proposedUntil = (untilMs: number, lastMs: (nowMs: number) => number, fromMs = 50) => {
      const proposed: Command[] = [];
      for (let nowMs = fromMs; nowMs < untilMs; nowMs += 50)
        proposed.push(...leader.at(nowMs, seenAt(nowMs, lastMs(nowMs))));
      return proposed;
    };
    const holdForDown = () => log.must(at(log).down(P1), at(log).down(P3));
    /** c is promoted as soon as the failover has begun and c has reported. */
    const expectReplaced = (nowMs: number, lastMs: number) => {
      const [command] = leader.at(nowMs, seenAt(nowMs, lastMs));
      expect(command).toMatchObject({ kind: 'begin-failover' });
      if (command !== undefined) log.must(command);
      log.must(at(log).cut(C, 100));
      expect(leader.at(nowMs + 100, seenAt(nowMs + 100, lastMs))).toMatchObject([
        { kind: 'promote', candidate: C },
      ]);
    };
    return { log, leader, seenAt, proposedUntil, holdForDown, expectReplaced };
  };

  test('that is lost at once, as everybody sees soon: its rule stays, and it is replaced', () => {
    const { proposedUntil, holdForDown, expectReplaced } = newPrimary();
    expect(proposedUntil(100, () => 50)).toEqual([]);
    holdForDown();
    expect(proposedUntil(3000, () => 60, 100)).toEqual([]);
    expectReplaced(3000, 60);
  });

  test('that vanishes with its host, as is seen only after two seconds: its rule stays, and it is replaced', () => {
    const { proposedUntil, holdForDown, expectReplaced } = newPrimary();
    expect(proposedUntil(2000, (nowMs) => Math.min(nowMs, 300))).toEqual([]);
    holdForDown();
    expect(proposedUntil(3000, () => 300, 2000)).toEqual([]);
    expectReplaced(3000, 300);
  });

  test('that only its agent can reach: its rule stays until it is replaced', () => {
    const { proposedUntil, holdForDown, expectReplaced } = newPrimary();
    expect(proposedUntil(300, (nowMs) => nowMs)).toEqual([]);
    holdForDown();
    expect(proposedUntil(3000, (nowMs) => nowMs, 300)).toEqual([]);
    expectReplaced(3000, 3000);
  });

  test('that goes on and misses its member: as with any other', () => {
    const { proposedUntil, leader, seenAt } = newPrimary();
    expect(proposedUntil(750, (nowMs) => nowMs)).toEqual([]);
    expect(leader.at(750, seenAt(750, 750))).toMatchObject(change(ALONE));
  });
});

describe('of a primary that is held for down', () => {
  test('none is begun before its agent has spoken since; then it is, where nobody can take over: writes must not wait for ever', () => {
    const log = running({ members: [MB], acks: 1 });
    const seen: SeenNodes = { ...streaming(), b: undefined, c: undefined };
    const leader = leaderOf(log, seen);
    expect(leader.at(0)).toEqual([]);
    log.must(at(log).down(P1), at(log).down(P2));
    for (const nowMs of [500, 1000, 1500]) expect(leader.at(nowMs)).toEqual([]);
    expect(leader.at(1501)).toMatchObject(change(ALONE));
  });

  test('at once when its observers take that back', () => {
    const log = running({ members: [MB], acks: 1 });
    const leader = leaderOf(log, { ...streaming(), b: undefined, c: undefined });
    leader.at(0);
    log.must(at(log).down(P1), at(log).down(P2));
    expect(leader.at(900)).toEqual([]);
    log.must(at(log).up(P1));
    expect(leader.at(950)).toMatchObject(change(ALONE));
  });
});

const wanting = (log: Log, settings: Partial<GroupSettings>): Log => {
  const wanted = newLog({ ...log.state, featureLevel: SETTINGS_FEATURE_LEVEL });
  wanted.must({
    kind: 'change-settings',
    group: GROUP,
    settings: { ...DEFAULT_GROUP_SETTINGS, ...settings },
  });
  return wanted;
};

describe('while a change is under way', () => {
  test('no other is begun', () => {
    const log = running();
    log.must(at(log).change({ members: [MB], acks: 1 }));
    const leader = leaderOf(log, streaming(B, C));
    leader.at(0);
    expect(leader.at(5000)).toEqual([]);
  });

  test('it is widened when its own members can no longer complete it', () => {
    const log = running();
    log.must(at(log).change({ members: [MB], acks: 1 }));
    const leader = leaderOf(log, streaming(C));
    expect(leader.at(0)).toEqual([]);
    const [command] = leader.at(700);
    expect([command]).toMatchObject(change(RULE_BC));
    if (command !== undefined) log.must(command);
    log.must(at(log).commitRule());
    leader.at(800);
    expect(leader.at(1500)).toMatchObject(change({ members: [MC], acks: 1 }));
  });

  test('it gives way to alone where nobody is there any more: writes must not wait for ever', () => {
    const log = running();
    log.must(at(log).change({ members: [MB], acks: 1 }));
    const leader = leaderOf(log, streaming());
    expect(leader.at(0)).toEqual([]);
    expect(leader.at(699)).toEqual([]);
    const [command] = leader.at(700);
    expect([command]).toMatchObject(change(ALONE));
    if (command !== undefined) log.must(command);
    expect(leader.at(800)).toEqual([]);
    log.must(at(log).commitRule());
    expect(log.group).toMatchObject({ rule: ALONE, next: undefined });
  });

  test('that of a strict group waits, for it must not run alone', () => {
    const log = wanting(running(), { durability: 'strict' });
    log.must(at(log).change({ members: [MB], acks: 1 }));
    const leader = leaderOf(log, streaming());
    leader.at(0);
    expect(leader.at(5000)).toEqual([]);
  });

  test('from alone it is replaced or given up', () => {
    const log = runningAlone();
    log.must(at(log).change({ members: [MB], acks: 1 }));
    expect(leaderOf(log, streaming(B, C)).at(0)).toMatchObject(change(RULE_BC));
    const leader = leaderOf(log, streaming());
    leader.at(0);
    const [command] = leader.at(700);
    expect([command]).toMatchObject(change(ALONE));
    if (command !== undefined) log.must(command);
    expect(log.group.next).toBeUndefined();
  });
});

describe('by what is wanted of the group:', () => {
  const BOTH: SyncRule = { members: [MB, MC], acks: 2 };
  const ONLY_B: SyncRule = { members: [MB], acks: 1 };
  const LEASED: SyncRule = { members: [], acks: 0, leased: true };
  const withRule = (log: Log, rule: SyncRule): Log => {
    log.must(at(log).change(rule));
    log.must(at(log).commitRule());
    return log;
  };
  /** What is proposed once whoever is silent has been so for long enough, taken by the log. */
  const planned = (log: Log, seen: SeenNodes): SyncRule | undefined => {
    const leader = leaderOf(log, seen);
    const [command] = [...leader.at(0), ...leader.at(700)];
    if (command !== undefined) log.must(command);
    return command?.kind === 'begin-rule-change' ? command.next : undefined;
  };

  test.each<[string, Partial<GroupSettings>, SyncRule, SeenNodes, SyncRule | undefined]>([
    ['two acknowledgements where there are two standbys', { acks: 2 }, RULE_BC, streaming(B, C), BOTH],
    ['one where there is one', { acks: 2 }, BOTH, streaming(B), ONLY_B],
    ['none where there is none', { acks: 2 }, BOTH, streaming(), ALONE],
    ['strict: as many as are wanted', { durability: 'strict', acks: 2 }, RULE_BC, streaming(B, C), BOTH],
    ['strict: never fewer', { durability: 'strict', acks: 2 }, BOTH, streaming(B), undefined],
    ['strict: never alone', { durability: 'strict' }, RULE_BC, streaming(), undefined],
    [
      'strict: who is gone leaves where enough are left',
      { durability: 'strict' },
      RULE_BC,
      streaming(B),
      ONLY_B,
    ],
    ['strict: fewer where fewer are wanted', { durability: 'strict' }, BOTH, streaming(B, C), RULE_BC],
    ['async: a lease', { durability: 'async' }, RULE_BC, streaming(B, C), LEASED],
  ])('%s', (_, settings, rule, seen, expected) => {
    const log = wanting(withRule(wanting(runningAlone(), { acks: 2 }), rule), settings);
    expect(planned(log, seen)).toEqual(expected);
  });

  test('strict: alone until there is a standby, and one acknowledgement until there are two', () => {
    const log = wanting(runningAlone(), { durability: 'strict', acks: 2 });
    expect(planned(log, streaming())).toBeUndefined();
    expect(planned(log, streaming(B))).toEqual(ONLY_B);
    log.must(at(log).commitRule());
    expect(planned(log, streaming(B, C))).toEqual(BOTH);
  });

  test('from a lease back to a rule', () => {
    const log = withRule(wanting(running(), { durability: 'async' }), LEASED);
    expect(planned(log, streaming(B, C))).toBeUndefined();
    expect(planned(wanting(log, { durability: 'quorum' }), streaming(B, C))).toEqual(RULE_BC);
    expect(planned(wanting(log, { durability: 'strict' }), streaming())).toEqual(ALONE);
  });

  test('a change to more acknowledgements than are left is lowered', () => {
    const log = wanting(running(), { acks: 2 });
    log.must(at(log).change(BOTH));
    expect(planned(log, streaming(B))).toEqual(RULE_BC);
  });

  test('a fenced node leaves at once', () => {
    const log = wanting(running(), {});
    log.must({ kind: 'fence-node', node: C });
    expect(leaderOf(log).at(0)).toMatchObject(change(ONLY_B));
  });
});
