import { describe, expect, test } from 'vitest';
import {
  backtrack,
  createProgress,
  mayAppend,
  recordAppend,
  recordMatch,
  refusedPrevIndex,
} from './progress.ts';
import type { Progress } from './progress.ts';
import { at } from './testing/peer.ts';
import { DEFAULT_RAFT_SETTINGS } from './types.ts';

const settings = { ...DEFAULT_RAFT_SETTINGS, maxInflightAppends: 2, maxInflightBytes: 1000 };
const sent = (round: number, prevIndex: number, lastIndex: number, bytes = 10) => ({
  round,
  prevIndex: at(prevIndex),
  lastIndex: at(lastIndex),
  bytes,
  nowMs: 0,
});

function replicating(match: number): Progress {
  const progress = createProgress({ next: at(match + 1), nowMs: 0 });
  recordMatch(progress, at(match));
  return progress;
}

describe('while probing', () => {
  test('one append is sent at a time, and next stays', () => {
    const progress = createProgress({ next: at(5), nowMs: 0 });
    expect(mayAppend(progress, settings)).toBe(true);
    recordAppend(progress, sent(1, 4, 6));
    expect(mayAppend(progress, settings)).toBe(false);
    expect(progress.next).toBe(5);
  });

  test('a repeated probe is answered by any of its rounds, however slow the connection', () => {
    const progress = createProgress({ next: at(5), nowMs: 0 });
    for (const [round, lastIndex] of [
      [1, 6],
      [4, 8],
      [7, 8],
    ] as const)
      recordAppend(progress, sent(round, 4, lastIndex));
    expect(progress.inflight).toHaveLength(1);
    expect([0, 1, 4, 7, 8].map((round) => refusedPrevIndex(progress, round))).toEqual([
      undefined,
      4,
      4,
      4,
      undefined,
    ]);
  });

  test('an answer that matches lets it replicate, also where nothing was missing', () => {
    const progress = createProgress({ next: at(5), nowMs: 0 });
    recordMatch(progress, at(4));
    expect([progress.mode, progress.match, progress.next]).toEqual(['replicate', 4, 5]);
    backtrack(progress, at(5), at(5));
    recordMatch(progress, at(4));
    expect(progress.mode).toBe('replicate');
  });
});

describe('while replicating', () => {
  test('next runs ahead of match until messages or bytes are spent, and goes on as answers come', () => {
    const progress = replicating(4);
    recordAppend(progress, sent(1, 4, 6));
    recordAppend(progress, sent(2, 6, 7));
    expect([progress.next, mayAppend(progress, settings)]).toEqual([8, false]);
    recordMatch(progress, at(6));
    expect([progress.match, progress.next, mayAppend(progress, settings)]).toEqual([6, 8, true]);
    recordAppend(progress, sent(3, 7, 8, 1000));
    recordMatch(progress, at(7));
    expect(mayAppend(progress, settings)).toBe(false);
    recordMatch(progress, at(8));
    expect([progress.inflight.length, progress.inflightBytes]).toEqual([0, 0]);
  });

  test('match never moves back', () => {
    const progress = replicating(7);
    recordMatch(progress, at(3));
    expect([progress.match, progress.next]).toEqual([7, 8]);
  });

  test('a refusal counts only for an append in flight whose place is not known to match', () => {
    const progress = replicating(4);
    recordAppend(progress, sent(11, 4, 6));
    recordAppend(progress, sent(12, 6, 7));
    expect(refusedPrevIndex(progress, 10)).toBeUndefined();
    expect(refusedPrevIndex(progress, 11)).toBeUndefined();
    expect(refusedPrevIndex(progress, 12)).toBe(6);
    recordMatch(progress, at(6));
    expect(refusedPrevIndex(progress, 12)).toBeUndefined();
  });

  test('repeated polls take one place', () => {
    const progress = replicating(4);
    for (let round = 1; round < 9; round += 1) recordAppend(progress, sent(round, 4, 4, 0));
    expect(progress.inflight).toHaveLength(1);
  });
});

describe('backtracking', () => {
  test.each([
    ['to what the hint allows', 9, 5, 5],
    ['never to where it was refused or above', 9, 20, 9],
    ['never to what matches', 9, 1, 4],
  ])('goes %s', (_, refused, candidate, expected) => {
    const progress = replicating(3);
    backtrack(progress, at(refused), at(candidate));
    expect([progress.mode, progress.next, progress.inflight.length]).toEqual(['probe', expected, 0]);
  });

  test('is refused for an index that matches', () => {
    expect(() => backtrack(replicating(3), at(3), at(1))).toThrow(/refused 3 although 3 matches/);
  });
});
