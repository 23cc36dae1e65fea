// What the leader proposes where durability is not `quorum`, and where a person has asked: leases, lag, holds, forced and scheduled.
import { describe, expect, test } from 'vitest';
import { timeline } from '../base/ids.ts';
import type { Command, CutReport, GroupSettings, SyncRule } from '../cluster/commands.ts';
import { SETTINGS_FEATURE_LEVEL } from '../cluster/features.ts';
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
  newLog,
  promoting,
  recovered,
  running,
  runningAlone,
} from '../cluster/testing/example.ts';
import { SCHEDULE_VALID_MS, leaseWaitMs } from './decide.ts';
import { failoverObstacle } from './obstacles.ts';
import { ALL_WELL, type SeenNodes, WALL_MS, leaderOf, viewOf } from './testing/view.ts';

const LEASED: SyncRule = { members: [], acks: 0, leased: true };
const WITHOUT_A: SeenNodes = { ...ALL_WELL, a: undefined };
/** a's last word is old. */
const A_AT = (position: bigint): SeenNodes => ({
  ...ALL_WELL,
  a: { condition: 'primary', position, ageMs: 5000 },
});
const WAIT_MS = 6000;

const kinds = (commands: readonly Command[]): string[] => commands.map((command) => command.kind);

const wanting = (log: Log, settings: Partial<GroupSettings>): Log => {
  const wanted = newLog({ ...log.state, featureLevel: SETTINGS_FEATURE_LEVEL });
  wanted.must({
    kind: 'change-settings',
    group: GROUP,
    settings: { ...wanted.group.settings, ...settings },
  });
  return wanted;
};

const leased = (settings: Partial<GroupSettings> = {}): Log => {
  const log = wanting(running(), { durability: 'async', leaseMs: 5000, ...settings });
  log.must(at(log).change(LEASED));
  log.must(at(log).commitRule());
  return log;
};

const failed = (log: Log): Log => {
  log.must(at(log).down(P1), at(log).down(P2), at(log).begin());
  return log;
};

describe('a group under a lease', () => {
  test('is failed over when a standby can be reached, whoever has reported', () => {
    const log = leased();
    log.must(at(log).down(P1), at(log).down(P2));
    expect(kinds(leaderOf(log, { ...WITHOUT_A, c: undefined }).at(0))).toEqual(['begin-failover']);
    expect(leaderOf(log, { a: undefined }).at(0)).toEqual([]);
    expect(failoverObstacle(log.state, log.group, viewOf(log, 0, { a: undefined }))).toMatch(/no standby/);
  });

  test('waits for the lease and the drift of clocks before it promotes', () => {
    const log = failed(leased());
    log.must(at(log).cut(B, 100), at(log).cut(C, 90));
    const leader = leaderOf(log, WITHOUT_A);
    expect(leader.at(0)).toEqual([]);
    expect(leader.at(WAIT_MS - 1)).toEqual([]);
    expect(leader.at(WAIT_MS)).toMatchObject([{ kind: 'promote', candidate: B, rule: LEASED }]);
  });

  test('waits anew under another leader', () => {
    const log = failed(leased());
    log.must(at(log).cut(B, 100));
    const leader = leaderOf(log, WITHOUT_A);
    leader.at(0);
    leader.change();
    expect(leader.at(WAIT_MS)).toEqual([]);
    expect(kinds(leader.at(2 * WAIT_MS))).toEqual(['promote']);
  });

  test('the drift is a fifth of the lease, and no less than half a second', () => {
    expect(leaseWaitMs(leased({ leaseMs: 10_000 }).group)).toBe(12_000);
    expect(leaseWaitMs(leased({ leaseMs: 1000 }).group)).toBe(1500);
    expect(leaseWaitMs(running().group)).toBe(0);
  });

  test.each<[string, (log: Log) => Command]>([
    ['has reported', (log) => at(log).cut(A, 90, { stopped: true })],
    ['is off', (log) => ({ kind: 'node-off', group: GROUP, epoch: log.epoch, node: A, by: 'fence-command' })],
  ])('does not wait for it once its former primary %s, but for the reports that are to come', (_, proof) => {
    const log = failed(leased());
    log.must(at(log).cut(B, 100), proof(log));
    const leader = leaderOf(log, WITHOUT_A);
    expect(leader.at(0)).toEqual([]);
    log.must(at(log).cut(C, 110));
    expect(leader.at(10)).toMatchObject([{ kind: 'promote', candidate: C }]);
  });

  test('waits also where the lease is only pending, and while it is on its way out', () => {
    const pending = wanting(running(), { durability: 'async' });
    pending.must(at(pending).change(LEASED));
    const leaving = leased();
    leaving.must(at(leaving).change({ members: [MB], acks: 1 }));
    for (const log of [pending, leaving]) {
      failed(log).must(at(log).cut(B, 100), at(log).cut(C, 90));
      const leader = leaderOf(log, WITHOUT_A);
      expect(leader.at(0)).toEqual([]);
      expect(leader.at(WAIT_MS)).toMatchObject([{ kind: 'promote', candidate: B }]);
    }
  });

  test('is given back to a primary that turns out to be well meanwhile', () => {
    const log = failed(leased());
    log.must(at(log).cut(B, 100), at(log).up(P1));
    const leader = leaderOf(log);
    leader.at(0);
    expect(kinds(leader.at(1000))).toEqual(['resume']);
  });

  test('chooses the former primary where that has reported and holds more', () => {
    const log = failed(leased());
    const seen = { ...ALL_WELL, c: undefined };
    log.must(at(log).cut(A, 120), at(log).cut(B, 100));
    expect(leaderOf(log, seen).at(0)).toMatchObject([{ candidate: A }]);
    const level = failed(leased());
    level.must(at(level).cut(A, 100), at(level).cut(B, 100));
    expect(leaderOf(level, seen).at(0)).toMatchObject([{ candidate: B }]);
  });

  test('promotes no standby that is known to lack too much, and begins no failover for such ones alone', () => {
    const log = leased({ maxLagBytes: 50 });
    const far = A_AT(200n);
    log.must(at(log).down(P1), at(log).down(P2));
    expect(failoverObstacle(log.state, log.group, viewOf(log, 0, far))).toMatch(/more than 50 bytes/);
    expect(leaderOf(log, far).at(0)).toEqual([]);
    log.must(at(log).begin());
    log.must(at(log).cut(B, 100));
    const leader = leaderOf(log, far);
    leader.at(0);
    expect(leader.at(WAIT_MS)).toEqual([]);
    log.must(at(log).cut(C, 150));
    expect(leader.at(WAIT_MS + 100)).toMatchObject([{ candidate: C }]);
  });

  test('begins its next reign by what is wanted then', () => {
    const log = failed(wanting(leased(), { durability: 'quorum' }));
    log.must(at(log).cut(B, 100), at(log).cut(C, 90), at(log).cut(A, 80, { stopped: true }));
    expect(leaderOf(log).at(0)).toMatchObject([{ candidate: B, rule: { members: [MC], acks: 1 } }]);
  });
});

describe('a switchover on purpose of a group under a lease, whose primary is down before it has reported', () => {
  const handingOver = (): Log => {
    const log = leased();
    log.must(at(log).begin({ kind: 'planned', to: B }));
    return log;
  };
  const A_STOPPED: SeenNodes = { ...ALL_WELL, a: { condition: 'starting' } };

  test('waits for the report of an agent that can still give it: without it the target would lose writes', () => {
    const log = handingOver();
    const leader = leaderOf(log, A_STOPPED);
    leader.at(0);
    log.must(at(log).down(P1), at(log).down(P2));
    leader.at(100);
    expect(leader.at(59_000)).toEqual([]);
    expect(leader.at(60_000)).toMatchObject([{ kind: 'begin-failover', cause: { kind: 'down' } }]);
  });

  test('becomes a failover as soon as its agent is silent, too, or says that it cannot go on', () => {
    for (const a of [undefined, { condition: 'failed' }, { condition: 'absent' }] as const) {
      const log = handingOver();
      const leader = leaderOf(log, { ...ALL_WELL, a });
      leader.at(0);
      log.must(at(log).down(P1), at(log).down(P2));
      leader.at(100);
      expect(leader.at(3099)).toEqual([]);
      expect(leader.at(3100)).toMatchObject([{ kind: 'begin-failover', cause: { kind: 'down' } }]);
    }
  });
});

describe('a switchover on purpose of a group under a lease, whose target fails', () => {
  const failedTarget = (): Log => {
    const log = leased();
    log.must(at(log).begin({ kind: 'planned', to: B }));
    log.must(at(log).cut(A, 120, { stopped: true }), at(log).cut(B, 120), at(log).promote(B, 2, LEASED));
    log.must(at(log).failed(B), at(log).begin({ kind: 'promotion-failed' }));
    log.must(at(log).cut(A, 120), at(log).cut(C, 120));
    return log;
  };

  test.each<[string, string, number, Partial<CutReport>]>([
    ['the old primary again', 'never opened its timeline', 120, {}],
    ['the old primary again', 'opened one that was not assigned', 130, { timeline: timeline(3) }],
    ['the target', 'opened its timeline, where it may have taken writes', 130, { timeline: timeline(2) }],
  ])('is followed by %s where the target %s', (whom, _, position, more) => {
    const log = failedTarget();
    const leader = leaderOf(log);
    expect(leader.at(0), 'the lease of the target runs').toEqual([]);
    log.must(at(log).cut(B, position, more));
    const [command] = leader.at(100);
    expect(command).toMatchObject({ kind: 'promote', candidate: whom === 'the target' ? B : A });
    if (command !== undefined) log.must(command);
  });

  test('is followed by the old primary where the target says nothing until its lease has run out', () => {
    const leader = leaderOf(failedTarget());
    leader.at(0);
    expect(leader.at(WAIT_MS)).toMatchObject([{ kind: 'promote', candidate: A }]);
  });
});

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
    expect(leader.at(1000)).toMatchObject([{ kind: 'begin-failover', cause: { kind: 'planned', to: B } }]);
  });

  test('is tried again while something stands against it, and then given up', () => {
    const log = scheduled(0, B);
    const leader = leaderOf(log, WELL);
    expect(leader.at(0, { ...WELL, b: { condition: 'standby', ageMs: 500 } })).toEqual([]);
    expect(kinds(leader.at(100))).toEqual(['begin-failover']);
    expect(leader.at(SCHEDULE_VALID_MS + 1)).toEqual([
      { kind: 'schedule-switchover', group: GROUP, at: undefined },
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

test('a fenced node is in no rule that a promotion begins with', () => {
  const log = wanting(running(), {});
  failed(log).must(at(log).cut(B, 100), at(log).cut(C, 90), { kind: 'fence-node', node: C });
  expect(leaderOf(log, WITHOUT_A).at(0)).toMatchObject([{ candidate: B, rule: ALONE }]);
});
