import { describe, expect, test } from 'vitest';
import {
  acknowledges,
  appendRequest,
  at,
  entry,
  leaderUnderTest,
  logOf,
  of,
  P2,
  P3,
  peerUnderTest,
  sentTo,
  snapshotAt,
  snapshotRequest,
} from './testing/peer.ts';

describe('writes', () => {
  test('of events that arrive together are one, and so is the message to each follower', () => {
    const leader = leaderUnderTest();
    leader.receive(P2, {
      kind: 'append-reply',
      term: of(1),
      round: 1,
      success: true,
      matchIndex: at(1),
      hintIndex: at(0),
      hintTerm: of(0),
    });
    const proposals = ['a', 'b', 'c'].map(
      (proposalId) => ({ kind: 'propose', proposalId, data: new Uint8Array(1) }) as const,
    );
    const effects = leader.step(...proposals);
    expect(effects.filter(({ kind }) => kind === 'persist')).toMatchObject([
      { entries: [{ index: 2 }, { index: 3 }, { index: 4 }] },
    ]);
    expect(sentTo(effects, P2)).toMatchObject([
      { kind: 'append-request', entries: [{ index: 2 }, { index: 3 }, { index: 4 }] },
    ]);
  });

  test('are credited in any grouping, once, and never before they were issued', () => {
    const leader = leaderUnderTest();
    for (const proposalId of ['a', 'b', 'c'])
      leader.step({ kind: 'propose', proposalId, data: new Uint8Array(1) });
    const last = leader.raft.durability.issuedTicket;
    leader.step({ kind: 'persisted', ticket: last - 1 });
    expect(leader.raft.durability.durableIndex).toBe(3);
    leader.step({ kind: 'persisted', ticket: last - 2 });
    expect(leader.raft.durability.durableIndex).toBe(3);
    leader.step({ kind: 'persisted', ticket: last });
    expect([leader.raft.durability.durableIndex, leader.raft.durability.writes]).toEqual([4, []]);
    expect(() => leader.step({ kind: 'persisted', ticket: last + 1 })).toThrow(/never issued/);
  });

  test('whose entries were replaced meanwhile are credited with what is left of them (ABA)', () => {
    const follower = peerUnderTest({ log: logOf(1), term: 1 });
    follower.receive(P2, appendRequest(1, [1, 1], [entry(2, 1), entry(3, 1)]));
    const first = follower.raft.durability.issuedTicket;
    follower.receive(P3, appendRequest(2, [2, 1], [entry(3, 2), entry(4, 2)]));
    expect(sentTo(follower.step({ kind: 'persisted', ticket: first }), P3)).toEqual([]);
    expect(follower.raft.durability.durableIndex).toBe(2);
    expect(sentTo(follower.persist(), P3)).toMatchObject([{ success: true, matchIndex: 4 }]);
  });

  test('carry replaced entries from the first that changed', () => {
    const follower = peerUnderTest({ log: logOf(1, 1, 1), term: 1 });
    const effects = follower.receive(P2, appendRequest(2, [1, 1], [entry(2, 2)]));
    expect(effects.find(({ kind }) => kind === 'persist')).toMatchObject({
      entries: [{ index: 2, term: 2 }],
      hardState: { term: 2 },
    });
    expect(follower.raft.durability.durableIndex).toBe(1);
  });
});

describe('messages', () => {
  test('that waited for a write of an earlier term are dropped', () => {
    const follower = peerUnderTest({ term: 1 });
    follower.receive(P2, appendRequest(1, [0, 0], [entry(1, 1)]));
    follower.receive(P3, appendRequest(2, [0, 0], [entry(1, 1)]));
    const effects = follower.persist();
    expect(sentTo(effects, P2)).toEqual([]);
    expect(sentTo(effects, P3)).toMatchObject([{ term: 2, matchIndex: 1 }]);
  });

  test('that wait do not pile up while the disk hangs', () => {
    const follower = peerUnderTest({ term: 1, settings: { maxPendingProposals: 10 } });
    for (let count = 0; count < 100; count += 1) {
      follower.receive(P2, appendRequest(2, [0, 0], [entry(1, 1)]));
      follower.receive(P2, { kind: 'heartbeat-request', term: of(2), commitIndex: at(0), round: count });
    }
    expect(follower.raft.durability.held).toHaveLength(2);
    const refused = Array.from({ length: 20 }, (_, count) =>
      follower.step({ kind: 'propose', proposalId: `x${count}`, data: new Uint8Array(1) }),
    );
    expect(refused.flat().filter(({ kind }) => kind === 'proposal-refused')).toHaveLength(12);
    expect(follower.raft.durability.held).toHaveLength(10);
  });

  test('with a proposal that was never sent end in its refusal', () => {
    const follower = peerUnderTest({ term: 1 });
    follower.receive(P2, appendRequest(2, [0, 0], []));
    follower.step({ kind: 'propose', proposalId: 'x', data: new Uint8Array(1) });
    expect(follower.receive(P3, appendRequest(3, [0, 0], []))).toContainEqual({
      kind: 'proposal-refused',
      proposalId: 'x',
      reason: 'no-leader',
    });
  });
});

describe('a peer whose disk does not answer', () => {
  test('is given the time that an installed snapshot takes, ten megabytes a second, and no more', () => {
    const follower = peerUnderTest({ term: 1 });
    const snapshot = { ...snapshotAt(9, 1), data: new Uint8Array(20_000_000) };
    follower.receive(P2, snapshotRequest(1, snapshot, 5));
    follower.wait(3500);
    follower.tick();
    expect(follower.raft.durability.stalled).toBe(false);
    follower.wait(100);
    follower.tick();
    expect(follower.raft.durability.stalled).toBe(true);
  });

  test('is given no more for a snapshot of its own state, which is written beside the log', () => {
    const leader = leaderUnderTest({ settings: { keptEntries: 0 } });
    for (const from of [P2, P3]) acknowledges(leader, from, 1);
    leader.step({ kind: 'snapshot-taken', index: at(1), data: new Uint8Array(20_000_000) });
    leader.wait(1600);
    leader.tick();
    expect(leader.raft.durability.stalled).toBe(true);
  });

  test('leaves the lead after three election timeouts, although its followers answer, and stands again only when it is well', () => {
    const leader = leaderUnderTest();
    leader.step({ kind: 'propose', proposalId: 'a', data: new Uint8Array(1) });
    for (let elapsedMs = 0; elapsedMs <= 1500; elapsedMs += 100) {
      expect(leader.raft.role).toBe('leader');
      leader.receive(P2, { kind: 'heartbeat-reply', term: of(1), round: 0 });
      leader.tick();
      leader.wait(100);
    }
    leader.tick();
    expect([leader.raft.role, leader.raft.durability.stalled]).toEqual(['follower', true]);
    leader.wait(5000);
    expect(leader.tick()).toEqual([]);
    leader.persist();
    expect(leader.tick()).toEqual([]);
    expect(leader.raft.durability.stalled).toBe(false);
    leader.wait(500);
    leader.tick();
    expect(leader.raft.role).toBe('pre-candidate');
  });
});
