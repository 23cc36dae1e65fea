// What the leader leaves alone while a group or a node is paused, when it ends that, and what is asked of the nodes meanwhile.
import { describe, expect, test } from 'vitest';
import type { NodeId } from '../base/ids.ts';
import type { Command } from '../cluster/commands.ts';
import { PAUSE_FEATURE_LEVEL } from '../cluster/features.ts';
import {
  A,
  B,
  C,
  GROUP,
  type Log,
  MC,
  P1,
  P2,
  at,
  newLog,
  recovered,
  running,
} from '../cluster/testing/example.ts';
import { SCHEDULE_VALID_MS } from './decide.ts';
import { duties } from './duties.ts';
import { failoverObstacle, switchoverObstacle } from './obstacles.ts';
import { ALL_WELL, type SeenNodes, WALL_MS, leaderOf, viewOf } from './testing/view.ts';

const kinds = (commands: readonly Command[]): string[] => commands.map((command) => command.kind);
const LOST_A: SeenNodes = { ...ALL_WELL, a: undefined };
const pause = (node?: NodeId, untilMs?: number, isMaintenance = false): Command => ({
  kind: 'pause',
  group: GROUP,
  node,
  isMaintenance,
  untilMs,
});
const paused = (...commands: readonly Command[]): Log => {
  const log = newLog({ ...running().state, featureLevel: PAUSE_FEATURE_LEVEL });
  log.must(...commands);
  return log;
};
const without = (log: Log, member = MC): void => {
  log.must(at(log).change({ members: [member], acks: 1 }));
  log.must(at(log).commitRule());
};

describe('a paused group', () => {
  test.each([
    ['as a whole', undefined],
    ['by its primary', A],
  ])('%s is not failed over, and is once that ends', (_, node) => {
    const log = paused(pause(node));
    log.must(at(log).down(P1), at(log).down(P2));
    const leader = leaderOf(log, LOST_A);
    expect(leader.at(0)).toEqual([]);
    expect(leader.at(60_000)).toEqual([]);
    log.must({ kind: 'end-pause', group: GROUP, node });
    expect(kinds(leader.at(60_001))).toEqual(['begin-failover']);
  });

  test('takes a lost standby out of its rule', () => {
    const leader = leaderOf(paused(pause()), {
      ...ALL_WELL,
      a: { condition: 'primary', streamsTo: [C] },
      b: undefined,
    });
    expect(leader.at(0)).toEqual([]);
    expect(leader.at(700)).toMatchObject([{ kind: 'begin-rule-change', next: { members: [MC] } }]);
  });

  test('lets a scheduled switchover wait for ten minutes', () => {
    const log = paused(pause());
    log.must({ kind: 'schedule-switchover', group: GROUP, at: { atMs: WALL_MS + 1000, to: B } });
    const leader = leaderOf(log);
    expect(leader.at(1000)).toEqual([]);
    expect(leader.at(1001 + SCHEDULE_VALID_MS)).toMatchObject([
      { kind: 'schedule-switchover', at: undefined },
    ]);
    log.must({ kind: 'end-pause', group: GROUP, node: undefined });
    expect(leader.at(2000)).toMatchObject([{ kind: 'begin-failover', cause: { kind: 'planned' } }]);
  });

  test('tells the agent of the primary, which then waits for no standby', () => {
    expect(duties(paused(pause()).state, A)).toMatchObject({ kind: 'primary', isPaused: true });
    expect(duties(paused(pause(A)).state, A)).toMatchObject({ kind: 'primary', isPaused: true });
    expect(duties(paused(pause(B)).state, A)).toMatchObject({ kind: 'primary', isPaused: false });
  });
});

describe('the end of the time', () => {
  test('is proposed by the leader, by its own clock, for the very pause that it has seen', () => {
    const log = paused(pause(undefined, WALL_MS + 500), pause(B, WALL_MS + 900, true), pause(A));
    without(log);
    const leader = leaderOf(log);
    expect(leader.at(499)).toEqual([]);
    const ofGroup = { kind: 'end-pause', group: GROUP, node: undefined, onlyUntilMs: WALL_MS + 500 };
    expect(leader.at(500)).toEqual([ofGroup]);
    expect(leader.at(900)).toEqual([ofGroup, { ...ofGroup, node: B, onlyUntilMs: WALL_MS + 900 }]);
    for (const command of leader.at(900)) log.must(command);
    expect(log.group).toMatchObject({ paused: undefined, pausedNodes: [{ node: A }] });
  });

  test('comes while a failover is under way too', () => {
    const log = paused(pause(B, WALL_MS + 500));
    log.must(at(log).begin({ kind: 'planned', to: C }));
    expect(kinds(leaderOf(log).at(500))).toEqual(['end-pause']);
  });
});

describe('a node in maintenance', () => {
  test('leaves the rule at once, and only then is left alone', () => {
    const log = paused(pause(B, undefined, true));
    const leader = leaderOf(log);
    expect(duties(log.state, B).kind).toBe('follow');
    const [change] = leader.at(0);
    expect(change).toMatchObject({ kind: 'begin-rule-change', next: { members: [MC], acks: 1 } });
    log.must(change as Command);
    expect(duties(log.state, B).kind).toBe('follow');
    log.must(at(log).commitRule());
    expect(duties(log.state, B)).toMatchObject({ kind: 'hands-off', reason: /in maintenance/ });
    expect(leader.at(10_000)).toEqual([]);
    expect(duties(log.state, A)).toMatchObject({ slots: expect.arrayContaining(['b_00000001']) as unknown });
  });

  test('is cut as ever where it is still counted when a failover begins', () => {
    const log = paused(pause(B, undefined, true));
    log.must(at(log).down(P1), at(log).down(P2));
    log.must(at(log).begin());
    expect(duties(log.state, B).kind).toBe('cut');
    const left = paused(pause(B, undefined, true));
    without(left);
    left.must(at(left).down(P1), at(left).down(P2));
    left.must(at(left).begin());
    expect([duties(left.state, B).kind, duties(left.state, C).kind]).toEqual(['hands-off', 'cut']);
  });

  test('comes back into the rule once that ends', () => {
    const log = paused(pause(B, undefined, true));
    without(log);
    const leader = leaderOf(log);
    expect(leader.at(0)).toEqual([]);
    log.must({ kind: 'end-pause', group: GROUP, node: B });
    expect(duties(log.state, B).kind).toBe('follow');
    expect(leader.at(10)).toMatchObject([{ kind: 'begin-rule-change' }]);
  });

  test('is named where it stands in the way', () => {
    const log = paused(pause(B, undefined, true));
    expect(switchoverObstacle(log.state, log.group, B, viewOf(log, 0))).toMatch(
      /in maintenance; sentinelctl maintenance off b ends that/,
    );
    const alone: SeenNodes = { ...ALL_WELL, c: undefined };
    without(log);
    expect(failoverObstacle(log.state, log.group, viewOf(log, 0, alone))).toMatch(/too few agents/);
    const after = recovered(log);
    expect(failoverObstacle(after.state, after.group, viewOf(after, 0))).toMatch(
      /sentinelctl maintenance off b: its agent/,
    );
  });
});
