import { describe, expect, test } from 'vitest';
import { acknowledges, at, leaderUnderTest, of, P2, P3, sentTo } from './testing/peer.ts';

describe('heartbeats', () => {
  test('go out each heartbeat interval and tell no follower more than it is known to hold', () => {
    const leader = leaderUnderTest();
    acknowledges(leader, P2, 1);
    leader.wait(99);
    expect(leader.tick()).toEqual([]);
    leader.wait(1);
    const effects = leader.tick();
    expect(sentTo(effects, P2)).toMatchObject([{ kind: 'heartbeat-request', commitIndex: 1 }]);
    expect(sentTo(effects, P3)).toMatchObject([{ kind: 'heartbeat-request', commitIndex: 0 }]);
  });

  test('that go unanswered by a majority for an election timeout end the leadership (§6.2)', () => {
    const leader = leaderUnderTest();
    leader.wait(300);
    leader.receive(P2, { kind: 'heartbeat-reply', term: of(1), round: 1 });
    leader.wait(499);
    leader.tick();
    expect(leader.raft.role).toBe('leader');
    leader.wait(1);
    leader.tick();
    expect([leader.raft.role, leader.raft.leader, leader.raft.term]).toEqual(['follower', undefined, 1]);
  });

  test('answered in another term, or by a stranger, count for nothing', () => {
    const leader = leaderUnderTest();
    leader.wait(500);
    leader.receive(P2, { kind: 'heartbeat-reply', term: of(0), round: 9 });
    leader.receive('p9' as typeof P2, { kind: 'heartbeat-reply', term: of(1), round: 9 });
    leader.tick();
    expect(leader.raft.role).toBe('follower');
  });

  test('answered by a follower that lacks entries bring it what was lost', () => {
    const leader = leaderUnderTest();
    acknowledges(leader, P2, 1);
    leader.step({ kind: 'propose', proposalId: 'a', data: new Uint8Array(1) });
    leader.wait(100);
    const poll = sentTo(leader.receive(P2, { kind: 'heartbeat-reply', term: of(1), round: 3 }), P2);
    expect(poll).toMatchObject([{ kind: 'append-request', prevIndex: 2, entries: [] }]);
    const round = poll[0]?.kind === 'append-request' ? poll[0].round : 0;
    const hint = { matchIndex: at(0), hintIndex: at(1), hintTerm: of(1) };
    const again = sentTo(
      leader.receive(P2, { kind: 'append-reply', term: of(1), round, success: false, ...hint }),
      P2,
    );
    expect(again).toMatchObject([{ kind: 'append-request', prevIndex: 1, entries: [{ index: 2 }] }]);
  });
});
