// The leader looks now and then, and hands over once for each reason to.
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { logIndex, term as toTerm, type PeerId } from '../base/ids.ts';
import { MEMBERSHIP, P1, P2, P3, at, running } from '../cluster/testing/example.ts';
import type { ConsensusStatus } from './consensus.ts';
import { type LeaderPlacement, startLeaderPlacement } from './leader-placement.ts';

describe('the leader on the host of a primary', () => {
  let placement: LeaderPlacement;
  let role: ConsensusStatus['role'];
  let term: number;
  let reachable: readonly PeerId[];
  let moves: PeerId[];
  let behind: PeerId | undefined;
  const log = running();

  beforeEach(() => {
    vi.useFakeTimers();
    role = 'leader';
    term = 3;
    reachable = [P2, P3];
    moves = [];
    behind = P2;
    placement = startLeaderPlacement({
      self: P1,
      clock: { monotonicMs: () => Date.now() },
      state: () => log.state,
      consensus: {
        status: () => ({
          role,
          term: toTerm(term),
          leader: P1,
          commitIndex: logIndex(20),
          lastIndex: logIndex(20),
          snapshotIndex: logIndex(0),
          membership: MEMBERSHIP,
          membershipIndex: logIndex(0),
          committed: { membership: MEMBERSHIP, index: logIndex(0) },
          pending: [],
          isDiskStalled: false,
          matchIndex: (peer) => logIndex(peer === behind ? 19 : 20),
        }),
        transfer: () => Promise.resolve(undefined),
      },
      isReachable: (peer) => reachable.includes(peer),
      onMove: (to) => void moves.push(to),
    });
  });
  afterEach(() => {
    placement.close();
    vi.useRealTimers();
  });

  test('hands over to a voter that holds all that is committed, and again only after a while', () => {
    vi.advanceTimersByTime(5000);
    expect(moves).toEqual([]);
    vi.advanceTimersByTime(5000);
    expect(moves).toEqual([P3]);
    vi.advanceTimersByTime(50_000);
    expect(moves).toEqual([P3]);
    vi.advanceTimersByTime(20_000);
    expect(moves).toEqual([P3, P3]);
  });

  test('that comes back to it does not go to and fro, and goes to another voter the next time', () => {
    behind = undefined;
    vi.advanceTimersByTime(10_000);
    expect(moves).toEqual([P2]);
    for (let reigns = 0; reigns < 4; reigns += 1) {
      role = 'follower';
      vi.advanceTimersByTime(2000);
      role = 'leader';
      term += 2;
      vi.advanceTimersByTime(8000);
      expect(moves).toEqual([P2]);
    }
    vi.advanceTimersByTime(30_000);
    expect(moves).toEqual([P2, P3]);
  });

  test('begins to count anew with each reign, and with each unrest', () => {
    vi.advanceTimersByTime(4500);
    term += 1;
    vi.advanceTimersByTime(5000);
    expect(moves).toEqual([]);
    const { state } = log;
    log.must(at(log).down(P2));
    vi.advanceTimersByTime(2000);
    log.state = state;
    vi.advanceTimersByTime(5000);
    expect(moves).toEqual([]);
    vi.advanceTimersByTime(2000);
    expect(moves).toEqual([P3]);
  });

  test('stays where nobody can be reached, and does nothing once it is no leader', () => {
    reachable = [];
    vi.advanceTimersByTime(20_000);
    role = 'follower';
    reachable = [P2, P3];
    vi.advanceTimersByTime(20_000);
    expect(moves).toEqual([]);
  });
});
