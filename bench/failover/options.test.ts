import { describe, expect, test } from 'vitest';
import { readOptions } from './options.ts';

describe('the options of bench:failover', () => {
  test('have defaults', () => {
    expect(readOptions(['--event', 'crash'])).toEqual({
      event: 'crash',
      runCount: 20,
      json: false,
      control: undefined,
      thawAfter: 6000,
      stubbornForMs: 30_000,
      lagBeforeMs: 0,
    });
  });

  test('let a control choose when it shows most', () => {
    expect(readOptions(['--event', 'freeze', '--control', 'no-cut'])?.thawAfter).toBe('fencing');
    expect(readOptions(['--event', 'freeze', '--thaw-after', 'fencing'])?.thawAfter).toBe('fencing');
    expect(readOptions(['--event', 'freeze', '--control', 'no-cut', '--thaw-after', '2500'])?.thawAfter).toBe(
      2500,
    );
    expect(readOptions(['--event', 'crash', '--control', 'no-rule'])?.lagBeforeMs).toBeGreaterThan(0);
  });

  test.each([
    [[], /--event is missing/],
    [['--event', 'explode'], /--event explode: expected crash, freeze or switchover/],
    [['--event', 'crash', '--runs', '0'], /--runs 0: expected a whole number from 1 to 1000/],
    [['--event', 'crash', '--runs', '1e3'], /--runs 1e3/],
    [['--event', 'crash', '--control', 'no-fun'], /--control no-fun: expected no-rule or no-cut/],
    [['--event', 'crash', '--control', 'no-cut'], /no-cut shows nothing with --event crash/],
    [['--event', 'switchover', '--control', 'no-rule'], /not with switchover/],
    [['--event', 'crash', '--thaw-after', '5'], /--thaw-after goes with --event freeze/],
    [['--event', 'freeze', '--lag-before', '5'], /--lag-before goes with --event crash/],
    [['--event', 'crash', '--fast'], /--fast/],
    [['--event', 'crash', 'more'], /more/],
  ])('refuse %j', (argv, message) => {
    expect(() => readOptions(argv)).toThrow(message);
  });

  test('are not needed to ask for help', () => {
    expect(readOptions(['--help'])).toBeUndefined();
  });
});
