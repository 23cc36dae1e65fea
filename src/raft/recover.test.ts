import { describe, expect, test } from 'vitest';
import { membershipOf } from './testing/codec.ts';
import { committedIn, effectOf, leaderUnderTest, logOf, of, P1, P4, peerUnderTest } from './testing/peer.ts';
import type { Membership } from './types.ts';

const ALONE: Membership = { ...membershipOf([P1]), incarnation: 2 };

describe('recovery from quorum loss', () => {
  test('makes this peer the only voter of the next incarnation, in a new term, all of it in one write', () => {
    const peer = peerUnderTest({ log: logOf(1, 1, 2), learners: [P4] });
    const effects = peer.step({ kind: 'recover' });
    expect(effectOf(effects, 'membership')?.membership).toEqual(ALONE);
    expect(effectOf(effects, 'persist')).toMatchObject({
      hardState: { term: 3, votedFor: P1 },
      entries: [{ index: 4, term: 3, kind: 'config' }],
    });
    expect([peer.raft.role, committedIn(effects)]).toEqual(['candidate', []]);
  });

  test('commits all that is in the log once that is durable, and leads', () => {
    const peer = peerUnderTest({ log: logOf(1, 1, 2) });
    peer.step({ kind: 'recover' });
    expect(committedIn(peer.persist())).toEqual([1, 2, 3, 4]);
    expect(committedIn(peer.persist())).toEqual([5]);
    expect([peer.raft.role, peer.raft.term, peer.raft.membership]).toEqual(['leader', 3, ALONE]);
    peer.step({ kind: 'propose', proposalId: 'a', data: new Uint8Array(1) });
    expect(committedIn(peer.persist())).toEqual([6]);
  });

  test('holds after a crash before it was led to its end', () => {
    const peer = peerUnderTest({ log: logOf(1, 1, 2) });
    const write = effectOf(peer.step({ kind: 'recover' }), 'persist');
    const again = peerUnderTest({
      log: [...logOf(1, 1, 2), ...(write?.entries ?? [])],
      term: 3,
      votedFor: P1,
    });
    expect(again.raft.membership).toEqual(ALONE);
    again.wait(500);
    again.tick();
    again.persist();
    again.persist();
    expect([again.raft.role, again.raft.term, again.raft.commitIndex]).toEqual(['leader', 4, 5]);
  });

  test('ends the reign of one that leads already', () => {
    const leader = leaderUnderTest();
    leader.step({ kind: 'recover' });
    expect([leader.raft.role, leader.raft.term]).toEqual(['candidate', of(2)]);
    leader.persist();
    expect([leader.raft.role, leader.raft.leading?.progress.size]).toEqual(['leader', 0]);
  });

  test('is nothing for one that joins: it has nothing to go on with', () => {
    expect(peerUnderTest({ membership: membershipOf([]) }).step({ kind: 'recover' })).toEqual([]);
  });
});
