import { describe, expect, test } from 'vitest';
import { acknowledges, at, leaderUnderTest, logOf, of, P2, P3, sentTo } from './testing/peer.ts';
import type { PeerUnderTest } from './testing/peer.ts';
import type { RaftEffect } from './types.ts';

const appendsTo = (effects: readonly RaftEffect[], to: typeof P2) =>
  sentTo(effects, to).flatMap((message) => (message.kind === 'append-request' ? [message] : []));
const propose = (leader: PeerUnderTest, ...ids: readonly string[]): RaftEffect[] =>
  leader.step(
    ...ids.map((proposalId) => ({ kind: 'propose', proposalId, data: new Uint8Array(100) }) as const),
  );
const refuses = (leader: PeerUnderTest, round: number, hintIndex: number, hintTerm: number): RaftEffect[] =>
  leader.receive(P2, {
    kind: 'append-reply',
    term: leader.raft.term,
    round,
    success: false,
    matchIndex: at(0),
    hintIndex: at(hintIndex),
    hintTerm: of(hintTerm),
  });

describe('a leader that replicates', () => {
  test('sends before its own write is durable, as many entries as count and bytes allow, one message ahead of the other', () => {
    const leader = leaderUnderTest({ settings: { maxEntriesPerAppend: 2, maxInflightAppends: 2 } });
    acknowledges(leader, P2, 1);
    const effects = propose(leader, 'a', 'b', 'c', 'd', 'e');
    expect(appendsTo(effects, P2).map(({ entries }) => entries.map(({ index }) => index))).toEqual([
      [2, 3],
      [4, 5],
    ]);
    expect(effects.at(-1)).toMatchObject({ kind: 'persist' });
    expect(appendsTo(acknowledges(leader, P2, 3), P2).map(({ entries }) => entries.length)).toEqual([1]);
  });

  test('stops at the limit of bytes in flight', () => {
    const leader = leaderUnderTest({ settings: { maxBytesPerAppend: 150, maxInflightBytes: 250 } });
    acknowledges(leader, P2, 1);
    expect(appendsTo(propose(leader, 'a', 'b', 'c'), P2)).toHaveLength(2);
  });

  test('sends a follower that it does not know yet one message at a time', () => {
    const leader = leaderUnderTest();
    expect(appendsTo(propose(leader, 'a'), P3)).toEqual([]);
    expect(appendsTo(acknowledges(leader, P3, 1), P3)).toMatchObject([
      { prevIndex: 1, entries: [{ index: 2 }] },
    ]);
  });

  test('tells of a commit at once where there is nothing else to send', () => {
    const leader = leaderUnderTest();
    acknowledges(leader, P3, 0);
    expect(appendsTo(acknowledges(leader, P2, 1), P2)).toMatchObject([
      { prevIndex: 1, entries: [], commitIndex: 1 },
    ]);
    expect(appendsTo(acknowledges(leader, P2, 1), P2)).toEqual([]);
  });

  test('follows a hint past whole terms, and takes no refusal twice', () => {
    const leader = leaderUnderTest({ log: logOf(1, 1, 4, 4, 5) });
    const round = leader.raft.leading?.progress.get(P2)?.inflight[0]?.firstRound ?? 0;
    expect(appendsTo(refuses(leader, round, 4, 3), P2)).toMatchObject([{ prevIndex: 2, prevTerm: 1 }]);
    expect(appendsTo(refuses(leader, round, 0, 0), P2)).toEqual([]);
    expect(leader.raft.leading?.progress.get(P2)?.next).toBe(3);
  });

  test('stops when a follower claims more than the leader has', () => {
    expect(() => acknowledges(leaderUnderTest(), P2, 9)).toThrow(/beyond our log/);
  });
});
