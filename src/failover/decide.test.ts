// What the leader proposes, phase by phase, and when. That proposing is safe is apply's business (src/cluster).
import { describe, expect, test } from 'vitest';
import { groupId, nodeId, peerId, timeline } from '../base/ids.ts';
import type { Command } from '../cluster/commands.ts';
import { FORMATIONS_FEATURE_LEVEL, RESTORE_FEATURE_LEVEL } from '../cluster/features.ts';
import {
  A,
  ALONE,
  B,
  C,
  GROUP,
  type Log,
  MA,
  MB,
  MC,
  P1,
  P2,
  P3,
  at,
  creating,
  fencing,
  newLog,
  opening,
  promoted,
  promoting,
  recovered,
  registration,
  running,
  runningAlone,
} from '../cluster/testing/example.ts';
import { failoverObstacle } from './obstacles.ts';
import { ALL_WELL, leaderOf, type SeenNodes, viewOf } from './testing/view.ts';

const kinds = (commands: readonly Command[]): string[] => commands.map((command) => command.kind);
const WITHOUT_A: SeenNodes = { ...ALL_WELL, a: undefined };
const SETTLED_MS = 10_000;

describe('creating groups', () => {
  test('waits until every voter has registered a node', () => {
    const log = newLog();
    const leader = leaderOf(log);
    log.must(registration(A), registration(B));
    expect(leader.at(0)).toEqual([]);
    log.must(registration(C));
    expect(leader.at(10)).toEqual([{ kind: 'create-group', group: GROUP, primary: A }]);
  });

  test('waits only for a while, a witness never registers one', () => {
    const log = newLog();
    const leader = leaderOf(log);
    log.must(registration(B), registration(C));
    expect(leader.at(0)).toEqual([]);
    expect(leader.at(29_999)).toEqual([]);
    expect(leader.at(30_000)).toEqual([{ kind: 'create-group', group: GROUP, primary: B }]);
  });

  test('waits for nobody who says that it brings no node, and for a learner that says that it does', () => {
    const log = newLog({ ...newLog().state, featureLevel: FORMATIONS_FEATURE_LEVEL });
    const features = FORMATIONS_FEATURE_LEVEL;
    const P4 = peerId('p4');
    log.change({ learners: [P4] });
    for (const peer of [P1, P2, P3, P4]) log.must(opening(log, peer, { features }));
    const declare = (peer: typeof P1, node?: typeof A, group = GROUP): Command => {
      const runs = node && { node, group, formation: 'default' };
      return { kind: 'declare-host', peer, host: { runs, watch: [] } };
    };
    const leader = leaderOf(log);
    const creates = (atMs: number): unknown =>
      leader.at(atMs).filter((command) => command.kind === 'create-group');
    log.must(declare(P3), declare(P4, C), registration(B), registration(A));
    expect(creates(0)).toEqual([]);
    // It runs a node of another group: nobody waits for that either.
    log.must(declare(P4, C, groupId('orders')));
    expect(creates(1)).toEqual([{ kind: 'create-group', group: GROUP, primary: A }]);
    log.must(declare(P3, C));
    expect(creates(2)).toEqual([]);
  });

  test('waits for a host whose node is of another group now, though it has registered one of the group before', () => {
    const log = newLog({ ...newLog().state, featureLevel: FORMATIONS_FEATURE_LEVEL });
    for (const peer of [P1, P2, P3]) log.must(opening(log, peer, { features: FORMATIONS_FEATURE_LEVEL }));
    const orders = groupId('orders');
    const runs = { node: C, group: orders, formation: 'default' };
    const NOTHING = { runs: undefined, watch: [] };
    log.must({ kind: 'declare-host', peer: P1, host: NOTHING });
    log.must({ kind: 'declare-host', peer: P3, host: { runs, watch: [] } });
    // Its node of before, in main; that of orders is of another name, and is not here yet.
    log.must(registration(C), { ...registration(B), group: orders });
    const creates = (atMs: number): unknown =>
      leader.at(atMs).filter((command) => command.kind === 'create-group' && command.group === orders);
    const leader = leaderOf(log);
    expect(creates(0)).toEqual([]);
    log.must({ ...registration(nodeId('d')), peer: P3, group: orders });
    // Nobody hears its agent, which might say that the group is to be restored.
    expect(creates(1)).toEqual([]);
    expect(creates(5000)).toMatchObject([{ primary: B }]);
  });

  test('begins to wait anew at another leader', () => {
    const log = newLog();
    const leader = leaderOf(log);
    log.must(registration(B), registration(C));
    leader.at(0);
    leader.change();
    expect(leader.at(30_000)).toEqual([]);
  });

  test('chooses the node that has data, else by priority, else by name; nothing where two have data', () => {
    const log = newLog();
    const leader = leaderOf(log);
    log.must(registration(A), { ...registration(B), priority: 5 }, registration(C));
    expect(leader.at(0)).toMatchObject([{ primary: B }]);
    log.must(registration(C, MC));
    expect(leader.at(0)).toMatchObject([{ primary: C }]);
    log.must(registration(A, MA));
    expect(leader.at(0)).toEqual([]);
  });

  const upgraded = (featureLevel = RESTORE_FEATURE_LEVEL): Log => {
    const log = newLog({ ...newLog().state, featureLevel });
    log.must(registration(A), registration(B), registration(C));
    return log;
  };
  const B_RESTORES: SeenNodes = { ...ALL_WELL, b: { condition: 'starting', restores: true } };

  test('has a backup restored by a node that is configured to, unless one has data', () => {
    const log = upgraded();
    expect(leaderOf(log, B_RESTORES).at(0)).toEqual([{ kind: 'restore-group', group: GROUP, primary: B }]);
    log.must(registration(C, MC));
    expect(leaderOf(log, B_RESTORES).at(0)).toEqual([{ kind: 'create-group', group: GROUP, primary: C }]);
  });

  test('neither restores nor makes an empty group where some peer does not understand it yet', () => {
    const created = (commands: readonly Command[]) =>
      kinds(commands).filter((kind) => kind.endsWith('-group'));
    const leader = leaderOf(upgraded(RESTORE_FEATURE_LEVEL - 1), B_RESTORES);
    expect(created(leader.at(0))).toEqual([]);
    expect(created(leader.at(60_000))).toEqual([]);
  });

  test('waits five seconds for a node that is not heard and may be the one to restore; not where one restores or has data', () => {
    const log = upgraded();
    const leader = leaderOf(log, WITHOUT_A);
    expect(leader.at(0)).toEqual([]);
    expect(leader.at(4999)).toEqual([]);
    expect(leader.at(5000)).toEqual([{ kind: 'create-group', group: GROUP, primary: A }]);
    expect(leaderOf(log, { ...B_RESTORES, a: undefined }).at(0)).toMatchObject([{ primary: B }]);
    log.must(registration(C, MC));
    expect(leaderOf(log, WITHOUT_A).at(0)).toMatchObject([{ kind: 'create-group', primary: C }]);
  });

  test('another first primary of a restored group is one that restores, too', () => {
    const log = upgraded();
    log.must({ kind: 'restore-group', group: GROUP, primary: A });
    const leader = leaderOf(log, { ...WITHOUT_A, c: { condition: 'starting', restores: true } });
    leader.at(0);
    expect(leader.at(60_000)).toEqual([{ kind: 'restore-group', group: GROUP, primary: C }]);
    const nobody = leaderOf(log, WITHOUT_A);
    nobody.at(0);
    expect(nobody.at(60_000)).toEqual([]);
  });

  test('waits for the first primary', () => {
    expect(leaderOf(creating()).at(SETTLED_MS)).toEqual([]);
  });

  test('chooses another first primary where the first one is not heard of for long, unless a node has data', () => {
    const log = creating();
    const leader = leaderOf(log, WITHOUT_A);
    expect(leader.at(0)).toEqual([]);
    expect(leader.at(59_999)).toEqual([]);
    expect(leader.at(60_000)).toEqual([{ kind: 'create-group', group: GROUP, primary: B }]);
    expect(leaderOf(log).at(60_000)).toEqual([]);
    log.must(registration(C, MC));
    expect(leader.at(70_000)).toEqual([]);
    log.must({ ...registration(C), systemIdentifier: undefined });
    log.must({ kind: 'create-group', group: GROUP, primary: B });
    expect(log.group).toMatchObject({
      epoch: log.state.appliedIndex,
      phase: { kind: 'creating', primary: B },
    });
    expect(leader.at(80_000)).toEqual([]);
  });
});

describe('a running group', () => {
  test('that is well is left alone', () => {
    expect(leaderOf(running()).at(SETTLED_MS)).toEqual([]);
  });

  test('is failed over at once when a quorum holds its primary for down', () => {
    const log = running();
    log.must(at(log).down(P1), at(log).down(P3));
    expect(leaderOf(log, WITHOUT_A).at(0)).toEqual([
      { kind: 'begin-failover', group: GROUP, epoch: log.epoch, cause: { kind: 'down' } },
    ]);
  });

  test('is not failed over on less than a quorum, or on what was judged of an earlier epoch', () => {
    const log = running();
    log.must(at(log).down(P1));
    expect(leaderOf(log, WITHOUT_A).at(0)).toEqual([]);
    const resumed = fencing();
    resumed.must(at(resumed).up(P1), at(resumed).resume(), at(resumed).down(P3));
    expect(kinds(leaderOf(resumed, WITHOUT_A).at(0))).not.toContain('begin-failover');
  });

  test.each<[string, SeenNodes]>([
    ['whose agent was never heard of', { ...WITHOUT_A, c: undefined }],
    ['whose agent fell silent', { ...WITHOUT_A, c: { condition: 'standby', ageMs: 1001 } }],
    ['that is being cloned', { ...WITHOUT_A, c: { condition: 'cloning' } }],
    ['that is stopped', { ...WITHOUT_A, c: { condition: 'stopped' } }],
    ['whose agent has failed', { ...WITHOUT_A, c: { condition: 'failed' } }],
  ])('is not failed over while a member is needed %s', (_, seen) => {
    const log = running();
    log.must(at(log).down(P1), at(log).down(P2));
    expect(leaderOf(log, seen).at(0)).toEqual([]);
    expect(failoverObstacle(log.state, log.group, viewOf(log, 0, seen))).toMatch(/1 of 2/);
  });

  test('is not failed over while the primary may have acknowledged alone', () => {
    const log = runningAlone();
    log.must(at(log).down(P1), at(log).down(P2));
    expect(leaderOf(log, WITHOUT_A).at(0)).toEqual([]);
    const leaving = running();
    leaving.must(at(leaving).change(ALONE), at(leaving).down(P1), at(leaving).down(P2));
    expect(leaderOf(leaving, WITHOUT_A).at(0)).toEqual([]);
    expect(failoverObstacle(leaving.state, leaving.group, viewOf(leaving, 0))).toMatch(/alone/);
  });

  test('whose primary was gone, alone, and runs again gives its observers a moment to see that', () => {
    const gone = () => {
      const log = runningAlone();
      for (const peer of [P1, P2])
        log.must({ kind: 'subjective-down', peer, node: A, epoch: log.epoch, evidence: 'processes-gone' });
      return log;
    };
    const joined = (log: Log): void => {
      log.must(at(log).change({ members: [MB], acks: 1 }));
      log.must(at(log).commitRule());
    };
    const log = gone();
    const leader = leaderOf(log);
    leader.at(0);
    joined(log);
    // Also where it was back, and its standby had joined, within a moment.
    expect(kinds(leader.at(50))).not.toContain('begin-failover');
    expect(kinds(leader.at(3049))).not.toContain('begin-failover');
    expect(kinds(leader.at(3050))).toContain('begin-failover');
    // Its start may be what ended the obstacle.
    const starting = gone();
    const third = leaderOf(starting, { ...ALL_WELL, a: { condition: 'starting' } });
    third.at(0);
    joined(starting);
    expect(kinds(third.at(50))).not.toContain('begin-failover');
    expect(kinds(third.at(3049))).not.toContain('begin-failover');
    expect(kinds(third.at(3050))).toContain('begin-failover');
    const silent = gone();
    const other = leaderOf(silent, WITHOUT_A);
    other.at(0);
    joined(silent);
    expect(other.at(50)).toMatchObject([{ kind: 'begin-failover' }]);
  });
});

describe('fencing', () => {
  test('proposes nothing before enough have reported', () => {
    const log = fencing();
    expect(leaderOf(log, WITHOUT_A).at(0)).toEqual([]);
    log.must(at(log).cut(B, 100));
    expect(leaderOf(log, WITHOUT_A).at(0)).toEqual([]);
  });

  test('promotes the best at once, onto a timeline above all others, with those that can follow directly', () => {
    const log = fencing();
    log.must(at(log).cut(B, 90), at(log).cut(C, 100));
    const [command] = leaderOf(log, WITHOUT_A).at(0);
    expect(command).toEqual({
      kind: 'promote',
      group: GROUP,
      epoch: log.epoch,
      candidate: C,
      timeline: timeline(2),
      rule: { members: [MB], acks: 1 },
    });
    if (command !== undefined) log.must(command);
  });

  test('goes above a timeline that was only reported', () => {
    const log = fencing(running({ members: [MB], acks: 1 }));
    log.must(at(log).cut(C, 90, { timeline: timeline(9) }), at(log).cut(B, 100));
    expect(leaderOf(log).at(0)).toMatchObject([{ candidate: B, timeline: 10, rule: ALONE }]);
  });

  test('lets priority decide between equals, then the name', () => {
    const log = fencing();
    log.must(at(log).cut(C, 100), at(log).cut(B, 100));
    expect(leaderOf(log).at(0)).toMatchObject([{ candidate: B }]);
    log.must({ ...registration(C, MC), priority: 1 });
    expect(leaderOf(log).at(0)).toMatchObject([{ candidate: C }]);
  });

  test('chooses the former primary again only where nobody else may be', () => {
    const log = fencing();
    log.must(at(log).cut(A, 120), at(log).cut(B, 100));
    expect(leaderOf(log).at(0)).toMatchObject([{ candidate: A, rule: { members: [MB], acks: 1 } }]);
    log.must(at(log).cut(C, 90));
    expect(leaderOf(log).at(0)).toMatchObject([{ candidate: B }]);
  });

  test('every promotion it proposes is one that apply takes', () => {
    for (const reports of [[B, C], [A, B], [A], [A, C], [A, B, C]]) {
      const log = fencing();
      for (const [place, node] of reports.entries()) log.must(at(log).cut(node, 100 - place));
      const [command] = leaderOf(log).at(0);
      expect(command?.kind).toBe('promote');
      if (command !== undefined) log.must(command);
    }
  });

  test('gives the group back when the primary turns out to be well, not at once', () => {
    const log = fencing();
    log.must(at(log).up(P1));
    const leader = leaderOf(log);
    expect(leader.at(0)).toEqual([]);
    expect(leader.at(999)).toEqual([]);
    expect(kinds(leader.at(1000))).toEqual(['resume']);
  });

  test('does not give it back while a quorum holds it for down', () => {
    const leader = leaderOf(fencing());
    leader.at(0);
    expect(leader.at(600_000)).toEqual([]);
  });

  test('waits ten seconds for an agent that is silent, and then gives it back: the primary itself is well', () => {
    const log = fencing();
    log.must(at(log).up(P1));
    const leader = leaderOf(log, WITHOUT_A);
    leader.at(0);
    expect(leader.at(9999)).toEqual([]);
    const [resume] = leader.at(10_000);
    expect(resume).toMatchObject({ kind: 'resume' });
    if (resume !== undefined) log.must(resume);
    expect(log.group.phase).toMatchObject({ kind: 'running', primary: A });
  });

  test('does not give it back to a candidate that may never have opened its timeline', () => {
    const log = promoting();
    log.must(at(log).failed(B));
    log.must(at(log).begin({ kind: 'promotion-failed' }));
    const leader = leaderOf(log);
    leader.at(0);
    expect(leader.at(60_000)).toEqual([]);
  });
});

describe('promoting', () => {
  test('waits', () => {
    const leader = leaderOf(promoting());
    leader.at(0);
    expect(leader.at(SETTLED_MS)).toEqual([]);
  });

  test('begins a new epoch when the candidate says that it failed', () => {
    const log = promoting();
    log.must(at(log).failed(B));
    expect(leaderOf(log).at(0)).toMatchObject([
      { kind: 'begin-failover', cause: { kind: 'promotion-failed' } },
    ]);
  });

  test('begins a new epoch when the candidate is down, unless its promotion is only just under way', () => {
    const log = promoting();
    log.must(at(log).down(P1), at(log).down(P2));
    const leader = leaderOf(log);
    expect(leader.at(0)).toEqual([]);
    expect(leader.at(2999)).toEqual([]);
    expect(leader.at(3000)).toMatchObject([{ kind: 'begin-failover', cause: { kind: 'down' } }]);
  });

  test('a former primary that is chosen again is not failed over for what was judged of it before', () => {
    const log = fencing();
    log.must(at(log).down(P1), at(log).down(P2), at(log).cut(A, 120), at(log).cut(B, 100));
    const leader = leaderOf(log, { ...ALL_WELL, a: { condition: 'primary', streamsTo: [B] }, c: undefined });
    const [chosen] = leader.at(0);
    if (chosen !== undefined) log.must(chosen);
    expect(leader.at(50)).toEqual([]);
    log.must(at(log).promoted(A, 2, 120));
    expect(kinds(leader.at(100))).not.toContain('begin-failover');
    log.must(at(log).up(P1), at(log).up(P2));
    expect(kinds(leader.at(SETTLED_MS))).not.toContain('begin-failover');
  });

  test('one that stays down is failed over once it had its time', () => {
    const log = promoting();
    const leader = leaderOf(log, { a: undefined, b: undefined, c: { condition: 'standby' } });
    leader.at(0);
    log.must(at(log).promoted(B, 2, 100), at(log).down(P1), at(log).down(P2));
    expect(leader.at(2000)).toEqual([]);
    expect(kinds(leader.at(3000))).toEqual(['begin-failover']);
  });

  test('another leader, which did not see the promotion, does not wait', () => {
    const log = promoted();
    log.must(at(log).down(P1), at(log).down(P2));
    expect(kinds(leaderOf(log).at(0))).toEqual(['begin-failover']);
  });
});

test('what is not asked about in a round is forgotten: a condition has to last', () => {
  const log = fencing();
  log.must(at(log).up(P1));
  const leader = leaderOf(log);
  leader.at(0);
  log.must(at(log).resume());
  leader.at(900);
  fencing(log);
  log.must(at(log).up(P1));
  expect(leader.at(1000)).toEqual([]);
});

test('a quorum is one of the voters in force', () => {
  const log = running();
  log.must(at(log).down(P1), at(log).down(P2));
  log.change({ voters: [P1, P2, P3, peerId('p4')] });
  expect(leaderOf(log, WITHOUT_A).at(0)).toEqual([]);
});

describe('a promotion that fails again and again', () => {
  const failAgain = (log: Log): void => {
    log.must(at(log).failed(B), at(log).begin({ kind: 'promotion-failed' }));
    log.must(at(log).cut(B, 100), at(log).cut(C, 90), at(log).cut(A, 100));
    log.must(at(log).promote(B, log.group.highestTimeline + 1, { members: [MC], acks: 1 }));
  };
  /** How long the leader waits before it begins the failover anew. */
  const pauseMs = (log: Log): number => {
    const leader = leaderOf(log);
    for (let ms = 0; ms <= 60_000; ms += 500) if (leader.at(ms).length > 0) return ms;
    return Number.POSITIVE_INFINITY;
  };

  test('is tried again at once, then after pauses that grow up to a bound', () => {
    const log = promoting();
    const pausesMs: number[] = [];
    for (let count = 0; count < 9; count += 1) {
      const failed = newLog(log.state);
      failed.must(at(failed).failed(B));
      pausesMs.push(pauseMs(failed));
      failAgain(log);
    }
    expect(pausesMs).toEqual([0, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
  });
});

describe('a group whose log was recovered', () => {
  test('waits for the reports of all its nodes, then promotes the best of them, the former primary too', () => {
    const log = recovered();
    const leader = leaderOf(log);
    log.must(at(log).cut(B, 100), at(log).cut(C, 100));
    expect(leader.at(0)).toEqual([]);
    expect(leader.at(SETTLED_MS), 'not given back').toEqual([]);
    expect(failoverObstacle(log.state, log.group, viewOf(log, 0))).toMatch(/recovered.*a did not yet/);
    log.must(at(log).cut(A, 110));
    expect(failoverObstacle(log.state, log.group, viewOf(log, 0))).toBeUndefined();
    const [command] = leader.at(SETTLED_MS);
    expect(command).toMatchObject({
      kind: 'promote',
      candidate: A,
      timeline: 2,
      rule: { members: [MB, MC], acks: 1 },
    });
    if (command !== undefined) log.must(command);
    expect(log.group.phase.kind).toBe('promoting');
  });

  test('of equal nodes promotes another than the former primary', () => {
    const log = recovered();
    log.must(at(log).cut(A, 100), at(log).cut(B, 100), at(log).cut(C, 90));
    expect(leaderOf(log).at(0)).toMatchObject([{ kind: 'promote', candidate: B }]);
  });
});

test('the feature level is raised as soon as every member understands the next', () => {
  const log = running();
  for (const peer of [P1, P2]) log.must(opening(log, peer, { features: 3 }));
  log.must(opening(log, P3, { features: 1 }));
  expect(leaderOf(log).at(0)).toEqual([]);
  log.must(opening(log, P3, { session: 'upgraded', features: 2 }));
  expect(leaderOf(log).at(0)).toEqual([{ kind: 'set-feature-level', level: 2 }]);
  log.must({ kind: 'set-feature-level', level: 2 });
  expect(leaderOf(log).at(0)).toEqual([]);
});
