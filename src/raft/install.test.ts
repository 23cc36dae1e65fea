import { describe, expect, test } from 'vitest';
import { membershipOf } from './testing/codec.ts';
import {
  appendRequest,
  at,
  committedIn,
  configEntry,
  effectOf,
  entry,
  logOf,
  of,
  P1,
  P2,
  P3,
  P4,
  peerUnderTest,
  sentTo,
  snapshotAt,
  snapshotRequest,
  termsOf,
} from './testing/peer.ts';
import type { PeerUnderTest } from './testing/peer.ts';

const FOUR = membershipOf([P1, P2, P3, P4]);
const positions = ({ raft }: PeerUnderTest) => ({
  base: raft.log.base.index,
  snapshot: raft.snapshot?.index,
  commit: raft.commitIndex,
  durable: raft.durability.durableIndex,
});

describe('a snapshot from the leader', () => {
  test('takes the place of a log that does not reach it, and is answered for once it is durable', () => {
    const peer = peerUnderTest({ log: logOf(1, 1), term: 3 });
    const effects = peer.receive(P2, snapshotRequest(3, snapshotAt(9, 2, FOUR), 5));
    expect(effects.map(({ kind }) => kind)).toEqual(['role', 'restore', 'membership', 'persist']);
    expect(effectOf(effects, 'persist')?.snapshot).toMatchObject({
      snapshot: { index: 9 },
      base: { index: 9, term: 2 },
      replacesLog: true,
    });
    expect(positions(peer)).toEqual({ base: 9, snapshot: 9, commit: 9, durable: 0 });
    expect(peer.raft.membership).toEqual(FOUR);
    expect(sentTo(peer.persist(), P2)).toMatchObject([
      { kind: 'append-reply', success: true, matchIndex: 9, round: 5 },
    ]);
    expect(positions(peer).durable).toBe(9);
  });

  test('is followed by entries: the next commit goes on after it', () => {
    const peer = peerUnderTest({ term: 3 });
    peer.receive(P2, snapshotRequest(3, snapshotAt(9, 2)));
    const effects = peer.receive(P2, appendRequest(3, [9, 2], [entry(10, 3)], 10));
    expect(committedIn(effects)).toEqual([10]);
    expect(effectOf(effects, 'persist')?.entries.map(({ index }) => index)).toEqual([10]);
  });

  test('leaves nothing of a tail that differs from it, neither in the log nor in force nor in the credit of writes', () => {
    const peer = peerUnderTest({ log: logOf(1, 1), term: 1 });
    peer.receive(P2, appendRequest(1, [2, 1], [entry(3, 1), entry(4, 1), configEntry(5, 1, FOUR)], 2));
    const early = peer.raft.durability.issuedTicket;
    const effects = peer.receive(P3, snapshotRequest(3, snapshotAt(4, 2)));
    expect(effectOf(effects, 'persist')?.snapshot?.replacesLog).toBe(true);
    expect(effectOf(effects, 'membership')?.membership).toEqual(membershipOf([P1, P2, P3]));
    expect([termsOf(peer.raft), peer.raft.membershipIndex]).toEqual([[], 0]);
    peer.step({ kind: 'persisted', ticket: early });
    expect(positions(peer)).toEqual({ base: 4, snapshot: 4, commit: 4, durable: 2 });
    peer.persist();
    expect(positions(peer).durable).toBe(4);
  });

  test('leaves a tail that follows it, with the membership in it', () => {
    const log = [...logOf(1, 1, 2, 2), configEntry(5, 2, FOUR)];
    const peer = peerUnderTest({ log, term: 3 });
    const effects = peer.receive(P2, snapshotRequest(3, snapshotAt(3, 2)));
    expect(committedIn(effects)).toEqual([1, 2, 3]);
    expect(effectOf(effects, 'restore')).toBeUndefined();
    expect(effectOf(effects, 'persist')?.snapshot).toMatchObject({
      base: { index: 3, term: 2 },
      replacesLog: false,
    });
    expect([termsOf(peer.raft), peer.raft.membershipIndex, positions(peer)]).toEqual([
      [2, 2],
      5,
      { base: 3, snapshot: 3, commit: 3, durable: 5 },
    ]);
    // The entries it stands for are durable here already.
    expect(sentTo(effects, P2)).toMatchObject([{ success: true, matchIndex: 3 }]);
  });

  test('that brings nothing new changes nothing, and is answered with what is committed, once that is durable', () => {
    const peer = peerUnderTest({ log: logOf(1, 1), term: 1 });
    peer.receive(P2, appendRequest(1, [2, 1], [entry(3, 1)], 3));
    const effects = peer.receive(P2, snapshotRequest(1, snapshotAt(2, 1)));
    expect(effects).toEqual([]);
    expect(peer.raft.snapshot).toBeUndefined();
    expect(sentTo(peer.persist(), P2)).toContainEqual(
      expect.objectContaining({ success: true, matchIndex: 3 }),
    );
  });

  test('that arrives with the entries it stands for is written after them', () => {
    const peer = peerUnderTest({ log: logOf(1), term: 1 });
    const effects = peer.step(
      { kind: 'receive', from: P2, message: appendRequest(1, [1, 1], [entry(2, 1), entry(3, 1)]) },
      { kind: 'receive', from: P2, message: snapshotRequest(1, snapshotAt(2, 1)) },
    );
    const writes = effects.flatMap((effect) => (effect.kind === 'persist' ? [effect] : []));
    expect(
      writes.map(({ entries, snapshot }) => [entries.map(({ index }) => index), snapshot?.base.index]),
    ).toEqual([
      [[2, 3], undefined],
      [[], 2],
    ]);
  });

  test('of a leader of an earlier term is refused', () => {
    const peer = peerUnderTest({ term: 4 });
    const effects = peer.receive(P2, snapshotRequest(3, snapshotAt(9, 2)));
    expect(sentTo(effects, P2)).toMatchObject([{ kind: 'append-reply', term: 4, success: false }]);
    expect(peer.raft.snapshot).toBeUndefined();
  });

  test('counts as a sign of life of the leader', () => {
    const peer = peerUnderTest({ term: 3 });
    for (let count = 0; count < 3; count += 1) {
      peer.receive(P2, snapshotRequest(3, snapshotAt(9, 2)));
      peer.wait(450);
    }
    expect(peer.tick()).toEqual([]);
    expect(peer.raft.leader).toBe(P2);
  });

  test('tells one that joins who the members are', () => {
    const peer = peerUnderTest({ membership: membershipOf([]) });
    peer.receive(P2, snapshotRequest(3, snapshotAt(9, 2, FOUR)));
    expect(peer.raft.membership).toEqual(FOUR);
    expect(peer.raft.initialMembership.incarnation).toBe(0);
  });
});

describe('answers that waited for entries', () => {
  test('which the snapshot now stands for go out with it', () => {
    const peer = peerUnderTest({ log: logOf(1), term: 1 });
    peer.receive(P2, appendRequest(1, [1, 1], [entry(2, 1)]));
    peer.receive(P2, snapshotRequest(1, snapshotAt(8, 1)));
    expect(sentTo(peer.persist(), P2)).toMatchObject([{ matchIndex: 2 }, { matchIndex: 8 }]);
    expect(peer.raft.durability.held).toEqual([]);
  });

  test('of a former leader are gone with its term', () => {
    const peer = peerUnderTest({ log: logOf(1), term: 1 });
    peer.receive(P2, appendRequest(1, [1, 1], [entry(2, 1)]));
    peer.receive(P3, snapshotRequest(2, snapshotAt(8, 1)));
    const effects = peer.persist();
    expect([sentTo(effects, P2), sentTo(effects, P3)]).toMatchObject([[], [{ term: 2, matchIndex: 8 }]]);
  });
});

describe('a log whose beginning is compacted away', () => {
  const peerAt5 = () => peerUnderTest({ snapshot: snapshotAt(5, 2), log: [entry(6, 2)], term: 3 });

  test('matches an append that begins below it: what is committed is the same everywhere', () => {
    const peer = peerAt5();
    const effects = peer.receive(
      P2,
      appendRequest(3, [3, 1], [entry(4, 1), entry(5, 2), entry(6, 2), entry(7, 3)]),
    );
    expect(termsOf(peer.raft)).toEqual([2, 3]);
    expect(effectOf(effects, 'persist')?.entries.map(({ index }) => index)).toEqual([7]);
    const short = peerAt5();
    expect(sentTo(short.receive(P2, appendRequest(3, [1, 1], [entry(2, 1)])), P2)).toMatchObject([
      { success: true, matchIndex: 5 },
    ]);
  });

  test('refuses with a hint no lower than its base', () => {
    const peer = peerAt5();
    const [reply] = sentTo(peer.receive(P2, appendRequest(4, [9, 4], [])), P2);
    expect(reply).toBeUndefined();
    expect(sentTo(peer.persist(), P2)).toMatchObject([{ success: false, hintIndex: 6, hintTerm: 2 }]);
  });

  test('is not given up for a leader that lacks what is committed', () => {
    expect(() => peerAt5().receive(P2, appendRequest(3, [4, 1], [entry(5, 1)]))).toThrow(
      /term 2 is committed there/,
    );
  });

  test('takes a vote by its base where it holds nothing else', () => {
    const peer = peerUnderTest({ snapshot: snapshotAt(5, 2) });
    const request = { kind: 'vote-request', term: of(3), preVote: false, transfer: false } as const;
    peer.receive(P2, { ...request, lastIndex: at(4), lastTerm: of(2) });
    expect(peer.raft.votedFor).toBeUndefined();
    peer.receive(P3, { ...request, lastIndex: at(5), lastTerm: of(2) });
    expect(peer.raft.votedFor).toBe(P3);
  });
});
