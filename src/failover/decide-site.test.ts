// What the leader proposes for a group that follows another site, and what is asked of its nodes: never to take writes.
import { describe, expect, test } from 'vitest';
import { timeline } from '../base/ids.ts';
import type { Command } from '../cluster/commands.ts';
import {
  A,
  B,
  C,
  GROUP,
  type Log,
  MA,
  MB,
  P1,
  P2,
  at,
  memberOfNode,
  recovered,
  registration,
} from '../cluster/testing/example.ts';
import { BEGIN, SITE_OPTIONS, emptyLog, following, known, withData } from '../cluster/testing/following.ts';
import { duties } from './duties.ts';
import { fenceTargets } from './fence-target.ts';
import { SITE_FEATURE_LEVEL } from '../cluster/features.ts';
import { failoverObstacle, switchoverObstacle } from './obstacles.ts';
import { type SeenNodes, leaderOf, viewOf } from './testing/view.ts';

const STREAMING: SeenNodes = {
  a: { condition: 'standby', position: 100n },
  b: { condition: 'standby', streamingFrom: A, position: 90n },
  c: { condition: 'standby', streamingFrom: A, position: 95n },
};
const ABSENT: SeenNodes = {
  a: { condition: 'absent' },
  b: { condition: 'absent' },
  c: { condition: 'absent' },
};

describe('the beginning', () => {
  test('is a node that knows the other site, by priority, once everybody is there', () => {
    const log = emptyLog();
    log.must(registration(A), known(B, { priority: 5 }), known(C, { priority: 7 }));
    expect(leaderOf(log, ABSENT).at(0)).toContainEqual({ ...BEGIN, node: C });
  });

  test('waits for a node with data to be emptied, and no ordinary group is made of it', () => {
    const log = emptyLog();
    log.must(withData(A), known(B), known(C));
    expect(leaderOf(log, ABSENT).at(0)).toEqual([]);
    expect(leaderOf(log, ABSENT).at(600_000)).toEqual([]);
  });
});

test('no ordinary group is made while a node that is to follow another site waits to be registered', () => {
  const log = emptyLog(SITE_FEATURE_LEVEL - 1);
  log.must(registration(A));
  const seen = { a: { condition: 'absent' }, b: { condition: 'absent', follows: GROUP } } as const;
  const leader = leaderOf(log, seen);
  for (const ms of [0, 60_000, 3_600_000])
    expect(leader.at(ms).filter(({ kind }) => kind === 'create-group')).toEqual([]);
  expect(leader.at(3_601_000, { a: seen.a })).toContainEqual({
    kind: 'create-group',
    group: GROUP,
    primary: A,
  });
});

describe('duties while it follows', () => {
  test('the site leader streams from outside and serves all others, these from it', () => {
    const { state } = following();
    expect(duties(state, A)).toMatchObject({
      kind: 'follow',
      upstream: { site: 'outside' },
      readers: [MB, memberOfNode(C)],
      isCounted: false,
    });
    expect(duties(state, B)).toMatchObject({
      kind: 'follow',
      upstream: { node: A, host: 'a', site: 'inside' },
    });
    expect(duties(state, B)).not.toHaveProperty('readers');
  });

  test('others wait until the site leader has data', () => {
    const log = emptyLog();
    log.must(known(A), known(B), BEGIN);
    expect(duties(log.state, A)).toMatchObject({ kind: 'follow', upstream: { site: 'outside' } });
    expect(duties(log.state, B)).toMatchObject({ kind: 'none', reason: /until a is cloned/ });
  });

  test('after a recovery of the log all are left as they are', () => {
    const { state } = recovered(following());
    for (const node of [A, B, C])
      expect(duties(state, node)).toMatchObject({ kind: 'none', reason: /sentinelctl site lead NODE/ });
  });

  test('no node is ever asked to take writes, whoever is down and for how long', () => {
    const log = following();
    for (const node of [A, B, C]) log.must(at(log).down(P1, node), at(log).down(P2, node));
    const leader = leaderOf(log, {});
    for (const ms of [0, 60_000, 3_600_000]) expect(leader.at(ms)).toEqual([]);
    for (const node of [A, B, C]) expect(duties(log.state, node).kind).toBe('follow');
  });
});

describe('the site leader', () => {
  const down = (): Log => {
    const log = following();
    log.must(at(log).down(P1), at(log).down(P2));
    return log;
  };

  test('stays while it is well, and for a moment after it was lost', () => {
    expect(leaderOf(following(), STREAMING).at(600_000)).toEqual([]);
    const leader = leaderOf(down(), { ...STREAMING, a: undefined });
    expect(leader.at(0)).toEqual([]);
    expect(leader.at(1000)).toEqual([]);
  });

  test('stays while the group, or it, is paused', () => {
    for (const node of [undefined, A]) {
      const log = following();
      log.must({ kind: 'pause', group: GROUP, node, isMaintenance: false, untilMs: undefined });
      log.must(at(log).down(P1), at(log).down(P2));
      const leader = leaderOf(log, { ...STREAMING, a: undefined });
      for (const ms of [0, 2500, 60_000]) expect(leader.at(ms)).toEqual([]);
      const other = { kind: 'lead-site', group: GROUP, epoch: log.epoch, node: B } as const;
      expect(log.commit(other)).toMatch(/main is paused/);
      log.must({ ...other, isAsked: true });
    }
  });

  test('is then the one that holds the most', () => {
    const log = down();
    const leader = leaderOf(log, { ...STREAMING, a: undefined });
    leader.at(0);
    const [command, ...more] = leader.at(2500);
    expect(command).toEqual({ kind: 'lead-site', group: GROUP, epoch: log.epoch, node: C });
    expect(more).toEqual([]);
    log.must(command as Command);
    expect(duties(log.state, A)).toMatchObject({ upstream: { node: C, site: 'inside' } });
  });

  test('is one that is never promoted, or that does not know the other site, only where need be', () => {
    const log = down();
    log.must(withData(C, { options: { ...SITE_OPTIONS, noFailover: true } }));
    const leader = leaderOf(log, { ...STREAMING, a: undefined });
    leader.at(0);
    expect(leader.at(2500)).toMatchObject([{ node: B }]);
    log.must(registration(B, MB));
    expect(leader.at(5000)).toMatchObject([{ node: C }]);
  });

  test('is never one of which it is not known that what it holds is from there', () => {
    const log = down();
    const strange = { ...STREAMING['c'], position: 500n, timeline: 2, strange: 'it stands on timeline 2' };
    const leader = leaderOf(log, { ...STREAMING, a: undefined, c: strange });
    leader.at(0);
    expect(leader.at(2500)).toMatchObject([{ kind: 'lead-site', node: B }]);
    const alone = leaderOf(log, { c: strange });
    for (const ms of [0, 2500, 60_000]) expect(alone.at(ms)).toEqual([]);
  });

  test('stays where all that could take its place are down as well', () => {
    const log = down();
    for (const node of [B, C]) log.must(at(log).down(P1, node), at(log).down(P2, node));
    const leader = leaderOf(log, STREAMING);
    for (const ms of [0, 2500, 60_000]) expect(leader.at(ms)).toEqual([]);
    log.must(at(log).up(P1, B));
    expect(leader.at(62_000)).toMatchObject([{ kind: 'lead-site', node: B }]);
  });

  test('that never had data is replaced once it was silent for long', () => {
    const log = emptyLog();
    log.must(known(A), known(B), known(C), BEGIN);
    const leader = leaderOf(log, { ...ABSENT, a: undefined });
    expect(leader.at(0)).toEqual([]);
    expect(leader.at(61_000)).toMatchObject([{ kind: 'lead-site', node: B }]);
  });
});

describe('what people are told', () => {
  test('a failover or switchover is not possible, and what is', () => {
    const log = following();
    const view = viewOf(log, 0, STREAMING);
    for (const text of [
      failoverObstacle(log.state, log.group, view),
      switchoverObstacle(log.state, log.group, B, view),
    ])
      expect(text).toMatch(/sentinelctl site promote main .*sentinelctl site lead NODE/);
  });
});

describe('the end', () => {
  const ending = (): Log => {
    const log = following();
    log.must({ kind: 'promote-site', group: GROUP, epoch: log.epoch });
    return log;
  };

  test('every node is cut, the site leader as any other', () => {
    const { state } = ending();
    for (const node of [A, B, C])
      expect(duties(state, node)).toMatchObject({ kind: 'cut', wasPrimary: false });
  });

  test('all that can still report are waited for, but not for ever', () => {
    const log = ending();
    const leader = leaderOf(log, STREAMING);
    log.must(at(log).cut(B, 100));
    expect(leader.at(0)).toEqual([]);
    expect(leader.at(3500)).toMatchObject([
      { kind: 'promote', candidate: B, rule: { members: [], acks: 0 } },
    ]);
  });

  test('one that is known to hold more, and can still report, is waited for as long as it takes', () => {
    const log = ending();
    const seen = { ...STREAMING, a: { condition: 'standby', position: 200n } } as const;
    const leader = leaderOf(log, seen);
    log.must(at(log).cut(B, 100), at(log).cut(C, 90));
    for (const ms of [0, 3500, 600_000]) expect(leader.at(ms)).toEqual([]);
    expect(leader.at(700_000, { ...seen, a: undefined })).toMatchObject([{ kind: 'promote', candidate: B }]);
    log.must({ kind: 'fence-node', node: A });
    expect(leader.at(700_001)).toMatchObject([{ kind: 'promote', candidate: B }]);
  });

  test('the site leader is no worse a candidate, and the others are the first members', () => {
    const log = ending();
    const on = { timeline: timeline(3) };
    log.must(at(log).cut(A, 100, on), at(log).cut(B, 90, on), at(log).cut(C, 95, on));
    expect(leaderOf(log, STREAMING).at(0)).toMatchObject([
      { kind: 'promote', candidate: A, rule: { members: [MB, memberOfNode(C)], acks: 1 } },
    ]);
  });

  test('the new timeline is none that the other site may have opened meanwhile, nor that of another site that followed the same one', () => {
    const opened = [0, 1].map((more) => {
      const log = following();
      for (let each = 0; each < more; each += 1) log.must(at(log).down(P1));
      log.must({ kind: 'promote-site', group: GROUP, epoch: log.epoch });
      log.must(...[A, B, C].map((node) => at(log).cut(node, 100, { timeline: timeline(3) })));
      const [command] = leaderOf(log, STREAMING).at(0);
      log.must(command as Command);
      return (command as { readonly timeline: number }).timeline;
    });
    for (const number of opened) expect(number).toBeGreaterThan(3 + 16);
    expect(new Set(opened).size).toBe(2);
  });

  test('the site leader, where another one is promoted, is a member too', () => {
    const log = ending();
    log.must(at(log).cut(A, 90), at(log).cut(B, 100));
    const leader = leaderOf(log, { ...STREAMING, c: undefined });
    leader.at(0);
    expect(leader.at(3500)).toMatchObject([
      { kind: 'promote', candidate: B, rule: { members: [MA], acks: 1 } },
    ]);
  });

  test.each<[string, SeenNodes[string], number]>([
    ['that is not heard', undefined, 3000],
    [
      'whose PostgreSQL is stopped, to be started cut off',
      { condition: 'stopped', isSilentOfPosition: true },
      10_000,
    ],
    ['whose start has failed once', { condition: 'failed', isSilentOfPosition: true }, 10_000],
    [
      'whose report is late, and that held more',
      { condition: 'standby', position: 200n, ageMs: 2000 },
      10_000,
    ],
    [
      'whose report is late, and that held no more',
      { condition: 'standby', position: 90n, ageMs: 2000 },
      3000,
    ],
    ['that is being cloned', { condition: 'cloning', isSilentOfPosition: true }, 3000],
    [
      'that stands on a timeline that nobody knows',
      { strange: 'it stands', position: 200n, timeline: 2 },
      3000,
    ],
  ])('a node %s is waited for, and for how long', (_, a, untilMs) => {
    const log = ending();
    log.must(at(log).cut(B, 100), at(log).cut(C, 90));
    const leader = leaderOf(log, { ...STREAMING, a });
    for (const ms of [0, untilMs - 1]) expect(leader.at(ms)).toEqual([]);
    expect(leader.at(untilMs)).toMatchObject([{ kind: 'promote', candidate: B }]);
  });

  test('one that says an earlier timeline, and more bytes, is waited for', () => {
    const log = ending();
    log.must(at(log).cut(B, 100, { timeline: timeline(2) }), at(log).cut(C, 90));
    const leader = leaderOf(log, { ...STREAMING, a: { condition: 'standby', position: 200n, timeline: 1 } });
    for (const ms of [0, 3500, 60_000]) expect(leader.at(ms)).toEqual([]);
  });

  test('a node that a person has named is promoted, whatever the others hold, with no members at first', () => {
    const log = following();
    log.must({ kind: 'promote-site', group: GROUP, epoch: log.epoch, to: B });
    const leader = leaderOf(log, STREAMING);
    log.must(at(log).cut(A, 200), at(log).cut(C, 300));
    for (const ms of [0, 60_000]) expect(leader.at(ms)).toEqual([]);
    log.must(at(log).cut(B, 90, { timeline: timeline(2) }));
    expect(leader.at(60_001)).toMatchObject([
      { kind: 'promote', candidate: B, rule: { members: [], acks: 0 } },
    ]);
  });

  test('also where the promotion is tried again, or the log was recovered, the new timeline leaves a gap', () => {
    const failed = ending();
    failed.must(...[A, B, C].map((node) => at(failed).cut(node, 100)));
    const [first] = leaderOf(failed, STREAMING).at(0);
    failed.must(first as Command, {
      ...{ kind: 'promotion-failed', group: GROUP, epoch: failed.epoch },
      ...{ node: (first as Extract<Command, { kind: 'promote' }>).candidate, reason: 'tried' },
    });
    failed.must({
      kind: 'begin-failover',
      group: GROUP,
      epoch: failed.epoch,
      cause: { kind: 'promotion-failed' },
    });
    const lost = recovered(following());
    lost.must({ kind: 'promote-site', group: GROUP, epoch: lost.epoch });
    for (const log of [failed, lost]) {
      log.must(...[A, B, C].map((node) => at(log).cut(node, 100)));
      const { highestTimeline } = log.group;
      const [again] = leaderOf(log, STREAMING).at(0);
      expect((again as Extract<Command, { kind: 'promote' }>).timeline).toBeGreaterThan(highestTimeline + 16);
    }
  });

  test('one that holds more and is never promoted is waited for as well', () => {
    const log = ending();
    log.must(withData(C, { options: { ...SITE_OPTIONS, noFailover: true } }));
    log.must(at(log).cut(A, 100), at(log).cut(B, 90));
    const ahead = { ...STREAMING, c: { condition: 'standby', position: 200n } } as const;
    const leader = leaderOf(log, ahead);
    for (const ms of [0, 3500, 60_000]) expect(leader.at(ms)).toEqual([]);
    expect(leader.at(60_001, STREAMING)).toMatchObject([{ kind: 'promote', candidate: A }]);
  });

  test('what only a node holds that is never promoted is fetched from it first, and given up where that fails', () => {
    const log = ending();
    log.must(withData(C, { options: { ...SITE_OPTIONS, noFailover: true } }));
    log.must(at(log).cut(A, 100), at(log).cut(B, 90), at(log).cut(C, 200));
    const leader = leaderOf(log, STREAMING);
    const [command] = leader.at(0);
    expect(command).toMatchObject({ kind: 'fetch-wal', node: A, from: C });
    log.must(command as Command);
    expect(duties(log.state, A)).toMatchObject({ kind: 'cut', wasPrimary: false, fetch: { kind: 'from' } });
    expect(leader.at(100)).toEqual([]);
    log.must({ kind: 'fetch-failed', group: GROUP, epoch: log.epoch, node: A, reason: 'tried' });
    log.must(...leader.at(200));
    log.must({ kind: 'fetch-failed', group: GROUP, epoch: log.epoch, node: B, reason: 'tried' });
    expect(leader.at(300)).toMatchObject([{ kind: 'promote', candidate: A }]);
    log.must({ ...at(log).cut(A, 200), afterFetch: true } as Command);
    expect(leader.at(400)).toMatchObject([{ kind: 'promote', candidate: A }]);
  });

  test('where only a node can be heard that is never promoted, a person lets it be', () => {
    const log = ending();
    log.must(withData(C, { options: { ...SITE_OPTIONS, noFailover: true } }));
    log.must(at(log).cut(C, 100));
    const leader = leaderOf(log, { c: STREAMING['c'] });
    for (const ms of [0, 60_000]) expect(leader.at(ms)).toEqual([]);
    log.must(withData(C));
    expect(leader.at(60_001)).toMatchObject([{ kind: 'promote', candidate: C }]);
  });

  test('nobody is switched off for it', () => {
    const log = ending();
    log.must(at(log).down(P1), at(log).down(P2), at(log).cut(B, 100));
    expect(fenceTargets(log.state, viewOf(log, 10_000, { b: STREAMING['b'] }), P1)).toEqual([]);
  });
});
