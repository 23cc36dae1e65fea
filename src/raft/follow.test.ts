import { describe, expect, test } from 'vitest';
import {
  appendRequest,
  at,
  entry,
  logOf,
  of,
  P2,
  P3,
  peerUnderTest,
  sentTo,
  termsOf,
} from './testing/peer.ts';

describe('a follower that is sent entries', () => {
  test.each([
    ['appends what is new', [1, 1], [2, 1], [entry(3, 2)], [1, 1, 2]],
    ['replaces from the first that conflicts', [1, 1, 1], [1, 1], [entry(2, 2)], [1, 2]],
    [
      'keeps what matches, and what lies behind it, on an old request',
      [1, 1, 2],
      [0, 0],
      [entry(1, 1)],
      [1, 1, 2],
    ],
    ['keeps its tail on an empty request', [1, 1, 2], [1, 1], [], [1, 1, 2]],
    [
      'keeps the matching part and replaces the rest',
      [1, 1, 1, 1],
      [0, 0],
      [entry(1, 1), entry(2, 1), entry(3, 3)],
      [1, 1, 3],
    ],
  ] as const)('%s (§5.3)', (_, before, previous, entries, after) => {
    const follower = peerUnderTest({ log: logOf(...before) });
    follower.receive(P2, appendRequest(3, previous, entries));
    expect(termsOf(follower.raft)).toEqual(after);
  });

  test('writes nothing for a request that brings nothing new, and answers it at once', () => {
    const follower = peerUnderTest({ log: logOf(1, 1), term: 1 });
    const effects = follower.receive(P2, appendRequest(1, [0, 0], logOf(1, 1)));
    expect(effects.map(({ kind }) => kind)).toEqual(['role', 'send']);
    expect(sentTo(effects, P2)).toMatchObject([{ success: true, matchIndex: 2 }]);
  });

  test('answers only when the entries are durable, and then for those the request brought', () => {
    const follower = peerUnderTest({ log: logOf(1), term: 1 });
    expect(sentTo(follower.receive(P2, appendRequest(1, [1, 1], [entry(2, 1)])), P2)).toEqual([]);
    expect(sentTo(follower.receive(P2, appendRequest(1, [2, 1], [])), P2)).toEqual([]);
    expect(sentTo(follower.persist(), P2)).toMatchObject([{ success: true, matchIndex: 2 }]);
  });

  test.each([
    ['its log is shorter', [1, 1], [5, 1], [2, 1]],
    ['it has a higher term there: it skips all higher terms', [1, 1, 3, 3, 3], [5, 2], [2, 1]],
    ['it has a lower term there: it names that', [1, 1, 1, 2, 2], [5, 4], [5, 2]],
    ['nothing of it can match', [3, 3], [2, 1], [0, 0]],
  ] as const)('refuses with a hint where %s', (_, log, previous, [hintIndex, hintTerm]) => {
    const follower = peerUnderTest({ log: logOf(...log), term: 9 });
    const [reply] = sentTo(follower.receive(P2, appendRequest(9, previous, [])), P2);
    expect(reply).toMatchObject({ kind: 'append-reply', success: false, hintIndex, hintTerm });
  });

  test('tells a leader of an earlier term its own, and follows it in nothing', () => {
    const follower = peerUnderTest({ log: logOf(1), term: 4 });
    const [reply] = sentTo(follower.receive(P2, appendRequest(3, [1, 1], [entry(2, 3)])), P2);
    expect(reply).toMatchObject({ kind: 'append-reply', term: 4, success: false });
    expect([follower.raft.leader, termsOf(follower.raft)]).toEqual([undefined, [1]]);
  });

  test('stops when a committed entry would be replaced, and when two lead one term', () => {
    const follower = peerUnderTest({ log: logOf(1, 1), term: 1 });
    follower.receive(P2, appendRequest(1, [2, 1], [], 2));
    expect(() => follower.receive(P2, appendRequest(2, [1, 1], [entry(2, 2)]))).toThrow(/2 is committed/);
    const torn = peerUnderTest({ log: logOf(1), term: 1 });
    torn.receive(P2, appendRequest(1, [1, 1], []));
    expect(() => torn.receive(P3, appendRequest(1, [1, 1], []))).toThrow(/two leaders in term 1/);
  });

  test('waits anew after each sign of life', () => {
    const follower = peerUnderTest({ term: 1 });
    for (let count = 0; count < 5; count += 1) {
      follower.wait(400);
      follower.receive(P2, { kind: 'heartbeat-request', term: of(1), commitIndex: at(0), round: count });
      expect(follower.tick()).toEqual([]);
    }
    follower.wait(500);
    expect(follower.tick()).not.toEqual([]);
  });
});
