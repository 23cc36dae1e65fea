// What `status` says of a group beside its nodes.
import { describe, expect, test } from 'vitest';
import type { GroupSettings, SyncRule } from '../cluster/commands.ts';
import { DEFAULT_GROUP_SETTINGS } from '../cluster/apply-settings.ts';
import {
  A,
  ALONE,
  B,
  C,
  GROUP,
  type Log,
  MB,
  MC,
  RULE_BC,
  at,
  creating,
  fencing,
  newLog,
  registration,
  running,
  runningAlone,
} from '../cluster/testing/example.ts';
import { CANDIDATES_FEATURE_LEVEL, SITE_FEATURE_LEVEL } from '../cluster/features.ts';
import { SITE_OPTIONS, following, withData } from '../cluster/testing/following.ts';
import type { GroupState } from '../cluster/state.ts';
import { groupNotices, leaderlessNotice } from './group-notices.ts';

const LEASED: SyncRule = { members: [], acks: 0, leased: true };
const AT_MS = Date.UTC(2026, 10, 21, 12);
const notices = (log: Log, change: Partial<GroupState> = {}): string[] => [
  ...groupNotices({ state: log.state, atMs: AT_MS }, { ...log.group, ...change }),
];
const wanting = (settings: Partial<GroupSettings>) => ({
  settings: { ...DEFAULT_GROUP_SETTINGS, ...settings },
});

test.each<[string, SyncRule, RegExp]>([
  ['a rule', { members: [MB, MC], acks: 2 }, /writes go on while 2 of b, c acknowledge them; else they wait/],
  ['no rule', ALONE, /: a goes on alone$/],
  ['a lease', LEASED, /the guard stops a before its lease ends \(\d/],
])('without a Raft leader, of a group with %s', (_, rule, text) => {
  const { state, group } = running();
  expect(leaderlessNotice(state, { ...group, rule })).toMatch(text);
  expect(leaderlessNotice(state, { ...creating().group, rule })).toBeUndefined();
});

describe('durability', () => {
  test.each<[string, SyncRule, Partial<GroupSettings>, RegExp | undefined]>([
    ['as wanted', RULE_BC, {}, undefined],
    ['alone', ALONE, {}, /degraded: commits are on a alone/],
    ['fewer than wanted', RULE_BC, { acks: 2 }, /degraded: commits wait for 1 of the 2 standbys/],
    [
      'strict without standbys',
      { members: [MC], acks: 2 },
      { durability: 'strict', acks: 2 },
      /writes wait: strict/,
    ],
    ['async', LEASED, { durability: 'async' }, undefined],
    ['async, not yet', RULE_BC, { durability: 'async' }, /async is not in force yet/],
    ['async, still', LEASED, {}, /quorum is not in force yet/],
  ])('%s', (_, rule, settings, expected) => {
    const found = notices(running(), { rule, ...wanting(settings) });
    if (expected === undefined) expect(found).toEqual([]);
    else expect(found).toEqual([expect.stringMatching(expected)]);
  });

  test('alone because no standby may be counted says so, and why of each', () => {
    const log = newLog({ ...running().state, featureLevel: CANDIDATES_FEATURE_LEVEL });
    const options = { noFailover: true, noSync: false, applyDelayMs: 0 };
    log.must({ ...registration(B, MB), options });
    expect(notices(log, { rule: ALONE })).toEqual([expect.not.stringContaining('no standby')]);
    log.must({ ...registration(C, MC), options: { ...options, noFailover: false, noSync: true } });
    expect(notices(log, { rule: ALONE })).toEqual([
      expect.stringMatching(
        /degraded: .*; no standby may be counted: b is never promoted \(no_failover, or priority 0\); c is never counted/,
      ),
    ]);
  });

  test.each<[number, boolean]>([
    [3, true],
    [2, false],
  ])('strict with %i acknowledgements and two standbys is warned of: %s', (acks, isWarned) => {
    const rule = { members: RULE_BC.members, acks: 2 };
    const found = notices(running(), { rule, ...wanting({ durability: 'strict', acks }) }).join('\n');
    if (isWarned) expect(found).toMatch(/is to wait for 3 standbys, and the group has 2: the loss of any/);
    else expect(found).toBe('');
  });

  test('strict is warned of where a standby is never counted', () => {
    const log = newLog({ ...running().state, featureLevel: CANDIDATES_FEATURE_LEVEL });
    const options = { noFailover: false, noSync: true, applyDelayMs: 0 };
    log.must({ ...registration(C, MC), options });
    const found = notices(log, wanting({ durability: 'strict', acks: 2 })).join('\n');
    expect(found).toMatch(/is to wait for 2 standbys, and the group has 1 that may be counted: the loss/);
  });

  test('is no matter while a group is created', () => {
    expect(notices(creating())).toEqual([]);
    expect(notices(runningAlone())).toHaveLength(1);
  });
});

test('a group that goes on with another database says who has it', () => {
  expect(notices(creating())).toEqual([]);
  expect(notices(creating(), { systemIdentifier: '88' })).toEqual([
    expect.stringMatching(/goes on with another database, which a alone has: writes wait/),
  ]);
});

test('a hold, fenced nodes and what is scheduled', () => {
  const change = {
    ...wanting({ maxFailovers: 2 }),
    recentFailovers: [1, 2],
    fenced: [B, C],
    scheduled: { atMs: AT_MS + 1000, to: B },
  };
  expect(notices(running(), change)).toEqual([
    expect.stringMatching(/had 2 failovers within 60min.*sentinelctl ack main/),
    expect.stringMatching(/b is fenced/),
    expect.stringMatching(/c is fenced/),
    expect.stringMatching(/to b is scheduled for 2026-11-21T12:00:01/),
  ]);
  const late = { scheduled: { atMs: AT_MS - 1000, to: undefined } };
  expect(notices(running(), late)).toEqual([expect.stringMatching(/could not begin yet.*12:09:59/)]);
});

test('members whose slots are given up', () => {
  const absent = [
    { member: MB, sinceMs: 1, givenUpAtMs: undefined },
    { member: MC, sinceMs: 1, givenUpAtMs: AT_MS },
  ];
  expect(notices(running(), { absent })).toEqual([
    expect.stringMatching(/^c was absent for slot_retention: .* given up at 2026-11-21T12:00:00.000Z; /),
  ]);
});

test('what a failover waits for', () => {
  expect(notices(fencing())).toEqual([]);
  expect(notices(fencing(), { rule: LEASED })).toEqual([expect.stringMatching(/lease of a.* up to 6.0s/)]);
  const forced = running();
  forced.must(at(forced).begin({ kind: 'forced', to: undefined }));
  expect(notices(forced)).toEqual([expect.stringMatching(/a is known to be stopped/)]);
  const { phase } = forced.group;
  if (phase.kind !== 'fencing') throw new Error('it is being fenced off');
  expect(notices(forced, { phase: { ...phase, fenceFailed: 'exit code 7' } })).toEqual([
    expect.stringMatching(/the fence command could not switch a off \(exit code 7\); it is tried again/),
    expect.stringMatching(/a is known to be stopped/),
  ]);
});

test('pauses and maintenance, with what is left of the time', () => {
  const pausedNodes = [
    { node: A, isMaintenance: false, untilMs: undefined },
    { node: B, isMaintenance: true, untilMs: AT_MS + 60_000 },
    { node: C, isMaintenance: false, untilMs: AT_MS - 1 },
  ];
  expect(notices(running(), { paused: { untilMs: AT_MS + 720_000 }, pausedNodes })).toEqual([
    'group main is paused for another 12min: it does not fail over by itself; sentinelctl resume main ends that',
    'a, the primary, is paused: group main does not fail over by itself; sentinelctl resume --node a ends that',
    expect.stringMatching(/^b is in maintenance for another 1min: .*sentinelctl maintenance off b ends that/),
    expect.stringMatching(/^c is paused for another 0ms: .*sentinelctl resume --node c ends that/),
  ]);
  const scheduled = { atMs: AT_MS - 1000, to: B };
  expect(notices(running(), { paused: { untilMs: undefined }, scheduled })).toContainEqual(
    expect.stringMatching(/group main is paused: the switchover to b of .* waits for sentinelctl resume/),
  );
});

test('a configuration that is to follow another site is named where the group does not', () => {
  const log = newLog({ ...running().state, featureLevel: SITE_FEATURE_LEVEL });
  log.must({ ...registration(B, MB), options: SITE_OPTIONS });
  expect(notices(log)).toEqual([
    expect.stringMatching(/main does not follow another site: node.follow has no effect .* of b;/),
  ]);
  const site = following();
  expect(notices(site)).toEqual([]);
  site.must(withData(B, { options: { ...SITE_OPTIONS, source: 'far2:5432,far1:5432' } }));
  expect(notices(site)).toEqual([]);
  site.must(withData(B, { options: { ...SITE_OPTIONS, source: 'far3:5432' } }));
  expect(notices(site)).toEqual([expect.stringMatching(/servers differs, a has far1.*, b has far3:5432/)]);
});

test('a site that was promoted is well with the file that it began with', () => {
  const site = following();
  site.must({ kind: 'promote-site', group: GROUP, epoch: site.epoch });
  site.must(at(site).cut(A, 100), at(site).cut(B, 100), at(site).cut(C, 100));
  site.must(at(site).promote(A, 20, { members: [MB, MC], acks: 1 }), at(site).promoted(A, 20, 100));
  expect(site.group.phase.kind).toBe('running');
  expect(notices(site)).toEqual([]);
});
