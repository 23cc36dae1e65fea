// What the leader proposes where durability is not `quorum`, and where a person has asked: holds, forced and scheduled.
import { describe, expect, test } from 'vitest';
import type { Command, GroupSettings, SyncRule } from '../cluster/commands.ts';
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
  at,
  promoting,
  recovered,
  running,
  runningAlone,
} from '../cluster/testing/example.ts';
import { SCHEDULE_VALID_MS } from './decide.ts';
import { failoverObstacle } from './obstacles.ts';
import { A_AT, LEASED, WAIT_MS, failed, leased, wanting } from './testing/durability.ts';
import { ALL_WELL, type SeenNodes, WALL_MS, leaderOf, viewOf } from './testing/view.ts';

const WITHOUT_A: SeenNodes = { ...ALL_WELL, a: undefined };
const kinds = (commands: readonly Command[]): string[] => commands.map((command) => command.kind);

describe('the number of acknowledgements', () => {
  test.each<[Partial<GroupSettings>, SyncRule]>([
    [{ acks: 2 }, { members: [MC], acks: 1 }],
    [
      { durability: 'strict', acks: 2 },
      { members: [MC], acks: 1 },
    ],
    [{ durability: 'async' }, LEASED],
  ])('of a promotion from "1 of b, c": %j', (settings, rule) => {
    const log = failed(wanting(running(), settings));
    log.must(at(log).cut(B, 100), at(log).cut(C, 90));
    expect(leaderOf(log, WITHOUT_A).at(0)).toMatchObject([{ candidate: B, rule }]);
  });

  test('of a strict group is not less after a promotion than before', () => {
    const log = wanting(running(), { durability: 'strict', acks: 2 });
    log.must(at(log).change({ members: [MB, MC], acks: 2 }));
    log.must(at(log).commitRule());
    failed(log).must(at(log).cut(B, 100), at(log).cut(C, 90));
    const [command] = leaderOf(log, WITHOUT_A).at(0);
    expect(command).toMatchObject({ candidate: B, rule: { members: [MC], acks: 2 } });
    if (command !== undefined) log.must(command);
  });
});

test('a strict group whose log was recovered does not begin alone', () => {
  const log = recovered(wanting(running(), { durability: 'strict', acks: 2 }));
  log.must(at(log).cut(A, 100), at(log).cut(B, 110), at(log).cut(C, 120));
  const [command] = leaderOf(log).at(0);
  expect(command).toMatchObject({ candidate: C, rule: { members: [MB], acks: 2 } });
  if (command !== undefined) log.must(command);
});

describe('a strict group with more acknowledgements than members', () => {
  const hung = (): Log => {
    const log = wanting(running(), { durability: 'strict', acks: 2 });
    log.must(at(log).change({ members: [MB, MC], acks: 2 }));
    log.must(at(log).commitRule());
    failed(log).must(at(log).cut(B, 100), at(log).cut(C, 90));
    log.must(at(log).promote(B, 2, { members: [MC], acks: 2 }), at(log).promoted(B, 2, 100));
    log.must(at(log).down(P1), at(log).down(P2));
    return log;
  };

  test('is failed over once there is a standby that can be promoted, though no report is needed to prove anything', () => {
    const log = hung();
    for (const c of [undefined, { condition: 'stopped' }, { condition: 'cloning' }] as const) {
      expect(leaderOf(log, { c }).at(0)).toEqual([]);
      expect(failoverObstacle(log.state, log.group, viewOf(log, 0, { c }))).toMatch(/no standby/);
    }
    expect(kinds(leaderOf(log, { c: { condition: 'standby' } }).at(0))).toEqual(['begin-failover']);
  });

  test('asks no fenced member to be in the rule that it wants next', () => {
    const log = hung();
    log.must(at(log).up(P1), at(log).up(P2), { kind: 'fence-node', node: C });
    const joined: SeenNodes = {
      a: { condition: 'standby', streamingFrom: B },
      b: { condition: 'primary', streamsTo: [A] },
      c: { condition: 'stopped' },
    };
    expect(leaderOf(log, joined).at(0), 'a alone is not enough').toEqual([]);
    log.must({ kind: 'unfence-node', node: C });
    const leader = leaderOf(log, {
      ...joined,
      b: { condition: 'primary', streamsTo: [A, C] },
      c: { condition: 'standby' },
    });
    const [command] = leader.at(0);
    expect(command).toMatchObject({ next: { members: [MA, MC], acks: 2 } });
    if (command !== undefined) log.must(command);
  });

  test('is not failed over to a standby that is fenced', () => {
    const log = hung();
    log.must({ kind: 'fence-node', node: C });
    expect(leaderOf(log, { c: { condition: 'standby' } }).at(0)).toEqual([]);
  });
});

describe('too many failovers', () => {
  const held = (): Log => {
    const log = wanting(running(), { maxFailovers: 1 });
    failed(log).must(at(log).up(P1), at(log).up(P2), at(log).resume());
    log.must(at(log).down(P1), at(log).down(P2));
    return log;
  };

  test('hold the group until a person has acknowledged them', () => {
    const log = held();
    const leader = leaderOf(log, WITHOUT_A);
    expect(leader.at(0)).toEqual([]);
    expect(leader.at(3_600_000)).toEqual([]);
    log.must({ kind: 'acknowledge-failovers', group: GROUP });
    expect(kinds(leader.at(3_600_100))).toEqual(['begin-failover']);
  });

  test('hold it also where its candidate dies, but not one whose candidate gave up: that is a failover still', () => {
    const log = wanting(promoting(), { maxFailovers: 1 });
    log.state = {
      ...log.state,
      groups: new Map([[GROUP, { ...log.group, recentFailovers: [1] }]]),
    };
    log.must(at(log).failed(B));
    expect(leaderOf(log).at(0)).toMatchObject([{ cause: { kind: 'promotion-failed' } }]);
  });
});

describe('a failover on a person’s word', () => {
  const forced = (log: Log, to?: typeof B): Log => {
    log.must(at(log).begin({ kind: 'forced', to }));
    return log;
  };
  const off = (log: Log): Command => ({
    kind: 'node-off',
    group: GROUP,
    epoch: log.epoch,
    node: A,
    by: 'operator',
  });

  test('promotes the best that reported once the former primary is off', () => {
    const log = forced(runningAlone());
    log.must(at(log).cut(B, 90), at(log).cut(C, 100));
    const leader = leaderOf(log, WITHOUT_A);
    expect(leader.at(0)).toEqual([]);
    log.must(off(log));
    expect(leader.at(10)).toMatchObject([{ candidate: C }]);
  });

  test('waits for whoever can still say that it holds more, but not for long', () => {
    const log = forced(runningAlone());
    log.must(off(log), at(log).cut(B, 90));
    const leader = leaderOf(log, WITHOUT_A);
    expect(leader.at(0)).toEqual([]);
    expect(leader.at(2999)).toEqual([]);
    expect(leader.at(3000)).toMatchObject([{ candidate: B }]);
    log.must(at(log).cut(C, 100));
    expect(leaderOf(log, WITHOUT_A).at(0)).toMatchObject([{ candidate: C }]);
  });

  test.each<[string, SeenNodes]>([
    ['cannot be heard', { ...WITHOUT_A, c: undefined }],
    ['is stopped', { ...WITHOUT_A, c: { condition: 'stopped' } }],
  ])('does not wait for a node that %s', (_, seen) => {
    const log = forced(runningAlone());
    log.must(off(log), at(log).cut(B, 90));
    expect(leaderOf(log, seen).at(0)).toMatchObject([{ candidate: B }]);
  });

  test('does not wait for a node that is fenced', () => {
    const log = forced(wanting(runningAlone(), {}));
    log.must({ kind: 'fence-node', node: C }, off(log), at(log).cut(B, 90));
    expect(leaderOf(log, WITHOUT_A).at(0)).toMatchObject([{ candidate: B }]);
  });

  test('waits for the node that was named, and takes no other in its place but one that loses nothing', () => {
    const log = forced(runningAlone(), B);
    log.must(off(log), at(log).cut(C, 100));
    const leader = leaderOf(log, WITHOUT_A);
    leader.at(0);
    expect(leader.at(60_000)).toEqual([]);
    log.must(at(log).cut(B, 90));
    expect(leader.at(60_010)).toMatchObject([{ candidate: B }]);
    const back = forced(runningAlone(), B);
    back.must(at(back).cut(A, 120));
    const other = leaderOf(back);
    expect(other.at(0)).toEqual([]);
    expect(other.at(3000)).toMatchObject([{ candidate: A }]);
  });

  test('is not taken back because the former primary is well', () => {
    const leader = leaderOf(forced(runningAlone(), B));
    leader.at(0);
    expect(leader.at(60_000)).toEqual([]);
  });

  test('goes beyond the lag that is allowed, but not past the lease', () => {
    const log = forced(leased({ maxLagBytes: 1 }));
    log.must(at(log).cut(B, 100));
    const leader = leaderOf(log, A_AT(10_000n));
    expect(leader.at(0)).toEqual([]);
    expect(leader.at(WAIT_MS)).toMatchObject([{ candidate: B }]);
  });
});

describe('a switchover that is scheduled', () => {
  const scheduled = (inMs: number, to: typeof A | undefined): Log => {
    const log = wanting(running(), {});
    log.must({ kind: 'schedule-switchover', group: GROUP, at: { atMs: WALL_MS + inMs, to } });
    return log;
  };
  const WELL: SeenNodes = { ...ALL_WELL, b: { condition: 'standby', streamingFrom: A, position: 100n } };

  test('begins when its time has come, under whoever leads then', () => {
    const log = scheduled(1000, B);
    const leader = leaderOf(log, WELL);
    expect(leader.at(999)).toEqual([]);
    leader.change();
    const [command] = leader.at(1000);
    expect(command).toMatchObject({
      kind: 'begin-failover',
      cause: { kind: 'planned', to: B },
      scheduledAtMs: WALL_MS + 1000,
    });
    if (command !== undefined) log.must(command);
    expect(log.group.scheduled).toBeUndefined();
  });

  test('is tried again while something stands against it, and then given up', () => {
    const log = scheduled(0, B);
    const leader = leaderOf(log, WELL);
    expect(leader.at(0, { ...WELL, b: { condition: 'standby', ageMs: 500 } })).toEqual([]);
    expect(kinds(leader.at(100))).toEqual(['begin-failover']);
    expect(leader.at(SCHEDULE_VALID_MS + 1)).toEqual([
      { kind: 'schedule-switchover', group: GROUP, at: undefined, onlyAtMs: WALL_MS },
    ]);
  });

  test('is given up at once where its target is the primary already', () => {
    expect(leaderOf(scheduled(0, A), WELL).at(0)).toMatchObject([{ at: undefined }]);
  });

  test('gives way to a failover', () => {
    const log = scheduled(0, B);
    log.must(at(log).down(P1), at(log).down(P2));
    expect(leaderOf(log, WITHOUT_A).at(0)).toMatchObject([{ cause: { kind: 'down' } }]);
  });
});

test('of a recovered group says that a fenced node has to be unfenced, so that it can report: it may hold what nobody else does', () => {
  const before = wanting(running(), {});
  before.must({ kind: 'fence-node', node: C });
  const log = recovered(before);
  log.must(at(log).cut(A, 100));
  expect(failoverObstacle(log.state, log.group, viewOf(log, 0))).toMatch(
    /b, c did not yet; sentinelctl unfence c/,
  );
  log.must(at(log).cut(B, 100));
  expect(leaderOf(log).at(60_000)).toEqual([]);
  log.must({ kind: 'unfence-node', node: C }, at(log).cut(C, 110));
  expect(leaderOf(log).at(0)).toMatchObject([{ kind: 'promote', candidate: C }]);
});

test('a fenced node is in no rule that a promotion begins with', () => {
  const log = wanting(running(), {});
  failed(log).must(at(log).cut(B, 100), at(log).cut(C, 90), { kind: 'fence-node', node: C });
  expect(leaderOf(log, WITHOUT_A).at(0)).toMatchObject([{ candidate: B, rule: ALONE }]);
});
