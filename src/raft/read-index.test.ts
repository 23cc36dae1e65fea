import { describe, expect, test } from 'vitest';
import {
  acknowledges,
  appendRequest,
  at,
  leaderUnderTest,
  of,
  P1,
  P2,
  P3,
  P4,
  peerUnderTest,
  sentTo,
} from './testing/peer.ts';
import type { PeerUnderTest } from './testing/peer.ts';
import type { RaftEffect } from './types.ts';

const read = (peer: PeerUnderTest, readId: string): RaftEffect[] => peer.step({ kind: 'read', readId });
const answersRound = (peer: PeerUnderTest, from: typeof P1, round: number): RaftEffect[] =>
  peer.receive(from, { kind: 'heartbeat-reply', term: peer.raft.term, round });
const roundIn = (effects: readonly RaftEffect[]): number =>
  sentTo(effects, P2).flatMap((message) =>
    message.kind === 'heartbeat-request' ? [message.round] : [],
  )[0] ?? Number.NaN;

function settledLeader(voters = [P1, P2, P3]): PeerUnderTest {
  const leader = leaderUnderTest({ voters });
  for (const voter of voters) if (voter !== P1) acknowledges(leader, voter, 1);
  return leader;
}

describe('a read on the leader', () => {
  test('is served when a majority answered a heartbeat round begun after it arrived, at the commit index of its arrival', () => {
    const leader = settledLeader();
    const round = roundIn(read(leader, 'r'));
    leader.step({ kind: 'propose', proposalId: 'a', data: new Uint8Array(1) });
    acknowledges(leader, P2, 2);
    leader.persist();
    expect(leader.raft.commitIndex).toBe(2);
    expect(answersRound(leader, P2, round)).toContainEqual({ kind: 'read-ready', readId: 'r', index: 1 });
  });

  test('is not served by answers to earlier rounds, however many, nor by one of five voters', () => {
    const leader = settledLeader([P1, P2, P3, P4, 'p5' as typeof P1]);
    leader.wait(100);
    const early = roundIn(leader.tick());
    const round = roundIn(read(leader, 'r'));
    for (const from of [P2, P3, P4]) expect(answersRound(leader, from, early)).toEqual([]);
    expect(answersRound(leader, P2, round)).toEqual([]);
    expect(answersRound(leader, P2, round)).toEqual([]);
    expect(answersRound(leader, P3, round)).toContainEqual({ kind: 'read-ready', readId: 'r', index: 1 });
  });

  test('waits until an entry of the own term is committed (§6.4)', () => {
    const leader = leaderUnderTest();
    expect(read(leader, 'r')).toEqual([]);
    leader.wait(100);
    const round = roundIn(leader.tick());
    expect(answersRound(leader, P2, round)).not.toContainEqual(
      expect.objectContaining({ kind: 'read-ready' }),
    );
    const next = roundIn(acknowledges(leader, P2, 1));
    expect(answersRound(leader, P2, next)).toContainEqual({ kind: 'read-ready', readId: 'r', index: 1 });
  });

  test('that arrives during a round takes part in the next, with an index of its own', () => {
    const leader = settledLeader();
    const first = roundIn(read(leader, 'r1'));
    leader.step({ kind: 'propose', proposalId: 'a', data: new Uint8Array(1) });
    leader.persist();
    acknowledges(leader, P2, 2);
    expect(sentTo(read(leader, 'r2'), P2)).toEqual([]);
    const effects = answersRound(leader, P2, first);
    expect(effects).toContainEqual({ kind: 'read-ready', readId: 'r1', index: 1 });
    expect(effects).not.toContainEqual(expect.objectContaining({ readId: 'r2' }));
    leader.wait(100);
    const second = roundIn(leader.tick());
    expect(answersRound(leader, P2, second)).toContainEqual({ kind: 'read-ready', readId: 'r2', index: 2 });
  });

  test('ends in a refusal when its time is over, when there are too many, and when the leader steps down', () => {
    const leader = leaderUnderTest({ settings: { maxPendingProposals: 1 } });
    read(leader, 'r1');
    expect(read(leader, 'r2')).toEqual([{ kind: 'read-refused', readId: 'r2', reason: 'queue-full' }]);
    for (let count = 0; count < 10; count += 1) {
      leader.wait(100);
      answersRound(leader, P2, 0);
    }
    expect(leader.tick()).toContainEqual({ kind: 'read-refused', readId: 'r1', reason: 'no-leader' });
    read(leader, 'r3');
    const effects = leader.receive(P2, { kind: 'heartbeat-reply', term: of(7), round: 1 });
    expect(effects).toContainEqual({ kind: 'read-refused', readId: 'r3', reason: 'not-leader' });
  });
});

describe('a read on a follower', () => {
  function follower(): PeerUnderTest {
    const peer = peerUnderTest({ term: 1 });
    peer.receive(P2, appendRequest(1, [0, 0], []));
    return peer;
  }

  test('is passed to the leader, and answered once', () => {
    const peer = follower();
    expect(sentTo(read(peer, 'r'), P2)).toEqual([{ kind: 'read-request', term: 1, readId: 'r' }]);
    const reply = { kind: 'read-reply', term: of(1), readId: 'r', index: at(4) } as const;
    expect(peer.receive(P2, reply)).toEqual([{ kind: 'read-ready', readId: 'r', index: 4 }]);
    expect(peer.receive(P2, reply)).toEqual([]);
  });

  test('is refused where nobody leads, when the leader refuses, when it is replaced, and when it does not answer', () => {
    const refused = (reason: string) => ({ kind: 'read-refused', readId: 'r', reason });
    expect(read(peerUnderTest({}), 'r')).toEqual([refused('no-leader')]);
    const denied = follower();
    read(denied, 'r');
    expect(denied.receive(P2, { kind: 'read-reply', term: of(1), readId: 'r', index: undefined })).toEqual([
      refused('not-leader'),
    ]);
    const deserted = follower();
    read(deserted, 'r');
    expect(deserted.receive(P3, appendRequest(2, [0, 0], []))).toContainEqual(refused('no-leader'));
    const ignored = follower();
    read(ignored, 'r');
    ignored.wait(1000);
    ignored.receive(P2, appendRequest(1, [0, 0], []));
    expect(ignored.tick()).toContainEqual(refused('no-leader'));
  });

  test('passed to one that does not lead is refused, not passed on', () => {
    const peer = follower();
    const effects = peer.receive(P3, { kind: 'read-request', term: of(1), readId: 'r' });
    expect(effects).toEqual([
      { kind: 'send', to: P3, message: { kind: 'read-reply', term: 1, readId: 'r', index: undefined } },
    ]);
  });
});
