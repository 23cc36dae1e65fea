// What people ask of nodes and groups: fencing, counting failovers anew, a switchover at a given time, and the word that a node is off.
import { describe, expect, test } from 'vitest';
import { groupId, nodeId } from '../base/ids.ts';
import type { Command } from './commands.ts';
import { SETTINGS_FEATURE_LEVEL } from './features.ts';
import { isHeld } from './state.ts';
import {
  A,
  B,
  C,
  GROUP,
  type Log,
  MB,
  MC,
  P1,
  P2,
  at,
  creating,
  fencing,
  newLog,
  promoting,
  running,
} from './testing/example.ts';

const upgraded = (log: Log = running()): Log =>
  newLog({ ...log.state, featureLevel: SETTINGS_FEATURE_LEVEL });
const fence = (node = B): Command => ({ kind: 'fence-node', node });
const unfence = (node = B): Command => ({ kind: 'unfence-node', node });
const off = (log: Log, node = A): Command => ({
  kind: 'node-off',
  group: GROUP,
  epoch: log.epoch,
  node,
  by: 'operator',
});

describe('a fenced node', () => {
  test('stays so until it is unfenced', () => {
    const log = upgraded();
    log.must(fence(C), fence(B));
    expect(log.group.fenced).toEqual([B, C]);
    expect(log.commit(fence(B))).toMatch(/fenced already/);
    log.must(unfence(C));
    expect(log.group.fenced).toEqual([B]);
    expect(log.commit(unfence(C))).toMatch(/not fenced/);
  });

  test('comes into no rule, and is no candidate however much it holds', () => {
    const log = upgraded();
    log.must(fence(B));
    expect(log.commit(at(log).change({ members: [MB], acks: 1 }))).toMatch(/not a standby/);
    log.must(at(log).change({ members: [MC], acks: 1 }));
    log.must(at(log).commitRule());
    log.must(at(log).down(P1), at(log).down(P2), at(log).begin());
    log.must(at(log).cut(B, 200), at(log).cut(C, 100));
    expect(log.commit(at(log).promote(B, 2, { members: [], acks: 0 }))).toMatch(/b is fenced/);
  });

  test.each<[string, () => Log]>([
    ['runs', running],
    ['is being fenced off', () => fencing()],
    ['is being promoted', () => promoting()],
  ])('is never the primary that %s', (_, begin) => {
    const log = upgraded(begin());
    expect(log.commit(fence(log.group.phase.primary))).toMatch(/is the primary.*fail over first/);
  });

  test('is refused where there is none, of a group that is being created, and before every peer understands it', () => {
    expect(upgraded().commit(fence(nodeId('x')))).toMatch(/there is no node x/);
    expect(upgraded(creating()).commit(fence())).toMatch(/being created/);
    expect(running().commit(fence())).toMatch(/upgrade all of them/);
  });

  test('cannot be the target of a switchover', () => {
    const log = upgraded();
    log.must(fence(B));
    expect(log.commit(at(log).begin({ kind: 'planned', to: B }))).toMatch(/b is fenced/);
    expect(log.commit(at(log).begin({ kind: 'forced', to: B }))).toMatch(/b is fenced/);
  });
});

describe('failovers are counted', () => {
  const failOver = (log: Log, proposedAtMs: number): void => {
    log.must(at(log).down(P1), at(log).down(P2));
    expect(log.commit(at(log).begin(), { proposedAtMs })).toBeUndefined();
    log.must(at(log).up(P1), at(log).up(P2));
    log.must(at(log).resume());
  };
  const limited = (maxFailovers: number): Log => {
    const log = upgraded();
    const settings = { ...log.group.settings, maxFailovers, failoverWindowMs: 10_000 };
    log.must({ kind: 'change-settings', group: GROUP, settings });
    return log;
  };

  test('and hold the group when there are too many in the window, until they are acknowledged', () => {
    const log = limited(3);
    for (const [atMs, held] of [
      [1000, false],
      [2000, false],
      [11_500, false],
      [11_600, true],
    ] as const) {
      failOver(log, atMs);
      expect([atMs, isHeld(log.group)]).toEqual([atMs, held]);
    }
    expect(log.group.recentFailovers).toEqual([2000, 11_500, 11_600]);
    log.must({ kind: 'acknowledge-failovers', group: GROUP });
    expect(isHeld(log.group)).toBe(false);
    expect(log.commit({ kind: 'acknowledge-failovers', group: GROUP })).toMatch(/no failover to acknowledge/);
  });

  test('the hold is the leader’s to keep: a failover that was proposed all the same takes place', () => {
    const log = limited(1);
    failOver(log, 1000);
    expect(isHeld(log.group)).toBe(true);
    failOver(log, 2000);
    expect(log.group.recentFailovers).toEqual([2000]);
  });

  test('but not those that a person asked for', () => {
    const log = limited(1);
    log.must(at(log).begin({ kind: 'planned', to: B }));
    expect(log.group.recentFailovers).toEqual([]);
  });
});

describe('the word that a node is off', () => {
  test('is kept for this failover only', () => {
    const log = fencing();
    log.must(off(log));
    expect(log.group.phase).toMatchObject({ off: [A] });
    expect(log.commit(off(log))).toMatch(/off already/);
    const late = off(log);
    log.must(at(log).begin({ kind: 'forced', to: undefined }));
    expect(log.group.phase).toMatchObject({ off: [] });
    expect(log.commit(late)).toMatch(/is at epoch/);
  });

  test('is refused while nothing is being fenced, and of a stranger', () => {
    const log = running();
    expect(log.commit(off(log))).toMatch(/not fencing/);
    const other = fencing();
    expect(other.commit(off(other, nodeId('x')))).toMatch(/no node x/);
  });
});

describe('a switchover for later', () => {
  const schedule = (to: typeof B | undefined): Command => ({
    kind: 'schedule-switchover',
    group: GROUP,
    at: { atMs: 5000, to },
  });
  const never: Command = { kind: 'schedule-switchover', group: GROUP, at: undefined };

  test('is kept until it begins, another one takes its place, or it is called off', () => {
    const log = upgraded();
    expect(log.commit(never)).toMatch(/no switchover.*is scheduled/);
    log.must(schedule(undefined), schedule(B));
    expect(log.group.scheduled).toEqual({ atMs: 5000, to: B });
    log.must(never);
    expect(log.group.scheduled).toBeUndefined();
    log.must(schedule(B), { ...at(log).begin({ kind: 'planned', to: B }), scheduledAtMs: 5000 } as Command);
    expect(log.group.scheduled).toBeUndefined();
  });

  test('outlives a switchover that is another one, and does not begin once it is called off or replaced', () => {
    const log = upgraded();
    const due = (to: typeof B | undefined, scheduledAtMs = 5000): Command =>
      ({ ...at(log).begin({ kind: 'planned', to }), scheduledAtMs }) as Command;
    expect(log.commit(due(B))).toMatch(/not scheduled any more/);
    log.must(schedule(B));
    for (const other of [due(B, 4000), due(undefined)])
      expect(log.commit(other)).toMatch(/not scheduled any more/);
    log.must(at(log).begin({ kind: 'planned', to: C }));
    expect(log.group.scheduled).toEqual({ atMs: 5000, to: B });
  });

  test('is given up only in the place of the one that was', () => {
    const log = upgraded();
    log.must(schedule(B));
    expect(log.commit({ ...never, onlyAtMs: 4000 } as Command)).toMatch(/not scheduled any more/);
    log.must({ ...never, onlyAtMs: 5000 } as Command);
    expect(log.group.scheduled).toBeUndefined();
  });

  test('outlives a failover', () => {
    const log = upgraded();
    log.must(schedule(B));
    fencing(log);
    expect(log.group.scheduled).toBeDefined();
  });

  test('is refused to a node that is not there, and of a group that is not', () => {
    expect(upgraded().commit(schedule(nodeId('x')))).toMatch(/no node x/);
    expect(upgraded().commit({ ...never, group: groupId('other') })).toMatch(/no group other/);
  });
});

test('that a fence command failed is noted for people, once for each reason, and changes nothing else', () => {
  const log = upgraded(fencing());
  const failed = (reason: string, node = A): Command => ({
    kind: 'fence-failed',
    group: GROUP,
    epoch: log.epoch,
    node,
    reason,
  });
  const { phase } = log.group;
  log.must(failed('exit code 1'));
  expect(log.group.phase).toEqual({ ...phase, fenceFailed: 'exit code 1' });
  expect(log.commit(failed('exit code 1'))).toMatch(/known already/);
  expect(log.commit(failed('exit code 1', B))).toMatch(/b is not being fenced off/);
  log.must(failed('exit code 2'));
  expect(log.commit({ ...failed('exit code 3'), epoch: 1 } as Command)).toMatch(/is at epoch/);
  log.must(off(log));
  expect(log.group.phase).toMatchObject({ off: [A], fenceFailed: 'exit code 2' });
});
