import { describe, expect, test } from 'vitest';
import { membershipOf } from './testing/codec.ts';
import {
  acknowledges,
  committedIn,
  configEntry,
  entry,
  leaderUnderTest,
  logOf,
  of,
  P1,
  P2,
  P3,
  peerUnderTest,
  sentTo,
} from './testing/peer.ts';
import type { PeerUnderTest } from './testing/peer.ts';
import type { RaftEffect } from './types.ts';

const removeSelf = (leader: PeerUnderTest): RaftEffect[] =>
  leader.step({ kind: 'change-membership', changeId: 'c', change: { kind: 'remove', peer: P1 } });

function settledLeader(voters = [P1, P2, P3]): PeerUnderTest {
  const leader = leaderUnderTest({ voters });
  for (const voter of voters) if (voter !== P1) acknowledges(leader, voter, 1);
  return leader;
}

describe('a leader that removes itself', () => {
  test('leads on without counting itself until that is committed, then tells the others and hands over (§4.2.2)', () => {
    const leader = settledLeader();
    removeSelf(leader);
    leader.persist();
    expect(committedIn(acknowledges(leader, P3, 2))).toEqual([]);
    expect(leader.raft.role).toBe('leader');
    const effects = acknowledges(leader, P2, 2);
    expect(committedIn(effects)).toEqual([2]);
    expect(sentTo(effects, P3)).toMatchObject([{ kind: 'append-request', commitIndex: 2 }]);
    expect(sentTo(effects, P2).map(({ kind }) => kind)).toEqual(['append-request', 'timeout-now']);
    expect([leader.raft.role, leader.raft.term]).toEqual(['follower', 1]);
  });

  test('hands over to the voter that has most', () => {
    const leader = settledLeader([P1, P2, P3]);
    removeSelf(leader);
    leader.step({ kind: 'propose', proposalId: 'a', data: new Uint8Array(1) });
    acknowledges(leader, P3, 3);
    const effects = acknowledges(leader, P2, 2);
    expect(sentTo(effects, P3)).toContainEqual({ kind: 'timeout-now', term: of(1) });
  });

  test('does not stand afterwards', () => {
    const leader = settledLeader();
    removeSelf(leader);
    for (const from of [P2, P3]) acknowledges(leader, from, 2);
    leader.wait(10_000);
    expect(leader.tick().filter(({ kind }) => kind === 'send')).toEqual([]);
  });

  test('still makes room when it hears from no majority of the others', () => {
    const leader = settledLeader();
    removeSelf(leader);
    leader.wait(500);
    leader.tick();
    expect(leader.raft.role).toBe('follower');
  });

  test('serves no read that the others have not confirmed', () => {
    const leader = settledLeader();
    removeSelf(leader);
    const reading = leader.step({ kind: 'read', readId: 'r' });
    const round = sentTo(reading, P2).flatMap((message) =>
      message.kind === 'heartbeat-request' ? [message.round] : [],
    )[0];
    const answer = { kind: 'heartbeat-reply', term: of(1), round: round ?? 0 } as const;
    expect(leader.receive(P2, answer)).toEqual([]);
    expect(leader.receive(P3, answer)).toContainEqual({ kind: 'read-ready', readId: 'r', index: 1 });
  });
});

describe('one whose removal is in its log but not known to be committed', () => {
  const log = [...logOf(1), configEntry(2, 1, membershipOf([P2]))];
  const removed = () => {
    const peer = peerUnderTest({ voters: [P1, P2], log });
    peer.wait(500);
    return peer;
  };

  test('stands, since the others may need its log, but its own vote counts for nothing (§4.2.2)', () => {
    const peer = removed();
    expect(sentTo(peer.tick(), P2)).toMatchObject([{ kind: 'vote-request', preVote: true }]);
    expect(peer.raft.role).toBe('pre-candidate');
    peer.receive(P2, { kind: 'vote-reply', term: of(2), preVote: true, granted: true });
    peer.persist();
    expect(peer.raft.role).toBe('candidate');
    peer.receive(P2, { kind: 'vote-reply', term: of(2), preVote: false, granted: true });
    expect(peer.raft.role).toBe('leader');
    peer.persist();
    expect(peer.raft.commitIndex).toBe(0);
    acknowledges(peer, P2, 3);
    expect([peer.raft.role, peer.raft.commitIndex]).toEqual(['follower', 3]);
  });

  test('does not stand where another change followed: its own is committed then', () => {
    const peer = peerUnderTest({
      voters: [P1, P2],
      log: [...log, entry(3, 1), configEntry(4, 1, membershipOf([P2, P3]))],
    });
    peer.wait(5000);
    expect(peer.tick()).toEqual([]);
  });
});
