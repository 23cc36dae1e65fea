// Which scheduled restarts the leader lets begin, which wait, and which it gives up.
import { describe, expect, test } from 'vitest';
import type { Command } from '../cluster/commands.ts';
import { PAUSE_FEATURE_LEVEL, SCHEDULED_RESTART_FEATURE_LEVEL } from '../cluster/features.ts';
import { A, B, C, GROUP, type Log, newLog, running } from '../cluster/testing/example.ts';
import { RESTART_VALID_MS, decideRestarts } from './decide-restarts.ts';
import { ALL_WELL, type SeenNodes, WALL_MS, viewOf } from './testing/view.ts';

const AT_MS = WALL_MS + 1000;
const base = { kind: 'schedule-restart', group: GROUP } as const;
const scheduled = (node = B, inPlace = false): Log => {
  const log = newLog({ ...running().state, featureLevel: SCHEDULED_RESTART_FEATURE_LEVEL });
  log.must({ ...base, node, at: { atMs: AT_MS, inPlace } });
  return log;
};
const RUNNING: SeenNodes = {
  ...ALL_WELL,
  a: { ...ALL_WELL['a'], serverStartedAtS: 7 },
  b: { ...ALL_WELL['b'], serverStartedAtS: 8 },
  c: { ...ALL_WELL['c'], serverStartedAtS: 9 },
};
const decided = (log: Log, nowMs: number, seen = RUNNING): Command[] => [
  ...decideRestarts(log.state, log.group, viewOf(log, nowMs, seen)),
];
const begun = (log: Log): void => {
  log.must({ ...base, node: B, onlyAtMs: AT_MS, at: { atMs: AT_MS, inPlace: false, serverStartedAtS: 8 } });
};
const ended = (node = B) => ({ ...base, node, onlyAtMs: AT_MS, at: undefined });

describe('a scheduled restart', () => {
  test('begins at its time, of the server that runs then', () => {
    const log = scheduled();
    expect(decided(log, 999)).toEqual([]);
    expect(decided(log, 1000)).toEqual([
      { ...base, node: B, onlyAtMs: AT_MS, at: { atMs: AT_MS, inPlace: false, serverStartedAtS: 8 } },
    ]);
  });

  test('that has begun is not begun again, and given up long after', () => {
    const log = scheduled();
    begun(log);
    expect(decided(log, 2000)).toEqual([]);
    expect(decided(log, 901_000)).toEqual([]);
    expect(decided(log, 901_001)).toMatchObject([
      { ...ended(), outcome: expect.stringContaining('given up') as string },
    ]);
  });

  test.each<[string, SeenNodes, string]>([
    ['its agent is not heard', { ...RUNNING, b: undefined }, 'the agent of b does not answer'],
    ['no server runs', { ...RUNNING, b: { condition: 'standby' } }, 'does not run'],
    ['it is being cloned', { ...RUNNING, b: { condition: 'cloning', serverStartedAtS: 8 } }, 'b is cloning'],
  ])('waits for ten minutes while %s', (_, seen, reason) => {
    const log = scheduled();
    expect(decided(log, 1000, seen)).toEqual([]);
    expect(decided(log, 1000 + RESTART_VALID_MS, seen)).toEqual([]);
    expect(decided(log, 1001 + RESTART_VALID_MS, seen)).toMatchObject([
      { ...ended(), outcome: expect.stringContaining(reason) as string },
    ]);
    expect(decided(log, 5000)).toMatchObject([{ at: { serverStartedAtS: 8 } }]);
  });

  test('waits while its node is paused', () => {
    const log = scheduled();
    expect(log.state.featureLevel).toBeGreaterThanOrEqual(PAUSE_FEATURE_LEVEL);
    log.must({ kind: 'pause', group: GROUP, node: B, isMaintenance: false, untilMs: undefined });
    expect(decided(log, 1000)).toEqual([]);
    expect(decided(log, 1001 + RESTART_VALID_MS)).toMatchObject([
      { outcome: expect.stringMatching(/b is paused; sentinelctl resume --node b ends that$/) as string },
    ]);
  });

  test('of a primary is skipped at once, unless it is to be in place', () => {
    expect(decided(scheduled(A), 1000)).toMatchObject([
      { ...ended(A), outcome: expect.stringContaining('skipped, a is the primary by now') as string },
    ]);
    expect(decided(scheduled(A, true), 1000)).toMatchObject([{ at: { inPlace: true, serverStartedAtS: 7 } }]);
  });

  test('of two standbys at the same time begins of one, and of the other once that one has ended and streams again', () => {
    const log = scheduled();
    log.must({ ...base, node: C, at: { atMs: AT_MS, inPlace: false } });
    const only = (node: string) => [
      expect.objectContaining({ node, at: expect.objectContaining({ atMs: AT_MS }) as object }),
    ];
    expect(decided(log, 1000)).toEqual(only('b'));
    begun(log);
    expect(decided(log, 2000)).toEqual([]);
    log.must({ ...ended(), outcome: 'done' });
    const restarting = { ...RUNNING, b: { condition: 'starting', serverStartedAtS: 20 } } as const;
    expect(decided(log, 3000, restarting)).toEqual([]);
    expect(decided(log, 3000, { ...RUNNING, b: undefined })).toEqual([]);
    expect(decided(log, 1001 + RESTART_VALID_MS, restarting)).toMatchObject([
      { node: 'c', outcome: expect.stringContaining('b does not stream') as string },
    ]);
    expect(decided(log, 3000, { ...RUNNING, b: { ...ALL_WELL['b'], serverStartedAtS: 20 } })).toEqual(
      only('c'),
    );
  });

  test('does not wait for a node that is in maintenance, nor a primary for one that nobody hears of', () => {
    const log = scheduled();
    log.must({ kind: 'pause', group: GROUP, node: C, isMaintenance: true, untilMs: undefined });
    expect(decided(log, 1000, { ...RUNNING, c: { condition: 'stopped' } })).toMatchObject([{ node: 'b' }]);
    expect(decided(scheduled(A, true), 1000, { ...RUNNING, c: undefined })).toMatchObject([{ node: 'a' }]);
    expect(decided(scheduled(A, true), 1000, { ...RUNNING, c: { condition: 'starting' } })).toEqual([]);
  });
});
