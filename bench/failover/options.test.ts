import { describe, expect, test } from 'vitest';
import { type BenchOptions, EVENTS, readRequest } from './options.ts';

function readOptions(argv: readonly string[]): BenchOptions {
  const request = readRequest(argv);
  if (request.kind !== 'run') throw new Error(`it asks for ${request.kind}`);
  return request.options;
}

describe('the options of bench:failover', () => {
  test('have defaults', () => {
    expect(readOptions(['--event', 'crash'])).toEqual({
      event: 'crash',
      runCount: 20,
      json: false,
      svg: undefined,
      hasSteps: false,
      control: undefined,
      thawAfter: 6000,
      stubbornForMs: 30_000,
      lagBeforeMs: 0,
      awayMs: 0,
      standbyCount: 2,
    });
  });

  test.each(EVENTS)('know --event %s', (event) => {
    expect(readOptions(['--event', event]).event).toBe(event);
  });

  test('let a control choose when it shows most', () => {
    expect(readOptions(['--event', 'freeze', '--control', 'no-cut']).thawAfter).toBe('fencing');
    expect(readOptions(['--event', 'freeze', '--thaw-after', 'fencing']).thawAfter).toBe('fencing');
    expect(readOptions(['--event', 'freeze', '--control', 'no-cut', '--thaw-after', '2500']).thawAfter).toBe(
      2500,
    );
    expect(readOptions(['--event', 'crash', '--control', 'no-rule']).lagBeforeMs).toBeGreaterThan(0);
  });

  test('give a dead standby nobody to stand in for it, unless told otherwise', () => {
    expect(readOptions(['--event', 'standby']).standbyCount).toBe(1);
    expect(readOptions(['--event', 'standby', '--standbys', '2']).standbyCount).toBe(2);
    expect(readOptions(['--event', 'leader']).standbyCount).toBe(2);
  });

  test('ask for a chart of earlier runs', () => {
    expect(readRequest(['--draw', 'a.json,b.json', '--svg', 'o.svg'])).toEqual({
      kind: 'draw',
      files: ['a.json', 'b.json'],
      svg: 'o.svg',
    });
  });

  test.each([
    [[], /--event is missing/],
    [['--event', 'explode'], /--event explode: expected crash, host, freeze, .* or upgrade/],
    [['--event', 'crash', '--runs', '0'], /--runs 0: expected a whole number from 1 to 1000/],
    [['--event', 'crash', '--runs', '1e3'], /--runs 1e3/],
    [['--event', 'crash', '--control', 'no-fun'], /--control no-fun: expected no-rule or no-cut/],
    [['--event', 'crash', '--control', 'no-cut'], /no-cut shows nothing with --event crash/],
    [['--event', 'switchover', '--control', 'no-rule'], /not with switchover/],
    [['--event', 'leader', '--control', 'no-rule'], /not with leader/],
    [['--event', 'crash', '--thaw-after', '5'], /--thaw-after goes with --event freeze or host/],
    [['--event', 'host', '--thaw-after', 'fencing'], /--thaw-after fencing/],
    [['--event', 'freeze', '--lag-before', '5'], /--lag-before goes with --event crash/],
    [['--event', 'upgrade', '--away', '5'], /--away goes with --event standby, leader or quorum/],
    [['--event', 'leader', '--standbys', '1'], /--standbys goes with --event standby/],
    [['--event', 'standby', '--standbys', '3'], /--standbys 3: expected 1 or 2/],
    [['--event', 'leader', '--away', '5'], /--away 5: expected a whole number from 2000/],
    [['--draw', 'a.json'], /--draw goes with --svg/],
    [['--draw', ',', '--svg', 'o.svg'], /--draw names no file/],
    [['--draw', 'a.json', '--svg', 'o.svg', '--runs', '3'], /--draw makes no run: --runs/],
    [['--event', 'crash', '--fast'], /--fast/],
    [['--event', 'crash', 'more'], /more/],
  ])('refuse %j', (argv, message) => {
    expect(() => readRequest(argv)).toThrow(message);
  });

  test('are not needed to ask for help', () => {
    expect(readRequest(['--help'])).toEqual({ kind: 'help' });
  });
});
