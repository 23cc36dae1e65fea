// Pauses and maintenance in the log: who may be, what they forbid, and what they do not.
import { describe, expect, test } from 'vitest';
import type { NodeId } from '../base/ids.ts';
import type { Command } from './commands.ts';
import { PAUSE_FEATURE_LEVEL } from './features.ts';
import { asideReason, isPaused } from './state.ts';
import {
  A,
  ALONE,
  B,
  C,
  GROUP,
  type Log,
  MB,
  MC,
  P1,
  P2,
  at,
  fencing,
  newLog,
  promoting,
  running,
} from './testing/example.ts';

const upgraded = (log: Log = running()): Log => newLog({ ...log.state, featureLevel: PAUSE_FEATURE_LEVEL });
const pause = (node?: NodeId, untilMs?: number): Command => ({
  kind: 'pause',
  group: GROUP,
  node,
  isMaintenance: false,
  untilMs,
});
const maintain = (node: NodeId, untilMs?: number): Command => ({
  kind: 'pause',
  group: GROUP,
  node,
  isMaintenance: true,
  untilMs,
});
const end = (node?: NodeId, onlyUntilMs?: number): Command => ({
  kind: 'end-pause',
  group: GROUP,
  node,
  ...(onlyUntilMs === undefined ? {} : { onlyUntilMs }),
});
const down = (log: Log): void => log.must(at(log).down(P1), at(log).down(P2));

test('is refused while a peer might not understand it', () => {
  const log = newLog({ ...running().state, featureLevel: PAUSE_FEATURE_LEVEL - 1 });
  expect(log.commit(pause())).toMatch(/upgrade all of them/);
  expect(log.commit(maintain(B))).toMatch(/upgrade all of them/);
});

describe('a paused group', () => {
  test.each<[string, Command]>([
    ['as a whole', pause()],
    ['its primary', pause(A)],
  ])('%s does not fail over by itself', (_, command) => {
    const log = upgraded();
    log.must(command);
    down(log);
    expect(log.commit(at(log).begin())).toMatch(/group main is paused/);
    log.must(end(command.kind === 'pause' ? command.node : undefined), at(log).begin());
    expect(log.group.phase.kind).toBe('fencing');
  });

  test('fails over on a person’s word', () => {
    for (const cause of [
      { kind: 'planned', to: B },
      { kind: 'forced', to: undefined },
    ] as const) {
      const log = upgraded();
      log.must(pause(), pause(A), at(log).begin(cause));
      expect(log.group.phase).toMatchObject({ kind: 'fencing', cause });
    }
  });

  test('lets what is scheduled wait', () => {
    const log = upgraded();
    log.must(pause(), { kind: 'schedule-switchover', group: GROUP, at: { atMs: 5, to: B } });
    const due = { ...at(log).begin({ kind: 'planned', to: B }), scheduledAtMs: 5 } as Command;
    expect(log.commit(due)).toMatch(/paused: what is scheduled waits/);
    log.must(end(), due);
  });

  test('finishes a failover that has begun', () => {
    const handingOver = upgraded();
    handingOver.must(at(handingOver).begin({ kind: 'planned', to: B }), pause());
    down(handingOver);
    handingOver.must(at(handingOver).begin());
    const failed = upgraded(promoting());
    failed.must(pause(), at(failed).failed(B), at(failed).begin({ kind: 'promotion-failed' }));
    const died = upgraded(promoting());
    died.must(pause());
    down(died);
    died.must(at(died).begin());
  });

  test('still changes its sync rule, so that writes go on', () => {
    const log = upgraded();
    log.must(pause(), at(log).change({ members: [MB], acks: 1 }));
    log.must(at(log).commitRule());
  });
});

describe('a node in maintenance', () => {
  const maintained = (): Log => {
    const log = upgraded();
    log.must(maintain(B));
    return log;
  };

  test('comes into no rule', () => {
    const log = maintained();
    expect(log.commit(at(log).change({ members: [MB], acks: 1 }))).toMatch(/not a standby/);
    log.must(at(log).change({ members: [MC], acks: 1 }));
  });

  test('is not promoted, nor switched over to, nor begins with its promotion', () => {
    const log = maintained();
    expect(log.commit(at(log).begin({ kind: 'planned', to: B }))).toMatch(
      /b is in maintenance; sentinelctl maintenance off b ends that/,
    );
    down(log);
    log.must(at(log).begin());
    log.must(at(log).begin({ kind: 'forced', to: undefined }));
    log.must(at(log).cut(B, 100), at(log).cut(C, 100));
    expect(log.commit(at(log).promote(B, 2, ALONE))).toMatch(/b is in maintenance/);
    expect(log.commit(at(log).promote(C, 2, { members: [MB], acks: 1 }))).toMatch(/cannot follow/);
    log.must(at(log).promote(C, 2, ALONE));
  });

  test('is not the primary, which can be paused', () => {
    const log = upgraded();
    expect(log.commit(maintain(A))).toMatch(/a is the primary.*fail over first/);
    log.must(pause(A));
    expect(isPaused(log.group)).toBe(true);
    expect(asideReason(log.group, A)).toBeUndefined();
  });

  test('is not begun while the node may be the one to be promoted', () => {
    const log = upgraded(fencing());
    expect(log.commit(maintain(B))).toMatch(/wait until it is running/);
    expect(log.commit(pause(B))).toMatch(/wait until it is running/);
  });
});

test('a paused primary that was switched over is left alone then, but is reinstated where the target fails', () => {
  const log = upgraded();
  log.must(pause(A), at(log).begin({ kind: 'planned', to: B }));
  log.must(at(log).cut(A, 120, { stopped: true }), at(log).cut(B, 120), at(log).cut(C, 120));
  log.must(at(log).promote(B, 2, { members: [MC], acks: 1 }));
  expect(asideReason(log.group, A)).toBe('paused');
  log.must(at(log).failed(B), at(log).begin({ kind: 'promotion-failed' }));
  expect(asideReason(log.group, A)).toBeUndefined();
  log.must(at(log).cut(A, 120), at(log).cut(C, 120), at(log).cut(B, 120));
  log.must(at(log).promote(A, 3, ALONE));
});

test('takes the place of an earlier one, and is ended by the time only where it still is that one', () => {
  const log = upgraded();
  log.must(pause(undefined, 5000), maintain(B, 5000));
  expect(log.commit(pause(undefined, 5000))).toMatch(/paused already/);
  expect(log.commit(maintain(B, 5000))).toMatch(/in maintenance already/);
  log.must(pause(undefined, 9000), maintain(B, 9000), pause(C));
  expect(log.group.pausedNodes.map(({ node }) => node)).toEqual([B, C]);
  expect(log.commit(end(undefined, 5000))).toMatch(/replaced by another/);
  expect(log.commit(end(B, 5000))).toMatch(/replaced by another/);
  log.must(end(undefined, 9000), end(B, 9000), end(C));
  expect(log.group).toMatchObject({ paused: undefined, pausedNodes: [] });
  expect(log.commit(end())).toMatch(/group main is not paused/);
  expect(log.commit(end(B))).toMatch(/b is not paused/);
});

test.each<[string, Command, RegExp]>([
  ['a group that is not there', { ...pause(), group: 'other' } as Command, /no group other/],
  ['a node that is not there', pause('d' as NodeId), /no node d/],
  ['a time that is none', pause(undefined, Number.NaN), /no time/],
])('is refused of %s', (_, command, reason) => {
  expect(upgraded().commit(command)).toMatch(reason);
});

test('is refused of a fenced node, which is stopped', () => {
  const log = upgraded();
  log.must({ kind: 'fence-node', node: B });
  expect(log.commit(maintain(B))).toBe('b is fenced; sentinelctl unfence b ends that');
  expect(log.commit(pause(B))).toBe('b is fenced; sentinelctl unfence b ends that');
});
