import { describe, expect, test } from 'vitest';
import { PARTS, readOptions } from './options.ts';

describe('the options of bench:raft', () => {
  test('have defaults: everything, long enough to be believed', () => {
    expect(readOptions([])).toEqual({
      parts: new Set(PARTS),
      json: false,
      withEtcd: true,
      directory: undefined,
      valueBytes: 256,
      roundCount: 7,
      windowMs: 5000,
      killCount: 100,
      steadyMs: 60_000,
      stallCount: 10,
      snapshotBytes: 100 * 1024 * 1024,
    });
  });

  test('let a quick run still be made longer in one place', () => {
    expect(readOptions(['--quick', '--kills', '50'])).toMatchObject({ killCount: 50, roundCount: 3 });
  });

  test('choose parts', () => {
    expect(readOptions(['--only', 'stall,latency'])?.parts).toEqual(new Set(['stall', 'latency']));
  });

  test.each([
    [['--only', 'latency,speed'], /--only latency,speed: expected some of latency,throughput/],
    [['--kills', '0'], /--kills 0: expected a whole number from 1 to 1000/],
    [['--window', '1e3'], /--window 1e3/],
    [['--fast'], /--fast/],
    [['more'], /more/],
  ])('refuse %j', (argv, message) => {
    expect(() => readOptions(argv)).toThrow(message);
  });
});
