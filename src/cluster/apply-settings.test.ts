// Settings of a group: what is named is taken, refused where one of them makes no sense or a peer would not understand them.
import { describe, expect, test } from 'vitest';
import { groupId } from '../base/ids.ts';
import { DEFAULT_GROUP_SETTINGS } from './apply-settings.ts';
import type { Command, GroupSettings } from './commands.ts';
import { CANDIDATES_FEATURE_LEVEL, SETTINGS_FEATURE_LEVEL, SLOTS_FEATURE_LEVEL } from './features.ts';
import { B, GROUP, newLog, running } from './testing/example.ts';

const BY_ANN = { parameters: [], by: 'ann' } as const;
const upgraded = (state = running().state) => newLog({ ...state, featureLevel: SETTINGS_FEATURE_LEVEL });
const change = (settings: Partial<GroupSettings>) =>
  ({ kind: 'change-settings', group: GROUP, settings: { ...DEFAULT_GROUP_SETTINGS, ...settings } }) as const;

test('a group begins with the defaults and keeps what it is given', () => {
  const log = upgraded();
  expect(log.group.settings).toEqual(DEFAULT_GROUP_SETTINGS);
  log.must(change({ durability: 'async', leaseMs: 2000 }));
  expect(log.group.settings).toEqual({ ...DEFAULT_GROUP_SETTINGS, durability: 'async', leaseMs: 2000 });
});

test('what is not named stays', () => {
  const log = upgraded();
  log.must(change({ durability: 'async', leaseMs: 2000 }));
  log.must({ kind: 'change-settings', group: GROUP, settings: { acks: 2 } });
  expect(log.group.settings).toMatchObject({ durability: 'async', leaseMs: 2000, acks: 2 });
});

test('are refused before every peer understands them', () => {
  const log = newLog({ ...running().state, featureLevel: SETTINGS_FEATURE_LEVEL - 1 });
  expect(log.commit(change({ acks: 2 }))).toMatch(/upgrade all of them/);
  expect(log.group.settings).toEqual(DEFAULT_GROUP_SETTINGS);
});

describe('are applied alike by a peer that knows them and one that passes over them, before', () => {
  const OF_SLOTS = { slotRetentionMs: 3_600_000, maxSlotWalBytes: 2 ** 30 } as const;
  const OF_PLACES = { sitePolicy: 'prefer', failback: `node:${B}`, failbackAfterMs: 60_000 } as const;
  test.each<[string, number, Partial<GroupSettings>, Partial<GroupSettings>]>([
    ['slots of absent members', SLOTS_FEATURE_LEVEL, OF_SLOTS, {}],
    ['sites', CANDIDATES_FEATURE_LEVEL, OF_PLACES, OF_SLOTS],
  ])('the feature level of %s', (_, level, come, known) => {
    const state = { ...running().state, featureLevel: level - 1 };
    const [knows, passesOver] = [newLog(state), newLog(state)];
    const settings = { acks: 2, maxFailovers: 7, ...known };
    const whole: Command = { kind: 'configure', group: GROUP, settings: { ...settings, ...come }, ...BY_ANN };
    expect(knows.commit(whole)).toBe(passesOver.commit({ ...whole, settings }));
    expect(knows.state.groups).toEqual(passesOver.state.groups);
    expect(knows.group.settings).toEqual({ ...DEFAULT_GROUP_SETTINGS, ...settings });
    const upgradedLog = newLog({ ...state, featureLevel: level });
    upgradedLog.must(whole);
    expect(upgradedLog.group.settings).toMatchObject(come);
  });
});

describe('are refused with the name and the limits:', () => {
  test.each<[Partial<GroupSettings>, RegExp]>([
    [{ acks: 0 }, /acks is 0; it must be a whole number from 1 to 16/],
    [{ leaseMs: 999 }, /lease is 999 ms; .*from 1000 to 300000 ms/],
    [{ maxLagBytes: -1 }, /max_lag is -1 bytes/],
    [{ maxFailovers: 1.5 }, /max_failovers is 1\.5/],
    [{ failoverWindowMs: Number.NaN }, /failover_window is NaN/],
  ])('%j', (settings, expected) => {
    const log = upgraded();
    expect(log.commit(change(settings))).toMatch(expected);
    expect(log.group.settings).toEqual(DEFAULT_GROUP_SETTINGS);
  });
});

test('of a group that does not exist are refused', () => {
  expect(upgraded().commit({ ...change({}), group: groupId('other') })).toMatch(/there is no group other/);
});

test('a lease does not become shorter while the primary may hold one of the present length', () => {
  const log = upgraded();
  log.must(change({ durability: 'async' }));
  const group = { ...log.group, rule: { members: [], acks: 0, leased: true as const } };
  const leased = newLog({ ...log.state, groups: new Map([[GROUP, group]]) });
  expect(leased.commit(change({ durability: 'async', leaseMs: 4999 }))).toMatch(
    /lease cannot become shorter than 5000 ms .* set the durability to quorum first/,
  );
  leased.must(
    change({ durability: 'async', leaseMs: 6000 }),
    change({ durability: 'quorum', leaseMs: 6000 }),
  );
  expect(leased.commit(change({ leaseMs: 4000 }))).toMatch(/cannot become shorter than 6000/);
});
