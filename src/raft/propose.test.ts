import { describe, expect, test } from 'vitest';
import {
  acknowledges,
  appendRequest,
  leaderUnderTest,
  of,
  P2,
  P3,
  peerUnderTest,
  sentTo,
  termsOf,
} from './testing/peer.ts';
import type { PeerUnderTest } from './testing/peer.ts';
import type { RaftEffect, RaftMessage } from './types.ts';

const propose = (peer: PeerUnderTest, proposalId: string, bytes = 1): RaftEffect[] =>
  peer.step({ kind: 'propose', proposalId, data: new Uint8Array(bytes) });
const passedOn = (proposalId: string): RaftMessage => ({
  kind: 'propose',
  term: of(1),
  proposalId,
  data: new Uint8Array(1),
});
const refusal = (proposalId: string, reason: string) => ({ kind: 'proposal-refused', proposalId, reason });

describe('a proposal', () => {
  test('is refused where nobody leads, and by a leader that has too many or is handing over', () => {
    expect(propose(peerUnderTest({}), 'a')).toEqual([refusal('a', 'no-leader')]);
    const leader = leaderUnderTest({ settings: { maxPendingProposals: 2, maxProposalBytes: 10 } });
    propose(leader, 'a');
    propose(leader, 'b');
    expect(propose(leader, 'c')).toEqual([refusal('c', 'queue-full')]);
    acknowledges(leader, P2, 2);
    leader.persist();
    expect(propose(leader, 'd')).not.toContainEqual(refusal('d', 'queue-full'));
    expect(propose(leader, 'e', 11)).toEqual([refusal('e', 'too-large')]);
    leader.step({ kind: 'transfer', to: P2 });
    expect(propose(leader, 'f')).toEqual([refusal('f', 'transferring')]);
  });

  test('that is too large is not passed on either', () => {
    const follower = peerUnderTest({ term: 1, settings: { maxProposalBytes: 10 } });
    follower.receive(P2, appendRequest(1, [0, 0], []));
    expect(propose(follower, 'a', 11)).toEqual([refusal('a', 'too-large')]);
    expect(sentTo(propose(follower, 'b', 10), P2)).toMatchObject([{ kind: 'propose', proposalId: 'b/1' }]);
  });

  test('that is tried again is another message, and enters the log of a term once', () => {
    const follower = peerUnderTest({ term: 1 });
    follower.receive(P2, appendRequest(1, [0, 0], []));
    const tries = [propose(follower, 'a'), propose(follower, 'a')].flatMap((effects) => sentTo(effects, P2));
    expect(tries).toMatchObject([{ proposalId: 'a/1' }, { proposalId: 'a/2' }]);

    const leader = leaderUnderTest();
    for (const message of tries) leader.receive(P2, message);
    propose(leader, 'a');
    propose(leader, 'b');
    propose(leader, 'b');
    expect(termsOf(leader.raft)).toEqual([1, 1, 1]);
  });

  test('that was refused may be tried again, though the refused message counts for nothing when it comes twice', () => {
    const leader = leaderUnderTest({ settings: { maxPendingProposals: 1 } });
    propose(leader, 'x');
    expect(sentTo(leader.receive(P2, passedOn('a/1')), P2)).toMatchObject([
      { kind: 'propose-refused', proposalId: 'a/1', reason: 'queue-full' },
    ]);
    acknowledges(leader, P2, 2);
    leader.persist();
    expect(leader.receive(P2, passedOn('a/1'))).toEqual([]);
    expect(termsOf(leader.raft)).toEqual([1, 1]);
    leader.receive(P2, passedOn('a/2'));
    expect(termsOf(leader.raft)).toEqual([1, 1, 1]);
  });

  test('that was passed on is decided once, by its first copy', () => {
    const leader = leaderUnderTest();
    leader.receive(P2, passedOn('a'));
    leader.receive(P2, passedOn('a'));
    expect(termsOf(leader.raft)).toEqual([1, 1]);
    leader.receive(P3, { kind: 'heartbeat-reply', term: of(2), round: 1 });
    leader.persist();
    expect(leader.receive(P2, passedOn('a'))).toEqual([]);
    expect(sentTo(leader.receive(P2, passedOn('b')), P2)).toMatchObject([
      { kind: 'propose-refused', proposalId: 'b', reason: 'not-leader' },
    ]);
    expect(leader.receive(P2, passedOn('b'))).toEqual([]);
  });

  test('that the leader refused is reported as refused', () => {
    const follower = peerUnderTest({ term: 1 });
    const effects = follower.receive(P2, {
      kind: 'propose-refused',
      term: of(1),
      proposalId: 'a/7',
      reason: 'queue-full',
    });
    expect(effects).toEqual([refusal('a', 'queue-full')]);
  });
});
