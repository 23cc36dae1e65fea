import { describe, expect, test } from 'vitest';
import { membershipOf } from './testing/codec.ts';
import {
  acknowledges,
  appendRequest,
  at,
  configEntry,
  leaderUnderTest,
  logOf,
  of,
  P1,
  P2,
  P3,
  P4,
  peerUnderTest,
  sentTo,
} from './testing/peer.ts';
import type { RaftMessage } from './types.ts';

const voteRequest = (
  ofTerm: number,
  options: { preVote?: boolean; transfer?: boolean; last?: readonly [number, number] } = {},
) =>
  ({
    kind: 'vote-request',
    term: of(ofTerm),
    preVote: options.preVote ?? false,
    lastIndex: at(options.last?.[0] ?? 9),
    lastTerm: of(options.last?.[1] ?? 9),
    transfer: options.transfer ?? false,
  }) as const;
const voteReply = (ofTerm: number, granted: boolean, preVote = false): RaftMessage => ({
  kind: 'vote-reply',
  term: of(ofTerm),
  preVote,
  granted,
});

describe('a vote', () => {
  test('is given once in a term, to the same candidate again, and only after it is durable (§5.2)', () => {
    const peer = peerUnderTest({ log: logOf(1, 2) });
    expect(sentTo(peer.receive(P2, voteRequest(3)), P2)).toEqual([]);
    expect(sentTo(peer.persist(), P2)).toEqual([voteReply(3, true)]);
    expect(sentTo(peer.receive(P3, voteRequest(3)), P3)).toEqual([voteReply(3, false)]);
    expect(sentTo(peer.receive(P2, voteRequest(3)), P2)).toEqual([voteReply(3, true)]);
  });

  test('is remembered across a restart and across a step-down within the term', () => {
    const peer = peerUnderTest({ term: 3, votedFor: P2 });
    expect(sentTo(peer.receive(P3, voteRequest(3)), P3)).toEqual([voteReply(3, false)]);
    peer.receive(P2, appendRequest(3, [0, 0], []));
    peer.wait(600);
    expect(sentTo(peer.receive(P3, voteRequest(3)), P3)).toEqual([voteReply(3, false)]);
  });

  test.each([
    ['whose log ends in a lower term', 3, [5, 1]],
    ['whose log is shorter', 3, [1, 2]],
    ['of an earlier term', 1, [9, 9]],
  ] as const)('is refused to one %s (§5.4.1)', (_, ofTerm, last) => {
    const peer = peerUnderTest({ log: logOf(1, 2) });
    const effects = [...peer.receive(P2, voteRequest(ofTerm, { last })), ...peer.persist()];
    expect(sentTo(effects, P2)).toEqual([voteReply(Math.max(ofTerm, 2), false)]);
    expect(peer.raft.votedFor).toBeUndefined();
  });

  test('is refused, and the term kept, while a leader lives; not for a transfer, and not after an election timeout (§4.2.3)', () => {
    const peer = peerUnderTest({ term: 2 });
    peer.receive(P2, appendRequest(2, [0, 0], []));
    peer.wait(499);
    for (const preVote of [true, false]) {
      expect(sentTo(peer.receive(P3, voteRequest(3, { preVote })), P3)).toEqual([
        voteReply(2, false, preVote),
      ]);
    }
    expect(peer.raft.term).toBe(2);
    peer.receive(P3, voteRequest(3, { transfer: true }));
    expect([peer.raft.term, peer.raft.votedFor]).toEqual([3, P3]);

    const later = peerUnderTest({ term: 2 });
    later.receive(P2, appendRequest(2, [0, 0], []));
    later.wait(500);
    later.receive(P3, voteRequest(3));
    expect(later.raft.votedFor).toBe(P3);
  });
});

describe('who is asked for a vote', () => {
  const learnerOf = (voters: readonly (typeof P1)[]) => peerUnderTest({ voters, learners: [P1] });

  test('answers by its log, whoever it is itself and whoever asks: either may know an older membership (§4.2.2)', () => {
    const peer = learnerOf([P2, P3]);
    expect(sentTo(peer.receive(P4, voteRequest(3, { preVote: true })), P4)).toEqual([
      voteReply(3, true, true),
    ]);
    peer.receive(P4, voteRequest(3));
    expect(sentTo(peer.persist(), P4)).toEqual([voteReply(3, true)]);
  });

  test('votes for nobody and enters no term while it knows of no membership', () => {
    const peer = peerUnderTest({ membership: membershipOf([]) });
    for (const preVote of [true, false]) {
      expect(sentTo(peer.receive(P2, voteRequest(3, { preVote })), P2)).toEqual([
        voteReply(0, false, preVote),
      ]);
    }
    expect([peer.raft.term, peer.raft.votedFor]).toEqual([0, undefined]);
    peer.wait(10_000);
    expect(peer.tick()).toEqual([]);
    peer.receive(P2, appendRequest(1, [0, 0], [configEntry(1, 1, membershipOf([P2, P3], [P1]))]));
    peer.wait(1000);
    peer.receive(P3, voteRequest(4));
    expect(peer.raft.votedFor).toBe(P3);
  });
});

describe('a pre-vote', () => {
  test('costs nothing: it changes neither term nor vote nor timer, and may go to many (§9.6)', () => {
    const peer = peerUnderTest({ term: 2, votedFor: P1 });
    const { electionDeadlineMs } = peer.raft;
    peer.wait(300);
    for (const from of [P2, P3]) {
      expect(peer.receive(from, voteRequest(3, { preVote: true }))).toEqual([
        { kind: 'send', to: from, message: voteReply(3, true, true) },
      ]);
    }
    expect([peer.raft.term, peer.raft.votedFor, peer.raft.electionDeadlineMs]).toEqual([
      2,
      P1,
      electionDeadlineMs,
    ]);
  });

  test('is refused with our own term where that is not lower, so that the other learns of it', () => {
    const peer = peerUnderTest({ term: 5 });
    expect(sentTo(peer.receive(P2, voteRequest(5, { preVote: true })), P2)).toEqual([
      voteReply(5, false, true),
    ]);
  });
});

describe('a candidate', () => {
  function standing(): ReturnType<typeof peerUnderTest> {
    const peer = peerUnderTest({ voters: [P1, P2, P3, P4, 'p5' as typeof P1] });
    peer.wait(500);
    peer.tick();
    return peer;
  }

  test('counts each voter once, only voters, and pre-votes only as pre-votes', () => {
    const peer = standing();
    for (const from of [P2, P2, 'p9' as typeof P1]) peer.receive(from, voteReply(1, true, true));
    expect(peer.raft.role).toBe('pre-candidate');
    peer.receive(P3, voteReply(1, true, true));
    expect(peer.raft.role).toBe('candidate');
    peer.persist();
    peer.receive(P4, voteReply(1, true, true));
    peer.receive(P2, voteReply(1, true));
    peer.receive(P2, voteReply(1, true));
    expect(peer.raft.role).toBe('candidate');
    peer.receive(P3, voteReply(1, true));
    expect(peer.raft.role).toBe('leader');
  });

  test('takes no vote of an earlier term', () => {
    const peer = standing();
    for (const from of [P2, P3]) peer.receive(from, voteReply(1, true, true));
    peer.persist();
    peer.wait(500);
    peer.tick();
    for (const from of [P2, P3]) peer.receive(from, voteReply(2, true, true));
    peer.persist();
    expect([peer.raft.role, peer.raft.term]).toEqual(['candidate', 2]);
    for (const from of [P2, P3, P4]) peer.receive(from, voteReply(1, true));
    expect(peer.raft.role).toBe('candidate');
  });

  test('gives up when it cannot win, or when it hears the leader of its term', () => {
    const refused = standing();
    for (const from of [P2, P3, P4]) refused.receive(from, voteReply(0, false, true));
    expect(refused.raft.role).toBe('follower');
    const outdone = standing();
    outdone.receive(P2, appendRequest(0, [0, 0], []));
    expect([outdone.raft.role, outdone.raft.leader]).toEqual(['follower', P2]);
  });

  test('is not: a learner, one whose time has not come, one that leads already', () => {
    const learner = peerUnderTest({ voters: [P2, P3], learners: [P1] });
    learner.wait(10_000);
    expect(learner.tick()).toEqual([]);
    const early = peerUnderTest({});
    early.wait(499);
    expect(early.tick()).toEqual([]);
    const leader = leaderUnderTest();
    acknowledges(leader, P2, 1);
    leader.wait(450);
    leader.tick();
    expect(leader.raft.role).toBe('leader');
  });
});

describe('timeout-now', () => {
  test('is obeyed by a follower of the sender only', () => {
    const peer = peerUnderTest({ term: 2 });
    peer.receive(P2, { kind: 'timeout-now', term: of(2) });
    expect(peer.raft.role).toBe('follower');
    peer.receive(P2, appendRequest(2, [0, 0], []));
    peer.receive(P3, { kind: 'timeout-now', term: of(2) });
    expect(peer.raft.role).toBe('follower');
    peer.receive(P2, { kind: 'timeout-now', term: of(2) });
    expect([peer.raft.role, peer.raft.term]).toEqual(['candidate', 3]);
    expect(sentTo(peer.persist(), P3)).toMatchObject([
      { kind: 'vote-request', preVote: false, transfer: true },
    ]);
  });
});
