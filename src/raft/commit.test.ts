import { describe, expect, test } from 'vitest';
import { membershipOf } from './testing/codec.ts';
import {
  acknowledges,
  appendRequest,
  at,
  committedIn,
  entry,
  leaderUnderTest,
  logOf,
  of,
  P1,
  P2,
  P3,
  P4,
  peerUnderTest,
  snapshotAt,
} from './testing/peer.ts';

describe('a leader', () => {
  test('commits what a majority of the voters holds, itself included once its own write is durable', () => {
    const leader = leaderUnderTest();
    leader.step({ kind: 'propose', proposalId: 'a', data: new Uint8Array(1) });
    expect(committedIn(acknowledges(leader, P2, 2))).toEqual([1]);
    expect(committedIn(leader.persist())).toEqual([2]);
  });

  test('commits without its own disk what a majority of the others holds', () => {
    const leader = leaderUnderTest();
    leader.step({ kind: 'propose', proposalId: 'a', data: new Uint8Array(1) });
    acknowledges(leader, P2, 2);
    expect(committedIn(acknowledges(leader, P3, 2))).toEqual([2]);
    expect(leader.raft.durability.durableIndex).toBe(1);
  });

  test('does not commit an entry of an earlier term by counting, but together with one of its own (§5.4.2)', () => {
    const leader = leaderUnderTest({ log: logOf(1, 1, 1) });
    expect(committedIn(acknowledges(leader, P2, 3))).toEqual([]);
    expect(committedIn(acknowledges(leader, P3, 3))).toEqual([]);
    expect(committedIn(acknowledges(leader, P2, 4))).toEqual([1, 2, 3, 4]);
  });

  test('does not count learners, nor a voter twice', () => {
    const leader = leaderUnderTest({ voters: [P1, P2, P3], learners: [P4] });
    leader.step({ kind: 'propose', proposalId: 'a', data: new Uint8Array(1) });
    acknowledges(leader, P2, 1);
    for (const from of [P4, P4, P2, P2]) {
      expect(committedIn(acknowledges(leader, from, from === P4 ? 2 : 1))).toEqual([]);
    }
    expect(leader.raft.commitIndex).toBe(1);
  });
});

describe('a follower', () => {
  test('commits no further than the entries this leader has shown to match, whatever it has beyond (§5.3)', () => {
    const follower = peerUnderTest({ log: logOf(1, 1, 2, 2) });
    expect(committedIn(follower.receive(P2, appendRequest(3, [1, 1], [entry(2, 1)], 4)))).toEqual([1, 2]);
  });

  test('commits what the heartbeat says, which the leader knows it to hold', () => {
    const follower = peerUnderTest({ log: logOf(1, 1, 2), term: 2 });
    const heartbeat = { kind: 'heartbeat-request', term: of(2), commitIndex: at(2), round: 1 } as const;
    expect(committedIn(follower.receive(P2, heartbeat))).toEqual([1, 2]);
    expect(committedIn(follower.receive(P2, { ...heartbeat, commitIndex: at(1) }))).toEqual([]);
    expect(follower.raft.commitIndex).toBe(2);
  });

  test('that joins passes over a heartbeat that counts on entries of a former member of its name', () => {
    const follower = peerUnderTest({ membership: membershipOf([]), term: 2 });
    const heartbeat = { kind: 'heartbeat-request', term: of(2), commitIndex: at(5), round: 1 } as const;
    expect(follower.receive(P2, heartbeat).filter(({ kind }) => kind === 'send')).toEqual([]);
    expect(follower.raft.commitIndex).toBe(0);
  });

  test('does not miss what its snapshot stands for', () => {
    const follower = peerUnderTest({ snapshot: snapshotAt(5, 1), term: 2 });
    const heartbeat = { kind: 'heartbeat-request', term: of(2), commitIndex: at(5), round: 1 } as const;
    expect(committedIn(follower.receive(P2, heartbeat))).toEqual([]);
    expect(() => follower.receive(P2, { ...heartbeat, commitIndex: at(6) })).toThrow(/entries were lost/);
  });

  test('stops when the leader counts on entries that it does not have: its disk lost them', () => {
    const follower = peerUnderTest({ log: logOf(1), term: 2 });
    const heartbeat = { kind: 'heartbeat-request', term: of(2), commitIndex: at(5), round: 1 } as const;
    expect(() => follower.receive(P2, heartbeat)).toThrow(/entries were lost/);
  });
});
