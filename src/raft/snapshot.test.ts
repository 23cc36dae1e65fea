import { describe, expect, test } from 'vitest';
import { membershipOf } from './testing/codec.ts';
import {
  appendRequest,
  at,
  configEntry,
  effectOf,
  entry,
  logOf,
  P1,
  P2,
  P3,
  P4,
  peerUnderTest,
  snapshotAt,
  snapshotRequest,
} from './testing/peer.ts';
import type { PeerUnderTest } from './testing/peer.ts';
import type { RaftEffect } from './types.ts';

const FOUR = membershipOf([P1, P2, P3, P4]);
const DATA = new Uint8Array([7]);
const took = (peer: PeerUnderTest, index: number): RaftEffect[] =>
  peer.step({ kind: 'snapshot-taken', index: at(index), data: DATA });

/** A follower with `terms` in its log, all committed. */
function follower(terms: readonly number[], keptEntries: number): PeerUnderTest {
  const peer = peerUnderTest({ log: logOf(...terms), settings: { keptEntries } });
  const last = terms.length;
  peer.receive(P2, appendRequest(terms.at(-1) ?? 0, [last, terms.at(-1) ?? 0], [], last));
  return peer;
}

describe('a snapshot of the own state', () => {
  test('is written with its term and membership, and the log is cut to what is kept', () => {
    const peer = follower([1, 1, 2, 2, 2], 2);
    const effects = took(peer, 4);
    expect(effects).toEqual([
      {
        kind: 'persist',
        ticket: 1,
        hardState: { term: 2, votedFor: undefined },
        entries: [],
        snapshot: {
          snapshot: { index: 4, term: 2, membership: membershipOf([P1, P2, P3]), data: DATA },
          base: { index: 2, term: 1 },
          replacesLog: false,
        },
      },
    ]);
    expect([peer.raft.snapshot?.index, peer.raft.log.base.index, peer.raft.log.entries.length]).toEqual([
      4, 2, 3,
    ]);
    expect(peer.raft.durability.durableIndex).toBe(5);
  });

  test('holds the membership in force at its index, not the present one', () => {
    const log = [
      entry(1, 1),
      configEntry(2, 1, FOUR),
      entry(3, 1),
      configEntry(4, 1, membershipOf([P1, P2, P4])),
    ];
    const peer = peerUnderTest({ log, settings: { keptEntries: 0 } });
    peer.receive(P2, appendRequest(1, [4, 1], [], 4));
    took(peer, 1);
    expect(peer.raft.snapshot?.membership).toEqual(membershipOf([P1, P2, P3]));
    took(peer, 3);
    expect(peer.raft.snapshot?.membership).toEqual(FOUR);
    expect([peer.raft.membership, peer.raft.membershipIndex]).toEqual([membershipOf([P1, P2, P4]), 4]);
    const effects = took(peer, 4);
    expect(effectOf(effects, 'membership')).toBeUndefined();
    expect([peer.raft.membership, peer.raft.membershipIndex]).toEqual([membershipOf([P1, P2, P4]), 0]);
  });

  test('keeps what came before within reach, and never moves the base back', () => {
    const peer = follower([1, 1, 1, 1, 1], 1);
    took(peer, 4);
    expect(peer.raft.log.base.index).toBe(3);
    const late = peerUnderTest({
      snapshot: snapshotAt(5, 1),
      log: [entry(6, 1)],
      settings: { keptEntries: 9 },
    });
    late.receive(P2, appendRequest(1, [6, 1], [], 6));
    took(late, 6);
    expect([late.raft.snapshot?.index, late.raft.log.base.index]).toEqual([6, 5]);
  });

  test('that is older than the present one changes nothing: it was overtaken by one from the leader', () => {
    const peer = follower([1, 1, 1], 0);
    peer.receive(P2, snapshotRequest(1, snapshotAt(9, 1)));
    expect(took(peer, 3)).toEqual([]);
    expect([peer.raft.snapshot?.index, peer.raft.log.base.index, peer.raft.commitIndex]).toEqual([9, 9, 9]);
    took(peer, 9);
    expect(peer.raft.snapshot?.data).not.toEqual(DATA);
  });

  test('that is older changes nothing either where the log still reaches down to it', () => {
    const peer = follower([1, 1, 1, 1], 3);
    took(peer, 4);
    expect(peer.raft.log.base.index).toBe(1);
    for (const index of [2, 3, 4]) expect(took(peer, index)).toEqual([]);
    expect(peer.raft.snapshot?.index).toBe(4);
  });

  test('is not taken where this peer was never told who the members were', () => {
    const peer = peerUnderTest({
      membership: membershipOf([]),
      log: logOf(1, 1),
      settings: { keptEntries: 0 },
    });
    peer.receive(P2, appendRequest(1, [2, 1], [configEntry(3, 1, FOUR)], 3));
    expect(took(peer, 2)).toEqual([]);
    expect(took(peer, 3)).not.toEqual([]);
    expect(peer.raft.snapshot?.membership).toEqual(FOUR);
  });

  test('of what is not committed is a broken shell', () => {
    expect(() => took(peerUnderTest({ log: logOf(1, 1) }), 1)).toThrow(/only 0 is committed/);
  });

  test('shares its write with entries that arrive with it, and two never share one', () => {
    const peer = follower([1, 1, 1], 0);
    const effects = peer.step(
      { kind: 'snapshot-taken', index: at(2), data: DATA },
      { kind: 'receive', from: P2, message: appendRequest(1, [3, 1], [entry(4, 1)]) },
      { kind: 'snapshot-taken', index: at(3), data: DATA },
    );
    const writes = effects.flatMap((effect) => (effect.kind === 'persist' ? [effect] : []));
    expect(writes.map(({ entries, snapshot }) => [entries.length, snapshot?.base.index])).toEqual([
      [1, 2],
      [0, 3],
    ]);
  });
});
