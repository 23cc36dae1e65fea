import { describe, expect, test } from 'vitest';
import { readOptions } from './options.ts';

describe('the options of bench:scale', () => {
  test('have defaults: two hundred groups', () => {
    expect(readOptions([])).toEqual({
      groupCount: 200,
      nodesPerGroup: 3,
      runCount: 60,
      aloneRunCount: 20,
      burstCount: 5,
      idleMs: 30_000,
      json: false,
      directory: undefined,
      profileDirectory: undefined,
    });
  });

  test('let a quick run still be made longer in one place', () => {
    expect(readOptions(['--quick', '--runs', '50'])).toMatchObject({ groupCount: 20, runCount: 50 });
  });

  test('show the help', () => {
    expect(readOptions(['--help'])).toBeUndefined();
  });

  test.each([
    [['--groups', '1'], /--groups 1: expected a whole number from 2 to 1000/],
    [['--groups', 'many'], /--groups many/],
    [['--nodes', '8'], /--nodes 8: expected a whole number from 2 to 7/],
    [['--groups', '1000', '--nodes', '4'], /expected at most 3000 nodes in all, not 4000/],
    [['--runs', '0'], /--runs 0: expected a whole number from 1 to 1000/],
    [['--bursts', '-1'], /--bursts/],
    [['--idle', '4'], /--idle 4: expected a whole number from 5 to 600/],
    [['--fast'], /--fast/],
    [['more'], /more/],
  ])('refuse %j', (argv, message) => {
    expect(() => readOptions(argv)).toThrow(message);
  });
});
