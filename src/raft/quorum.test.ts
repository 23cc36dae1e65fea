import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { peerId } from '../base/ids.ts';
import { majority, reachedByMajority, tally } from './quorum.ts';

const voters = (count: number) => Array.from({ length: count }, (_, position) => peerId(`p${position + 1}`));

describe('a majority', () => {
  test.each([
    [1, 1],
    [2, 2],
    [3, 2],
    [4, 3],
    [5, 3],
    [7, 4],
  ])('of %i voters is %i', (count, expected) => expect(majority(count)).toBe(expected));

  test('does not exist without voters', () => expect(() => majority(0)).toThrow(/without voters/));

  test('has reached the greatest value that at least so many voters have reached', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(9), { minLength: 1, maxLength: 9 }), (values) => {
        const ids = voters(values.length);
        const reached = reachedByMajority(ids, (id) => values[ids.indexOf(id)] ?? 0);
        expect(values.filter((value) => value >= reached).length).toBeGreaterThanOrEqual(
          majority(values.length),
        );
        expect(values.filter((value) => value > reached).length).toBeLessThan(majority(values.length));
      }),
    );
  });
});

describe('a ballot', () => {
  test.each([
    ['+', 1, 'won'],
    ['', 3, 'open'],
    ['+', 3, 'open'],
    ['++', 3, 'won'],
    ['+-', 3, 'open'],
    ['--', 3, 'lost'],
    ['++', 4, 'open'],
    ['--', 4, 'lost'],
    ['+-+-', 5, 'open'],
    ['+-+-+', 5, 'won'],
  ])('with the votes "%s" of %i voters is %s', (votes, count, expected) => {
    const ids = voters(count);
    expect(
      tally(
        ids,
        new Map(votes.split('').map((vote, position) => [ids[position] ?? peerId('px'), vote === '+'])),
      ),
    ).toBe(expected);
  });

  test('does not count those who are not voters', () => {
    expect(
      tally(
        voters(3),
        new Map([
          [peerId('p1'), true],
          [peerId('stranger'), true],
        ]),
      ),
    ).toBe('open');
  });
});
