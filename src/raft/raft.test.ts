import { describe, expect, test } from 'vitest';
import { membershipOf } from './testing/codec.ts';
import { at, entry, logOf, of, P1, P2, P3, peerUnderTest, snapshotAt } from './testing/peer.ts';

describe('a peer that starts', () => {
  test('takes for committed what its snapshot holds, and everything on its disk for durable', () => {
    const { raft } = peerUnderTest({ snapshot: snapshotAt(5, 2), log: [entry(6, 2), entry(7, 3)] });
    expect([raft.commitIndex, raft.durability.durableIndex, raft.durability.unissuedIndex]).toEqual([
      5, 7, 8,
    ]);
    expect([raft.role, raft.leader, raft.term]).toEqual(['follower', undefined, 3]);
  });

  test('may have kept entries that its snapshot holds too', () => {
    const base = { index: at(3), term: of(1) };
    const { raft } = peerUnderTest({
      snapshot: snapshotAt(5, 2),
      base,
      log: [entry(4, 2), entry(5, 2), entry(6, 2)],
    });
    expect([raft.commitIndex, raft.log.base.index]).toEqual([5, 3]);
  });

  test.each([
    [
      'the log begins after the snapshot ends',
      snapshotAt(5, 2),
      { index: at(6), term: of(2) },
      [],
      /does not meet the log/,
    ],
    [
      'the log ends before the snapshot',
      snapshotAt(5, 2),
      { index: at(3), term: of(1) },
      [entry(4, 2)],
      /does not meet/,
    ],
    [
      'both differ',
      snapshotAt(5, 2),
      { index: at(4), term: of(1) },
      [entry(5, 1)],
      /differs from the snapshot/,
    ],
    [
      'the log has a beginning but no snapshot',
      undefined,
      { index: at(4), term: of(1) },
      [entry(5, 1)],
      /does not meet/,
    ],
  ])('refuses to where %s', (_, snapshot, base, log, message) => {
    const disk = { base, log, term: 9, ...(snapshot === undefined ? {} : { snapshot }) };
    expect(() => peerUnderTest(disk)).toThrow(message);
  });

  test('refuses a log of a later term than the durable one', () => {
    expect(() => peerUnderTest({ log: logOf(1, 3), term: 2 })).toThrow(/ends in term 3/);
  });

  test('announces no membership: it is there to be read', () => {
    const peer = peerUnderTest({ snapshot: snapshotAt(5, 2, membershipOf([P1, P2, P3])) });
    expect(peer.raft.effects).toEqual([]);
    expect(peer.tick()).toEqual([]);
  });
});

test('time never goes back for the core, even where it does for the caller', () => {
  const peer = peerUnderTest({});
  peer.wait(400);
  peer.tick();
  peer.wait(-300);
  peer.tick();
  expect(peer.raft.nowMs).toBe(400);
});
