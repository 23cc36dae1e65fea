// Which nodes are never promoted and never counted, and what sites do: what the leader proposes, and what the log refuses whoever proposes
// it.
import { describe, expect, test } from 'vitest';
import type { NodeId } from '../base/ids.ts';
import type { Command, GroupSettings, NodeOptions } from '../cluster/commands.ts';
import { NO_OPTIONS, majoritySite, promotionBar, syncBar } from '../cluster/eligibility.ts';
import { CANDIDATES_FEATURE_LEVEL } from '../cluster/features.ts';
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
  P3,
  at,
  memberOfNode,
  newLog,
  opening,
  recovered,
  registration,
  running,
} from '../cluster/testing/example.ts';
import { failoverObstacle, switchoverObstacle } from './obstacles.ts';
import { failed, leased } from './testing/durability.ts';
import { ALL_WELL, leaderOf, viewOf } from './testing/view.ts';

const NEVER = { ...NO_OPTIONS, noFailover: true };
const DELAYED = { ...NO_OPTIONS, applyDelayMs: 3_600_000 };
const NO_SYNC = { ...NO_OPTIONS, noSync: true };

/** a runs with the rule "1 of b, c"; every peer understands what is asked here, and has opened a session. */
const upgraded = (log = running(), featureLevel = CANDIDATES_FEATURE_LEVEL): Log => {
  const next = newLog({ ...log.state, featureLevel });
  for (const peer of [P1, P2, P3]) next.must(opening(next, peer, { features: CANDIDATES_FEATURE_LEVEL }));
  return next;
};
const say = (log: Log, node: NodeId, options?: NodeOptions): void =>
  log.must({ ...registration(node, memberOfNode(node)), ...(options === undefined ? {} : { options }) });
const settle = (log: Log, settings: Partial<GroupSettings>): void =>
  log.must({ kind: 'configure', group: GROUP, settings, parameters: [], by: '' });
const sites = (log: Log, ...names: readonly (string | undefined)[]): void =>
  [P1, P2, P3].forEach((peer, place) => log.must({ kind: 'describe-peer', peer, site: names[place] }));
const onlyRule = (log: Log, member: typeof MB): void => {
  log.must(at(log).change({ members: [member], acks: 1 }));
  log.must(at(log).commitRule());
};

describe('a node that is never promoted', () => {
  test.each([
    ['no_failover', NEVER, /never promoted \(no_failover, or priority 0\)/],
    ['a delayed replica', DELAYED, /a delayed replica/],
  ])('leaves the sync rule, and comes back once that is taken back: %s', (_, options, text) => {
    const log = upgraded();
    say(log, C, options);
    expect(promotionBar(log.state, log.group, C)).toMatch(text);
    expect(leaderOf(log).at(0)).toMatchObject([
      { kind: 'begin-rule-change', next: { members: [MB], acks: 1 } },
    ]);
    onlyRule(log, MB);
    expect(leaderOf(log).at(0)).toEqual([]);
    say(log, C);
    expect(leaderOf(log).at(0)).toMatchObject([{ next: { members: [MB, MC], acks: 1 } }]);
  });

  test('comes into no rule, whoever proposes it', () => {
    const log = upgraded();
    onlyRule(log, MB);
    say(log, C, NEVER);
    expect(log.commit(at(log).change({ members: [MB, MC], acks: 1 }))).toMatch(/c_00000001 is not a standby/);
    failed(log).must(at(log).cut(B, 100), at(log).cut(C, 100));
    expect(log.commit(at(log).promote(B, 2, { members: [MC], acks: 1 }))).toMatch(/cannot follow/);
    expect(log.commit(at(log).promote(B, 2, { members: [], acks: 0 }))).toBeUndefined();
  });

  test('is passed over where no rule counts it, however far it is', () => {
    const log = upgraded();
    onlyRule(log, MB);
    say(log, C, NEVER);
    failed(log).must(at(log).cut(B, 100), at(log).cut(C, 120));
    expect(log.commit(at(log).promote(C, 2, { members: [], acks: 0 }))).toMatch(/^c is never promoted/);
    const [command] = leaderOf(log).at(0);
    expect(command).toMatchObject({ kind: 'promote', candidate: B, rule: { members: [], acks: 0 } });
    expect(log.commit(command as Command)).toBeUndefined();
  });

  test('is not passed over while the rule counts it: what it alone holds may be acknowledged', () => {
    const log = upgraded();
    say(log, C, NEVER);
    failed(log).must(at(log).cut(B, 100), at(log).cut(C, 120));
    expect(log.commit(at(log).promote(B, 2, { members: [], acks: 0 }))).toMatch(
      /c holds more WAL than b, and is never promoted/,
    );
    log.must(at(log).cut(B, 120));
    expect(leaderOf(log).at(1)).toMatchObject([{ candidate: B }]);
  });

  test('is the last choice while the rule counts it: a failover is not left without a candidate', () => {
    const log = upgraded();
    say(log, C, NEVER);
    failed(log).must(at(log).cut(B, 100), at(log).cut(C, 120));
    const [command] = leaderOf(log).at(0);
    expect(command).toMatchObject({ kind: 'promote', candidate: C, rule: { members: [MB] } });
    expect(log.commit(command as Command)).toBeUndefined();
  });

  test('is not promoted while another that may hold as much can still report, for a while', () => {
    const log = upgraded();
    log.must(at(log).change({ members: [MB, MC], acks: 2 }));
    log.must(at(log).commitRule());
    say(log, C, NEVER);
    failed(log).must(at(log).cut(C, 100));
    const seen = { ...ALL_WELL, a: undefined };
    const leader = leaderOf(log, seen);
    expect(leader.at(0)).toEqual([]);
    expect(leader.at(60_000)).toMatchObject([{ kind: 'promote', candidate: C }]);
    expect(leaderOf(log, { ...seen, b: undefined }).at(0)).toMatchObject([{ candidate: C }]);
    log.must(at(log).cut(B, 100));
    expect(leaderOf(log, seen).at(0)).toMatchObject([{ candidate: B }]);
  });

  test('is no choice of a switchover that names nobody, nor of one whose target fails', () => {
    const log = upgraded();
    say(log, B, NEVER);
    say(log, C, NEVER);
    expect(switchoverObstacle(log.state, log.group, undefined, viewOf(log, 0))).toMatch(
      /^no standby that can be reached may be promoted: b is never promoted/,
    );
    log.must(at(log).begin({ kind: 'planned', to: undefined }));
    log.must(at(log).cut(A, 100, { stopped: true }), at(log).cut(B, 100), at(log).cut(C, 100));
    expect(log.commit(at(log).promote(B, 2, { members: [MC], acks: 1 }))).toMatch(/^b is never promoted/);
    const leader = leaderOf(log);
    leader.at(0);
    expect(leader.at(60_000)).toMatchObject([{ candidate: A }]);
  });

  test('is not passed over while a floor stands on a rule that counted it', () => {
    const log = upgraded();
    onlyRule(log, MC);
    settle(log, { durability: 'strict' });
    failed(log).must(at(log).cut(B, 100), at(log).cut(C, 100));
    log.must(at(log).promote(B, 2, { members: [], acks: 1 }), at(log).promoted(B, 2, 100));
    say(log, C, NEVER);
    failed(log).must(at(log).cut(A, 90), at(log).cut(C, 100));
    const promote = at(log).promote(A, 3, { members: [], acks: 1 });
    expect(log.commit(promote)).toMatch(/c holds more WAL than a, and is never promoted/);
    expect(leaderOf(log).at(0)).toMatchObject([{ kind: 'promote', candidate: C }]);
  });

  test('is not passed over after a recovery of the log: nobody knows the rule', () => {
    const log = recovered(upgraded());
    say(log, C, NEVER);
    log.must(at(log).cut(A, 100), at(log).cut(B, 110), at(log).cut(C, 120));
    // Nor could a person force anything: it is the last choice.
    expect(leaderOf(log).at(0)).toMatchObject([{ candidate: C }]);
    log.must(at(log).cut(B, 120));
    expect(leaderOf(log).at(0)).toMatchObject([{ candidate: B }]);
  });

  test('is promoted where a person forces it by its name, and only then', () => {
    const forced = (to: NodeId | undefined): Log => {
      const log = upgraded();
      onlyRule(log, MB);
      say(log, C, NEVER);
      log.must(at(log).begin({ kind: 'forced', to }));
      log.must(at(log).cut(A, 100, { stopped: true }), at(log).cut(C, 90));
      return log;
    };
    expect(leaderOf(forced(C)).at(0)).toMatchObject([{ kind: 'promote', candidate: C }]);
    expect(leaderOf(forced(undefined)).at(60_000)).not.toMatchObject([{ candidate: C }]);
  });

  test('is no target of a switchover, and says why', () => {
    const log = upgraded();
    say(log, C, NEVER);
    expect(log.commit(at(log).begin({ kind: 'planned', to: C }))).toMatch(/^c is never promoted/);
    expect(switchoverObstacle(log.state, log.group, C, viewOf(log, 0))).toMatch(/^c is never promoted/);
    expect(switchoverObstacle(log.state, log.group, B, viewOf(log, 0))).toBeUndefined();
  });

  test('that is or was to be the primary may be so again', () => {
    const log = upgraded();
    say(log, A, NEVER);
    log.must(at(log).begin({ kind: 'planned', to: B }));
    log.must(at(log).cut(A, 100, { stopped: true }), at(log).cut(B, 100));
    log.must(at(log).promote(B, 2, { members: [], acks: 0 }), at(log).failed(B));
    log.must(at(log).begin({ kind: 'promotion-failed' }));
    log.must(at(log).cut(A, 100), at(log).cut(B, 100));
    expect(promotionBar(log.state, log.group, A)).toBeUndefined();
    expect(leaderOf(log).at(0)).toMatchObject([{ kind: 'promote', candidate: A }]);
  });

  test('keeps a failover from beginning where there is nobody else, which is said', () => {
    const seen = { ...ALL_WELL, a: undefined };
    const counted = upgraded();
    say(counted, B, NEVER);
    say(counted, C, DELAYED);
    expect(failoverObstacle(counted.state, counted.group, viewOf(counted, 0, seen))).toBeUndefined();
    const log = upgraded(leased());
    say(log, B, NEVER);
    say(log, C, DELAYED);
    log.must(at(log).down(P1), at(log).down(P2));
    expect(failoverObstacle(log.state, log.group, viewOf(log, 0, seen))).toMatch(
      /^no standby that can be reached may be promoted: b is never promoted.*; c is a delayed replica/,
    );
    expect(leaderOf(log, seen).at(60_000)).toEqual([]);
  });
});

test('a node with no_sync comes into no rule, and may be promoted', () => {
  const log = upgraded();
  say(log, C, NO_SYNC);
  expect([syncBar(log.state, log.group, C), promotionBar(log.state, log.group, C)]).toEqual([
    'never counted for commits (no_sync)',
    undefined,
  ]);
  onlyRule(log, MB);
  expect(leaderOf(log).at(0)).toEqual([]);
  failed(log).must(at(log).cut(B, 100), at(log).cut(C, 120));
  expect(leaderOf(log).at(0)).toMatchObject([{ candidate: C, rule: { members: [MB] } }]);
});

test('a strict group keeps the rule that it has where nobody may be counted', () => {
  const log = upgraded();
  settle(log, { durability: 'strict' });
  say(log, B, NEVER);
  say(log, C, NEVER);
  expect(leaderOf(log).at(60_000)).toEqual([]);
});

test('while not every peer understands it nothing of it counts', () => {
  const log = upgraded(running(), CANDIDATES_FEATURE_LEVEL - 1);
  say(log, C, NEVER);
  settle(log, { sitePolicy: 'majority', failback: `node:${B}` });
  expect(log.state.nodes.get(C)).not.toHaveProperty('options');
  expect(log.group.settings).toMatchObject({ sitePolicy: 'ignore', failback: 'off' });
  expect(log.commit({ kind: 'describe-peer', peer: P1, site: 'east' })).toMatch(/not every peer understands/);
  log.must({ ...(at(log).begin({ kind: 'planned', to: B }) as object), isFailback: true } as Command);
  expect(log.group.failbackAtMs).toBeUndefined();
});

describe('sites', () => {
  const placed = (
    sitePolicy: GroupSettings['sitePolicy'],
    ...names: readonly (string | undefined)[]
  ): Log => {
    const log = upgraded();
    sites(log, ...names);
    settle(log, { sitePolicy });
    return log;
  };
  const cut = (log: Log): Log => {
    failed(log).must(at(log).cut(B, 100), at(log).cut(C, 100));
    return log;
  };

  test.each([
    ['ignore', 0, B],
    ['prefer', 0, C],
    ['majority', 0, C],
    ['prefer', 1, B],
  ] as const)(
    'of equals, with site_policy %s and %i more priority for the far one: %s',
    (policy, more, candidate) => {
      const log = placed(policy, 'east', 'west', 'east');
      say(log, C);
      log.must({ ...registration(B, MB), priority: 100 + more }, { ...registration(C, MC), priority: 100 });
      expect(leaderOf(cut(log)).at(0)).toMatchObject([{ candidate }]);
    },
  );

  test('the one that holds more goes first all the same', () => {
    const log = placed('prefer', 'east', 'west', 'east');
    failed(log).must(at(log).cut(B, 110), at(log).cut(C, 100));
    expect(leaderOf(log).at(0)).toMatchObject([{ candidate: B }]);
  });

  test('nobody outside the site of most voters is counted or promoted', () => {
    const log = placed('majority', 'east', 'west', 'east');
    expect(majoritySite(log.state)).toBe('east');
    expect(leaderOf(log).at(0)).toMatchObject([{ next: { members: [MC], acks: 1 } }]);
    expect(promotionBar(log.state, log.group, B)).toMatch(/in site west, and most voters are in east/);
    onlyRule(log, MC);
    failed(log).must(at(log).cut(B, 120), at(log).cut(C, 100));
    expect(leaderOf(log).at(0)).toMatchObject([{ candidate: C, rule: { members: [] } }]);
  });

  test.each([
    ['no site holds most voters', ['east', 'west', 'north']],
    ['that is not known of the node', ['east', undefined, 'east']],
    ['nothing is known of two voters', ['east', 'west', undefined]],
  ])('anybody may be promoted where %s', (_, names) => {
    const log = placed('majority', ...names);
    expect([B, C].map((node) => promotionBar(log.state, log.group, node))).toEqual([undefined, undefined]);
  });

  test('stay with a peer that starts again, and go where it says so', () => {
    const log = placed('majority', 'east', 'west', 'east');
    log.must(opening(log, P2, { session: 'again', features: CANDIDATES_FEATURE_LEVEL }));
    expect(log.state.peers.get(P2)?.site).toBe('west');
    log.must({ kind: 'describe-peer', peer: P2, site: undefined });
    expect(log.state.peers.get(P2)).not.toHaveProperty('site');
    expect(log.commit({ kind: 'describe-peer', peer: P2, site: 'West Wing' })).toMatch(/"West Wing" is not/);
  });
});
