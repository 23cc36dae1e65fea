// The leader moves off the host of a primary, once all is quiet, and only to where there are fewer of them.
import { describe, expect, test } from 'vitest';
import { type PeerId, groupId } from '../base/ids.ts';
import {
  C,
  type Log,
  P1,
  P2,
  P3,
  RULE_BC,
  at,
  creating,
  fencing,
  promoting,
  running,
  runningAlone,
} from '../cluster/testing/example.ts';
import { type Placement, QUIET_MS, RETRY_MS, SETTLE_MS, betterLeader, isQuiet } from './placement.ts';

const NOW_MS = 100_000;
const place = (log: Log, more: Partial<Placement> = {}): PeerId | undefined =>
  betterLeader(log.state, {
    self: P1,
    nowMs: NOW_MS,
    electedAtMs: NOW_MS - SETTLE_MS,
    quietSinceMs: NOW_MS - QUIET_MS,
    tried: new Map(),
    upToDate: [P3, P2],
    ...more,
  });

describe('the leader on the host of a primary', () => {
  test('moves to a voter without one that is up to date', () => {
    expect(place(running())).toBe(P2);
    expect(place(running(), { upToDate: [P3] })).toBe(P3);
  });

  test.each<[string, Partial<Placement>]>([
    ['has only just been elected', { electedAtMs: NOW_MS - SETTLE_MS + 1 }],
    ['has seen quiet for too short a time', { quietSinceMs: NOW_MS - QUIET_MS + 1 }],
    ['sees no quiet', { quietSinceMs: undefined }],
    ['has tried a moment ago', { tried: new Map([[P3, NOW_MS - RETRY_MS + 1]]) }],
    ['finds nobody up to date', { upToDate: [] }],
    ['is not on that host', { self: P2, upToDate: [P1, P3] }],
  ])('stays while it %s', (_, more) => {
    expect(place(running(), more)).toBeUndefined();
  });

  test('tries again after a while', () => {
    expect(place(running(), { tried: new Map([[P3, NOW_MS - RETRY_MS]]) })).toBe(P2);
  });

  test('tries first whoever was not tried, or longest ago', () => {
    const earlier = NOW_MS - 2 * RETRY_MS;
    expect(place(running(), { tried: new Map([[P2, earlier]]) })).toBe(P3);
    const tried = new Map([
      [P2, earlier - 1],
      [P3, earlier],
    ]);
    expect(place(running(), { tried })).toBe(P2);
  });

  test('does not go to a learner, nor to where there are as many', () => {
    const log = running();
    log.change({ voters: [P1, P2], learners: [P3] });
    expect(place(log, { upToDate: [P3] })).toBeUndefined();
    const two = running();
    const other = { ...two.group, id: groupId('other'), phase: { ...two.group.phase, primary: C } };
    two.state = { ...two.state, groups: new Map([...two.state.groups, [other.id, other]]) };
    expect(place(two)).toBe(P2);
    expect(place(two, { upToDate: [P3] })).toBeUndefined();
  });
});

describe('quiet is', () => {
  test('a group that runs, and nothing that begins to go on', () => {
    expect(isQuiet(running().state)).toBe(true);
    for (const log of [creating(), fencing(), promoting()]) expect(isQuiet(log.state)).toBe(false);
    const held = running();
    held.must(at(held).down(P2));
    expect(isQuiet(held.state)).toBe(false);
    const changing = runningAlone();
    changing.must(at(changing).change(RULE_BC));
    expect(isQuiet(changing.state)).toBe(false);
  });
});
