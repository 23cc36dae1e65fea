// When the primary is brought back by itself: what the leader proposes, and what the log refuses whoever proposes it.
import { describe, expect, test } from 'vitest';
import type { NodeId } from '../base/ids.ts';
import type { Command, GroupSettings, NodeOptions } from '../cluster/commands.ts';
import { FAILBACK_PAUSE_MS, FAILBACK_PAUSE_MS_MAX, NO_OPTIONS } from '../cluster/eligibility.ts';
import { CANDIDATES_FEATURE_LEVEL } from '../cluster/features.ts';
import {
  A,
  B,
  C,
  GROUP,
  type Log,
  MC,
  P1,
  P2,
  P3,
  at,
  memberOfNode,
  newLog,
  opening,
  registration,
  running,
} from '../cluster/testing/example.ts';
import { ALL_WELL, WALL_MS, leaderOf } from './testing/view.ts';

const NEVER = { ...NO_OPTIONS, noFailover: true };

/** a runs with the rule "1 of b, c"; every peer understands what is asked here, and has opened a session. */
const upgraded = (): Log => {
  const next = newLog({ ...running().state, featureLevel: CANDIDATES_FEATURE_LEVEL });
  for (const peer of [P1, P2, P3]) next.must(opening(next, peer, { features: CANDIDATES_FEATURE_LEVEL }));
  return next;
};
const say = (log: Log, node: NodeId, options: NodeOptions): void =>
  log.must({ ...registration(node, memberOfNode(node)), options });
const settle = (log: Log, settings: Partial<GroupSettings>): void =>
  log.must({ kind: 'configure', group: GROUP, settings, parameters: [], by: '' });
const sites = (log: Log, ...names: readonly string[]): void =>
  [P1, P2, P3].forEach((peer, place) => log.must({ kind: 'describe-peer', peer, site: names[place] }));

describe('failback', () => {
  const AFTER_MS = 10_000;
  const wanting = (failback: GroupSettings['failback']): Log => {
    const log = upgraded();
    sites(log, 'east', 'west', 'west');
    settle(log, { failback, failbackAfterMs: AFTER_MS });
    return log;
  };
  const begun = { kind: 'begin-failover', cause: { kind: 'planned', to: B }, isFailback: true };

  test('begins once the node has been well for as long as is wanted, without a break', () => {
    const leader = leaderOf(wanting(`node:${B}`));
    expect([leader.at(0), leader.at(AFTER_MS - 1)]).toEqual([[], []]);
    const gone = { ...ALL_WELL, b: { condition: 'standby' } } as const;
    expect(leader.at(AFTER_MS, gone)).toEqual([]);
    expect([leader.at(AFTER_MS + 1), leader.at(2 * AFTER_MS)]).toEqual([[], []]);
    expect(leader.at(2 * AFTER_MS + 1)).toMatchObject([begun]);
    leader.change();
    expect(leader.at(3 * AFTER_MS)).toEqual([]);
  });

  test('to a site takes the node of highest priority there', () => {
    const log = wanting('site:west');
    log.must({ ...registration(C, MC), priority: 7 });
    const leader = leaderOf(log);
    leader.at(0);
    expect(leader.at(AFTER_MS)).toMatchObject([{ ...begun, cause: { to: C } }]);
  });

  test.each<[string, (log: Log) => void]>([
    ['it is off', (log) => settle(log, { failback: 'off' })],
    ['the primary is preferred', (log) => settle(log, { failback: `node:${A}` })],
    ['the site of the primary is preferred', (log) => settle(log, { failback: 'site:east' })],
    [
      'the group is paused',
      (log) =>
        log.must({ kind: 'pause', group: GROUP, node: undefined, isMaintenance: false, untilMs: undefined }),
    ],
    ['the node is never promoted', (log) => say(log, B, NEVER)],
  ])('does not begin where %s, whoever proposes it', (_, change) => {
    const log = wanting(`node:${B}`);
    change(log);
    const leader = leaderOf(log);
    for (const atMs of [0, AFTER_MS, 10 * AFTER_MS])
      expect(leader.at(atMs)).not.toMatchObject([{ kind: 'begin-failover' }]);
    const command = { ...at(log).begin({ kind: 'planned', to: B }), isFailback: true } as Command;
    expect(log.commit(command)).toBeDefined();
  });

  test('is not tried again soon after one, whatever became of it', () => {
    const log = wanting(`node:${B}`);
    const command = { ...at(log).begin({ kind: 'planned', to: B }), isFailback: true } as Command;
    expect(log.commit(command, { proposedAtMs: WALL_MS })).toBeUndefined();
    log.must(at(log).resume());
    const leader = leaderOf(log);
    expect([leader.at(0), leader.at(FAILBACK_PAUSE_MS - 1)]).toEqual([[], []]);
    const again = { ...at(log).begin({ kind: 'planned', to: B }), isFailback: true } as Command;
    expect(log.commit(again, { proposedAtMs: WALL_MS + FAILBACK_PAUSE_MS - 1 })).toMatch(
      /less than 60 min ago/,
    );
    leader.at(FAILBACK_PAUSE_MS);
    expect(leader.at(FAILBACK_PAUSE_MS + AFTER_MS)).toMatchObject([begun]);
    expect(log.commit(again, { proposedAtMs: WALL_MS + FAILBACK_PAUSE_MS })).toBeUndefined();
  });

  test('pauses twice as long after each that follows soon, up to a day, and anew after a long while', () => {
    const log = wanting(`node:${B}`);
    const failback = (atMs: number): string | undefined => {
      const command = { ...at(log).begin({ kind: 'planned', to: B }), isFailback: true } as Command;
      const refused = log.commit(command, { proposedAtMs: atMs });
      if (refused === undefined) log.must(at(log).resume());
      return refused;
    };
    let atMs = WALL_MS;
    expect(failback(atMs)).toBeUndefined();
    for (const hours of [1, 2, 4, 8, 16, 24, 24, 24]) {
      expect(failback(atMs + hours * FAILBACK_PAUSE_MS - 1)).toMatch(`less than ${hours * 60} min ago`);
      atMs += hours * FAILBACK_PAUSE_MS;
      expect(failback(atMs)).toBeUndefined();
    }
    expect(failback(atMs + 2 * FAILBACK_PAUSE_MS_MAX)).toBeUndefined();
    expect(log.group.failbackCount).toBe(1);
  });

  test('a clock that was far ahead keeps none from beginning', () => {
    const log = wanting(`node:${B}`);
    const failback = (atMs: number): string | undefined => {
      const command = { ...at(log).begin({ kind: 'planned', to: B }), isFailback: true } as Command;
      return log.commit(command, { proposedAtMs: atMs });
    };
    expect(failback(WALL_MS + 100 * FAILBACK_PAUSE_MS_MAX)).toBeUndefined();
    log.must(at(log).resume());
    expect(failback(WALL_MS)).toBeUndefined();
    log.must(at(log).resume());
    // One that runs a little behind changes nothing.
    expect(failback(WALL_MS - 1000)).toMatch(/less than 60 min ago/);
  });

  test.each([
    ['node:x', /failback is node:x, but there is no node x in group main/],
    ['site:north', /failback is site:north, but no peer is in a site north/],
  ] as const)('to %s is refused: nobody has heard of it', (failback, text) => {
    const log = wanting('off');
    const command = {
      kind: 'configure',
      group: GROUP,
      settings: { failback },
      parameters: [],
      by: '',
    } as const;
    expect(log.commit(command)).toMatch(text);
  });
});
