import { afterEach, describe, expect, test } from 'vitest';
import { chooseBy, oneOfEach, seedFrom } from './sampling.ts';

const LIST = Array.from({ length: 20 }, (_, at) => at);
const VARIABLE = 'PG_SENTINEL_TEST_SAMPLING';
const seeds = Array.from({ length: 400 }, (_, at) => `seed ${at}`);

describe('a sample', () => {
  test('is the same for the same seed', () => {
    for (const seed of seeds)
      expect(oneOfEach(LIST, 3, 'it', chooseBy(seed))).toEqual(oneOfEach(LIST, 3, 'it', chooseBy(seed)));
  });

  test('has one of the beginning, one of the middle, one of the end', () => {
    for (const seed of seeds) {
      const [first = -1, middle = -1, last = -1, ...more] = oneOfEach(LIST, 3, 'it', chooseBy(seed));
      expect(more).toEqual([]);
      expect([first < 6, middle >= 6 && middle < 13, last >= 13]).toEqual([true, true, true]);
    }
  });

  test('is everything in turn', () => {
    expect(new Set(seeds.flatMap((seed) => oneOfEach(LIST, 3, 'it', chooseBy(seed))))).toEqual(new Set(LIST));
  });

  test('of a short list is that list', () => {
    expect(oneOfEach(['only'], 3, 'it', chooseBy('seed'))).toEqual(['only']);
    expect(oneOfEach([], 3, 'it', chooseBy('seed'))).toEqual([]);
  });
});

describe('the seed', () => {
  afterEach(() => void delete process.env[VARIABLE]);

  test('is what the environment says', () => {
    process.env[VARIABLE] = 'mine';
    expect(seedFrom(VARIABLE)).toBe('mine');
  });

  test('else that of the commit, and one all the same where there is none', () => {
    expect(seedFrom(VARIABLE)).toMatch(/^[0-9a-f]{12,}$|^none$/);
    expect(seedFrom(VARIABLE, '/')).toBe('none');
  });
});
