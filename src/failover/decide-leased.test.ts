// What the leader proposes for a group under a lease (durability `async`): how long it waits, for whom, and whom it chooses.
import { describe, expect, test } from 'vitest';
import { timeline } from '../base/ids.ts';
import type { Command, CutReport } from '../cluster/commands.ts';
import { A, B, C, GROUP, type Log, MB, MC, P1, P2, at, running } from '../cluster/testing/example.ts';
import { leaseWaitMs } from './decide.ts';
import { failoverObstacle } from './obstacles.ts';
import { A_AT, LEASED, WAIT_MS, failed, leased, wanting } from './testing/durability.ts';
import { ALL_WELL, type SeenNodes, leaderOf, viewOf } from './testing/view.ts';

const WITHOUT_A: SeenNodes = { ...ALL_WELL, a: undefined };
const kinds = (commands: readonly Command[]): string[] => commands.map((command) => command.kind);

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
