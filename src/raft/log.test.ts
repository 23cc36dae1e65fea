import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  appendEntry,
  compactTo,
  createLog,
  entriesBetween,
  entriesFrom,
  entryBytes,
  isUpToDate,
  lastIndex,
  lastIndexOfTermAtMost,
  lastTerm,
  matchesAt,
  restartAt,
  termAt,
  truncateFrom,
} from './log.ts';
import { at, entry, logOf, of } from './testing/peer.ts';

describe('a log', () => {
  test('knows term 0 before it begins, and no term beyond its end', () => {
    const log = createLog(logOf(1, 1, 3));
    expect([0, 1, 2, 3, 4].map((index) => termAt(log, at(index)))).toEqual([0, 1, 1, 3, undefined]);
    expect([lastIndex(log), lastTerm(log)]).toEqual([3, 3]);
    expect(matchesAt(log, at(4), of(0))).toBe(false);
    expect(matchesAt(createLog([]), at(0), of(0))).toBe(true);
  });

  test('refuses a hole and a falling term', () => {
    const log = createLog(logOf(1, 2));
    expect(() => appendEntry(log, entry(4, 2))).toThrow(/entry 4 does not follow 2/);
    expect(() => appendEntry(log, entry(3, 1))).toThrow(/term 1/);
  });

  test('is truncated from an index on, which must be there', () => {
    const log = createLog(logOf(1, 2, 2));
    truncateFrom(log, at(2));
    expect(lastIndex(log)).toBe(1);
    expect(() => truncateFrom(log, at(2))).toThrow(/the log holds 1..1/);
  });

  test.each([
    ['a higher last term', 1, 3, true],
    ['the same end', 3, 2, true],
    ['more entries of the same term', 4, 2, true],
    ['fewer entries of the same term', 2, 2, false],
    ['more entries of a lower term', 9, 1, false],
  ])('takes another with %s for up to date or not (§5.4.1)', (_, index, ofTerm, expected) => {
    expect(isUpToDate(createLog(logOf(1, 2, 2)), at(index), of(ofTerm))).toBe(expected);
  });
});

describe('a batch of entries', () => {
  const log = createLog(logOf(1, 1, 1, 1));
  const bytes = entryBytes(entry(1, 1));

  test('keeps to the limit of entries and to that of bytes, but has at least one', () => {
    const indexes = (from: number, count: number, limit: number): number[] =>
      entriesFrom(log, at(from), { count, bytes: limit }).map(({ index }) => index);
    expect(indexes(2, 2, 1e6)).toEqual([2, 3]);
    expect(indexes(1, 9, 2 * bytes)).toEqual([1, 2]);
    expect(indexes(3, 9, 1)).toEqual([3]);
    expect(indexes(5, 9, 1e6)).toEqual([]);
  });

  test('between two indexes includes both', () => {
    expect(entriesBetween(log, at(2), at(3)).map(({ index }) => index)).toEqual([2, 3]);
    expect(entriesBetween(log, at(5), at(4))).toEqual([]);
    expect(() => entriesBetween(log, at(3), at(5))).toThrow(/holds 1..4/);
  });
});

describe('a compacted log', () => {
  const compacted = () => {
    const log = createLog(logOf(1, 1, 2, 2, 4));
    compactTo(log, at(3));
    return log;
  };

  test('still knows the term of its base, and no longer what lies below', () => {
    const log = compacted();
    expect([2, 3, 4, 5, 6].map((index) => termAt(log, at(index)))).toEqual([undefined, 2, 2, 4, undefined]);
    expect([lastIndex(log), lastTerm(log), log.entries.length]).toEqual([5, 4, 2]);
    expect([
      matchesAt(log, at(3), of(2)),
      matchesAt(log, at(2), of(1)),
      matchesAt(log, at(0), of(0)),
    ]).toEqual([true, false, false]);
  });

  test('gives out and truncates only what it holds', () => {
    const log = compacted();
    expect(entriesFrom(log, at(4), { count: 9, bytes: 1e6 }).map(({ index }) => index)).toEqual([4, 5]);
    expect(entriesBetween(log, at(4), at(5)).map(({ index }) => index)).toEqual([4, 5]);
    expect(() => entriesFrom(log, at(3), { count: 9, bytes: 1e6 })).toThrow(/entry 3 is compacted away/);
    expect(() => entriesBetween(log, at(3), at(4))).toThrow(/entries 3..4 are not/);
    expect(() => truncateFrom(log, at(3))).toThrow(/cannot truncate from 3/);
    expect(() => compactTo(log, at(2))).toThrow(/cannot compact to 2/);
    truncateFrom(log, at(4));
    expect([lastIndex(log), lastTerm(log)]).toEqual([3, 2]);
    appendEntry(log, entry(4, 5));
    expect(lastTerm(log)).toBe(5);
  });

  test('that is empty ends at its base', () => {
    const log = compacted();
    compactTo(log, at(5));
    expect([lastIndex(log), lastTerm(log), log.entries]).toEqual([5, 4, []]);
    expect(isUpToDate(log, at(4), of(4))).toBe(false);
    restartAt(log, { index: at(9), term: of(6) });
    expect([lastIndex(log), lastTerm(log), termAt(log, at(5))]).toEqual([9, 6, undefined]);
  });

  test('says only that an index lies below it where it cannot know better', () => {
    const log = compacted();
    expect(lastIndexOfTermAtMost(log, at(5), of(3))).toBe(4);
    expect(lastIndexOfTermAtMost(log, at(4), of(2))).toBe(4);
    expect(lastIndexOfTermAtMost(log, at(4), of(1))).toBe(2);
    expect(lastIndexOfTermAtMost(log, at(2), of(1))).toBe(2);
  });
});

describe('the last index of a term at most so high', () => {
  test('is what a search from the end would find', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(3), { maxLength: 12 }), fc.nat(14), fc.nat(14), (steps, index, limit) => {
        let ofTerm = 1;
        const log = createLog(steps.map((step, position) => entry(position + 1, (ofTerm += step))));
        let expected = Math.min(index, steps.length);
        while ((termAt(log, at(expected)) ?? 0) > limit) expected -= 1;
        expect(lastIndexOfTermAtMost(log, at(index), of(limit))).toBe(expected);
      }),
    );
  });
});
