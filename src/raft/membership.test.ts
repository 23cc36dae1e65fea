import { describe, expect, test } from 'vitest';
import { membershipAt } from './membership.ts';
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
} from './testing/peer.ts';

const THREE = membershipOf([P1, P2, P3]);
const WITH_LEARNER = membershipOf([P1, P2, P3], [P4]);
const FOUR = membershipOf([P1, P2, P3, P4]);

describe('the membership in force', () => {
  test('is the initial one until the log or a snapshot says otherwise', () => {
    const { raft } = peerUnderTest({ log: logOf(1, 1) });
    expect([raft.membership, raft.membershipIndex]).toEqual([THREE, 0]);
  });

  test('is that of a new entry from the moment it is in the log, before it is committed or durable (§4.1)', () => {
    const peer = peerUnderTest({ log: logOf(1), term: 1 });
    const effects = peer.receive(
      P2,
      appendRequest(1, [1, 1], [configEntry(2, 1, WITH_LEARNER), entry(3, 1)]),
    );
    expect(effectOf(effects, 'membership')).toEqual({ kind: 'membership', membership: WITH_LEARNER });
    expect([peer.raft.membershipIndex, peer.raft.commitIndex]).toEqual([2, 0]);
  });

  test('goes back when its entry is truncated, to that of the entry before', () => {
    const log = [entry(1, 1), configEntry(2, 1, WITH_LEARNER), entry(3, 1), configEntry(4, 2, FOUR)];
    const peer = peerUnderTest({ log });
    expect([peer.raft.membership, peer.raft.membershipIndex]).toEqual([FOUR, 4]);
    const effects = peer.receive(P2, appendRequest(3, [3, 1], [entry(4, 3)]));
    expect(effectOf(effects, 'membership')?.membership).toEqual(WITH_LEARNER);
    expect([peer.raft.membership, peer.raft.membershipIndex]).toEqual([WITH_LEARNER, 2]);
    peer.receive(P3, appendRequest(4, [1, 1], [entry(2, 4)]));
    expect([peer.raft.membership, peer.raft.membershipIndex]).toEqual([THREE, 0]);
  });

  test('is replaced by another in the same step where one entry takes the place of another', () => {
    const peer = peerUnderTest({ log: [entry(1, 1), configEntry(2, 1, FOUR)] });
    const effects = peer.receive(P2, appendRequest(2, [1, 1], [configEntry(2, 2, WITH_LEARNER)]));
    expect(effects.filter(({ kind }) => kind === 'membership')).toEqual([
      { kind: 'membership', membership: WITH_LEARNER },
    ]);
    expect([peer.raft.membership, peer.raft.membershipIndex]).toEqual([WITH_LEARNER, 2]);
  });

  test('is not announced again where nothing changed', () => {
    const peer = peerUnderTest({ log: logOf(1), term: 1 });
    const effects = peer.receive(P2, appendRequest(1, [1, 1], [configEntry(2, 1, THREE)]));
    expect(effectOf(effects, 'membership')).toBeUndefined();
    expect(peer.raft.membershipIndex).toBe(2);
  });
});

describe('after a restart the membership in force', () => {
  test('is that of the newest entry in the log, though nothing is known to be committed', () => {
    const log = [configEntry(1, 1, WITH_LEARNER), configEntry(2, 1, FOUR), entry(3, 1)];
    const { raft } = peerUnderTest({ log, membership: membershipOf([P1]) });
    expect([raft.membership, raft.membershipIndex, raft.commitIndex]).toEqual([FOUR, 2, 0]);
  });

  test('is that of the snapshot where the log holds none, not that of the configuration', () => {
    const { raft } = peerUnderTest({ snapshot: snapshotAt(5, 2, FOUR), membership: membershipOf([P1]) });
    expect([raft.membership, raft.membershipIndex, raft.commitIndex]).toEqual([FOUR, 0, 5]);
  });

  test('is that of the log where it goes on after the snapshot', () => {
    const log = [entry(6, 2), configEntry(7, 2, THREE)];
    const { raft } = peerUnderTest({ snapshot: snapshotAt(5, 2, FOUR), log });
    expect([raft.membership, raft.membershipIndex]).toEqual([THREE, 7]);
  });

  test('goes back to that of the snapshot when what followed is truncated', () => {
    const log = [entry(6, 2), configEntry(7, 2, THREE)];
    const peer = peerUnderTest({ snapshot: snapshotAt(5, 2, FOUR), log });
    peer.receive(P2, appendRequest(3, [6, 2], [entry(7, 3)]));
    expect([peer.raft.membership, peer.raft.membershipIndex]).toEqual([FOUR, 0]);
  });
});

test('the newest entry of an earlier incarnation is known, as long as the log holds it', () => {
  const later = { ...membershipOf([P1]), incarnation: 2 };
  const log = [configEntry(1, 1, FOUR), configEntry(2, 1, THREE), entry(3, 1), configEntry(4, 2, later)];
  const peer = peerUnderTest({ log, settings: { keptEntries: 0 } });
  expect(peer.raft.earlierIncarnationIndex).toBe(2);
  peer.receive(P2, appendRequest(2, [4, 2], [], 4));
  peer.step({ kind: 'snapshot-taken', index: at(3), data: new Uint8Array(1) });
  expect(peer.raft.earlierIncarnationIndex).toBe(0);
  expect(peerUnderTest({ log: log.slice(0, 3) }).raft.earlierIncarnationIndex).toBe(0);
});

test('the membership at an index is that of the newest entry up to there', () => {
  const log = [entry(6, 2), configEntry(7, 2, WITH_LEARNER), entry(8, 2), configEntry(9, 2, THREE)];
  const { raft } = peerUnderTest({ snapshot: snapshotAt(5, 2, FOUR), log });
  expect([5, 6, 7, 8, 9].map((index) => membershipAt(raft, at(index)))).toEqual([
    FOUR,
    FOUR,
    WITH_LEARNER,
    WITH_LEARNER,
    THREE,
  ]);
});
