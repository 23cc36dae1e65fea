// What the leader proposes in a switchover on purpose: when the target is promoted, and what becomes of one that fails.
import { describe, expect, test } from 'vitest';
import type { Command } from '../cluster/commands.ts';
import { A, ALONE, B, C, type Log, MC, P1, P2, at, running } from '../cluster/testing/example.ts';
import { ALL_WELL, type SeenNodes, leaderOf } from './testing/view.ts';

const kinds = (commands: readonly Command[]): string[] => commands.map((command) => command.kind);
const WITHOUT_A: SeenNodes = { ...ALL_WELL, a: undefined };

describe('a planned switchover', () => {
  const planned = (to: typeof B | 'anybody' = B) => {
    const log = running();
    log.must(at(log).begin({ kind: 'planned', to: to === 'anybody' ? undefined : to }));
    return log;
  };
  const handedOver = (to: typeof B | 'anybody' = B) => {
    const log = planned(to);
    log.must(at(log).cut(A, 120, { stopped: true }));
    return log;
  };

  test('waits for the primary to hand over, and calls it off after a minute', () => {
    const leader = leaderOf(planned());
    expect(leader.at(0)).toEqual([]);
    expect(leader.at(59_999)).toEqual([]);
    expect(kinds(leader.at(60_000))).toEqual(['resume']);
  });

  test('is called off as well where the agent of the primary is gone, and PostgreSQL runs on', () => {
    const log = planned();
    const { rule } = log.group;
    const leader = leaderOf(log, WITHOUT_A);
    expect(leader.at(0)).toEqual([]);
    expect(leader.at(59_999)).toEqual([]);
    const [resume] = leader.at(60_000);
    expect(resume).toMatchObject({ kind: 'resume' });
    if (resume !== undefined) log.must(resume);
    expect(log.group).toMatchObject({ phase: { kind: 'running', primary: A }, rule });
    // Its agent comes back late, in the middle of the hand-over: what it says of that counts no more.
    expect(log.commit(at(log).cut(A, 120, { stopped: true }))).toMatch(/is running, not fencing/);
    log.must(at(log).down(P1), at(log).down(P2));
    expect(leader.at(60_100)).toMatchObject([{ kind: 'begin-failover', cause: { kind: 'down' } }]);
  });

  test('becomes a failover when the primary dies while it hands over, but not for the moment of its stop', () => {
    const log = planned();
    const leader = leaderOf(log, WITHOUT_A);
    leader.at(0);
    log.must(at(log).down(P1), at(log).down(P2));
    expect(leader.at(100)).toEqual([]);
    expect(leader.at(3000)).toEqual([]);
    expect(leader.at(3100)).toMatchObject([{ kind: 'begin-failover', cause: { kind: 'down' } }]);
  });

  test('promotes its target as soon as that holds all of it', () => {
    const log = handedOver();
    log.must(at(log).cut(C, 120));
    expect(leaderOf(log).at(0)).toEqual([]);
    log.must(at(log).cut(B, 120));
    expect(leaderOf(log).at(0)).toMatchObject([
      { kind: 'promote', candidate: B, rule: { members: [MC], acks: 1 } },
    ]);
  });

  test('waits a moment for a standby that will report, so that it does not begin alone', () => {
    const log = handedOver();
    log.must(at(log).cut(B, 120));
    const leader = leaderOf(log);
    expect(leader.at(0)).toEqual([]);
    expect(leader.at(999)).toEqual([]);
    expect(leader.at(1000)).toMatchObject([{ candidate: B, rule: ALONE }]);
    expect(leaderOf(log, { ...ALL_WELL, c: undefined }).at(0)).toMatchObject([{ candidate: B }]);
  });

  test('reinstates the old primary when the target does not come, also where another standby could take over', () => {
    const log = handedOver();
    log.must(at(log).cut(C, 120));
    const leader = leaderOf(log);
    leader.at(0);
    expect(leader.at(2999)).toEqual([]);
    expect(leader.at(3000)).toMatchObject([{ candidate: A }]);
  });

  describe('whose target fails to be promoted', () => {
    const failedTarget = (): Log => {
      const log = handedOver();
      log.must(at(log).cut(B, 120), at(log).cut(C, 120));
      log.must(at(log).promote(B, 2, { members: [MC], acks: 1 }));
      log.must(at(log).failed(B));
      const leader = leaderOf(log);
      const [command] = leader.at(0);
      expect(command).toMatchObject({ cause: { kind: 'promotion-failed' } });
      if (command !== undefined) log.must(command);
      return log;
    };

    test('reinstates the old primary as soon as it reports', () => {
      const log = failedTarget();
      log.must(at(log).cut(C, 120));
      const leader = leaderOf(log);
      expect(leader.at(0)).toEqual([]);
      log.must(at(log).cut(A, 120));
      const [command] = leader.at(100);
      expect(command).toMatchObject({ kind: 'promote', candidate: A });
      if (command !== undefined) log.must(command);
    });

    test('takes another standby when the old primary does not report', () => {
      const log = failedTarget();
      log.must(at(log).cut(C, 120));
      const leader = leaderOf(log);
      leader.at(0);
      expect(leader.at(3000)).toMatchObject([{ candidate: C }]);
    });
  });

  test('without a target takes the first standby that holds all of it', () => {
    const log = handedOver('anybody');
    const leader = leaderOf(log);
    expect(leader.at(0)).toEqual([]);
    log.must(at(log).cut(C, 120));
    expect(leader.at(10)).toEqual([]);
    log.must(at(log).cut(B, 110));
    expect(leader.at(20)).toMatchObject([{ candidate: C }]);
  });
});
