import { describe, expect, test } from 'vitest';
import { membershipOf } from './testing/codec.ts';
import {
  acknowledges,
  at,
  configEntry,
  entry,
  leaderUnderTest,
  of,
  P1,
  P2,
  P3,
  sentTo,
  snapshotAt,
} from './testing/peer.ts';
import type { PeerUnderTest } from './testing/peer.ts';
import type { RaftEffect, RaftMessage } from './types.ts';

const progressOf = (leader: PeerUnderTest) => leader.raft.leading?.progress.get(P2);
const snapshotsTo = (effects: readonly RaftEffect[]): RaftMessage[] =>
  sentTo(effects, P2).filter(({ kind }) => kind === 'snapshot-request');
const told = (leader: PeerUnderTest, arrived: boolean, index = 5): RaftEffect[] =>
  leader.step({ kind: 'snapshot-sent', to: P2, index: at(index), arrived });

/** P2 answers a heartbeat, as does P3, so that the leader stays. */
function alive(leader: PeerUnderTest): RaftEffect[] {
  return [P2, P3].flatMap((from) =>
    leader.receive(from, { kind: 'heartbeat-reply', term: leader.raft.term, round: 0 }),
  );
}

/** P2 lacks everything, and the leader's log begins at 6: the refusal of the first append brings a snapshot. */
function leaderOfStraggler(): { leader: PeerUnderTest; effects: RaftEffect[] } {
  const leader = leaderUnderTest({
    snapshot: snapshotAt(5, 1),
    log: [entry(6, 1)],
    settings: { snapshotTimeoutMs: 3000 },
  });
  const round = progressOf(leader)?.inflight[0]?.firstRound ?? 0;
  const refusal = { kind: 'append-reply', term: leader.raft.term, round, success: false } as const;
  const hint = { matchIndex: at(0), hintIndex: at(0), hintTerm: of(0) };
  return { leader, effects: leader.receive(P2, { ...refusal, ...hint }) };
}

describe('a follower that lacks what is compacted away', () => {
  test('is sent the snapshot, once, and nothing else but heartbeats', () => {
    const { leader, effects } = leaderOfStraggler();
    expect(snapshotsTo(effects)).toMatchObject([{ snapshot: { index: 5 } }]);
    expect(progressOf(leader)).toMatchObject({ mode: 'snapshot', snapshot: { index: 5 } });
    leader.step({ kind: 'propose', proposalId: 'a', data: new Uint8Array(1) });
    leader.wait(100);
    const kinds = sentTo([...leader.tick(), ...alive(leader)], P2).map(({ kind }) => kind);
    expect(kinds).toEqual(['heartbeat-request']);
  });

  test('is sent what follows when it has the snapshot', () => {
    const { leader } = leaderOfStraggler();
    expect(sentTo(acknowledges(leader, P2, 5), P2)).toMatchObject([
      { kind: 'append-request', prevIndex: 5, entries: [{ index: 6 }, { index: 7 }] },
    ]);
    expect(progressOf(leader)).toMatchObject({ mode: 'replicate', match: 5, snapshot: undefined });
  });

  test('goes on by its own word where it needs no snapshot any more', () => {
    const { leader } = leaderOfStraggler();
    acknowledges(leader, P2, 7);
    expect(progressOf(leader)).toMatchObject({ mode: 'replicate', match: 7, next: 8 });
  });

  test('stays at the snapshot for the answer to an earlier append', () => {
    const { leader } = leaderOfStraggler();
    acknowledges(leader, P2, 2);
    expect(progressOf(leader)).toMatchObject({ mode: 'snapshot', match: 2 });
  });

  test('is not sent one while it is silent', () => {
    const leader = leaderUnderTest({ settings: { keptEntries: 0, maxInflightAppends: 1 } });
    for (const from of [P2, P3]) acknowledges(leader, from, 1);
    for (const proposalId of ['a', 'b', 'c']) {
      leader.step({ kind: 'propose', proposalId, data: new Uint8Array(1) });
      leader.wait(200);
      leader.tick();
      acknowledges(leader, P3, leader.raft.durability.unissuedIndex - 1);
    }
    expect([leader.raft.commitIndex, progressOf(leader)?.next]).toEqual([1, 3]);
    leader.persist();
    expect(
      snapshotsTo(leader.step({ kind: 'snapshot-taken', index: at(4), data: new Uint8Array(1) })),
    ).toEqual([]);
    leader.wait(100);
    expect(snapshotsTo(alive(leader))).toMatchObject([{ snapshot: { index: 4 } }]);
  });
});

test('a follower that would be told of an earlier incarnation waits for a snapshot of this one', () => {
  const membership = { ...membershipOf([P1, P2, P3]), incarnation: 2 };
  const log = [configEntry(1, 1, membershipOf([P1])), entry(2, 1), configEntry(3, 2, membership)];
  const leader = leaderUnderTest({ log });
  expect(progressOf(leader)?.next).toBe(4);
  const round = progressOf(leader)?.inflight[0]?.firstRound ?? 0;
  const refusal = { kind: 'append-reply', term: leader.raft.term, round, success: false } as const;
  expect(leader.receive(P2, { ...refusal, matchIndex: at(0), hintIndex: at(0), hintTerm: of(0) })).toEqual(
    [],
  );
  acknowledges(leader, P3, 4);
  leader.wait(100);
  expect(sentTo(alive(leader), P2)).toEqual([]);
  const effects = leader.step({ kind: 'snapshot-taken', index: at(4), data: new Uint8Array(1) });
  expect(snapshotsTo(effects)).toMatchObject([{ snapshot: { index: 4, membership: { incarnation: 2 } } }]);
});

test('a snapshot from before a recovery is sent to nobody', () => {
  const membership = { ...membershipOf([P1, P2, P3]), incarnation: 2 };
  const leader = leaderUnderTest({ snapshot: snapshotAt(5, 1), log: [configEntry(6, 2, membership)] });
  const round = progressOf(leader)?.inflight[0]?.firstRound ?? 0;
  const refusal = { kind: 'append-reply', term: leader.raft.term, round, success: false } as const;
  const effects = leader.receive(P2, { ...refusal, matchIndex: at(0), hintIndex: at(0), hintTerm: of(0) });
  expect(sentTo(effects, P2)).toEqual([]);
  acknowledges(leader, P3, 7);
  const later = leader.step({ kind: 'snapshot-taken', index: at(7), data: new Uint8Array(1) });
  expect(snapshotsTo(later)).toMatchObject([{ snapshot: { index: 7 } }]);
});

describe('a snapshot that', () => {
  test('failed in the network is sent again after an election timeout, not at once', () => {
    const { leader } = leaderOfStraggler();
    expect(snapshotsTo(told(leader, false))).toEqual([]);
    expect(progressOf(leader)?.mode).toBe('probe');
    leader.wait(400);
    expect(snapshotsTo(alive(leader))).toEqual([]);
    leader.wait(100);
    expect(snapshotsTo(alive(leader))).toHaveLength(1);
  });

  test('is not answered for is sent again after its time is over', () => {
    const { leader } = leaderOfStraggler();
    for (let elapsedMs = 0; elapsedMs < 2900; elapsedMs += 100) {
      leader.wait(100);
      expect(snapshotsTo([...alive(leader), ...leader.tick()])).toEqual([]);
    }
    leader.wait(100);
    expect(snapshotsTo([...alive(leader), ...leader.tick()])).toHaveLength(1);
  });

  test('arrived, while the answer was lost, is followed by an append that asks again', () => {
    const { leader } = leaderOfStraggler();
    told(leader, true);
    for (let elapsedMs = 0; elapsedMs < 900; elapsedMs += 100) {
      leader.wait(100);
      expect(sentTo(alive(leader), P2)).toEqual([]);
    }
    leader.wait(100);
    expect(sentTo([...alive(leader), ...alive(leader)], P2)).toMatchObject([
      { kind: 'append-request', prevIndex: 5, entries: [{ index: 6 }, { index: 7 }] },
    ]);
    expect(progressOf(leader)?.mode).toBe('probe');
  });

  test('is not the one under way is none of our business, nor one that was told of twice', () => {
    const { leader } = leaderOfStraggler();
    told(leader, false, 4);
    expect(progressOf(leader)?.mode).toBe('snapshot');
    told(leader, false);
    told(leader, true);
    expect(progressOf(leader)).toMatchObject({ mode: 'probe', next: 1 });
    expect(
      leader.step({ kind: 'snapshot-sent', to: 'p9' as typeof P2, index: at(5), arrived: false }),
    ).toEqual([]);
  });
});
