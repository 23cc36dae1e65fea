import { describe, expect, test } from 'vitest';
import { acknowledges, leaderUnderTest, of, P1, P2, P3, P4, peerUnderTest, sentTo } from './testing/peer.ts';

describe('a transfer', () => {
  test('tells the target once it holds the whole log, and only once', () => {
    const leader = leaderUnderTest();
    leader.step({ kind: 'propose', proposalId: 'a', data: new Uint8Array(1) });
    acknowledges(leader, P2, 1);
    expect(leader.step({ kind: 'transfer', to: P2 })).toEqual([]);
    const effects = acknowledges(leader, P2, 2);
    expect(sentTo(effects, P2)).toContainEqual({ kind: 'timeout-now', term: 1 });
    expect(sentTo(acknowledges(leader, P2, 2), P2)).toEqual([]);
  });

  test('ends after an election timeout, and the leader leads on', () => {
    const leader = leaderUnderTest();
    leader.step({ kind: 'transfer', to: P2 });
    for (let count = 0; count < 5; count += 1) {
      leader.wait(100);
      leader.receive(P3, { kind: 'heartbeat-reply', term: of(1), round: 1 });
      leader.tick();
    }
    expect([leader.raft.role, leader.raft.leading?.transfer]).toEqual(['leader', undefined]);
  });

  test('asked for again keeps its deadline, so that proposals are not refused for ever', () => {
    const leader = leaderUnderTest();
    leader.step({ kind: 'transfer', to: P2 });
    const deadlineMs = leader.raft.leading?.transfer?.deadlineMs;
    leader.wait(100);
    leader.step({ kind: 'transfer', to: P2 });
    expect(leader.raft.leading?.transfer?.deadlineMs).toBe(deadlineMs);
  });

  test('goes to another voter only, from a leader only', () => {
    const leader = leaderUnderTest({ learners: [P4] });
    for (const to of [P1, P4]) {
      expect(leader.step({ kind: 'transfer', to })).toEqual([]);
      expect(leader.raft.leading?.transfer).toBeUndefined();
    }
    expect(peerUnderTest({}).step({ kind: 'transfer', to: P2 })).toEqual([]);
  });
});
