// What the leader proposes for a group that is being adopted, and what is asked of its nodes meanwhile.
import { describe, expect, test } from 'vitest';
import { logIndex, timeline } from '../base/ids.ts';
import { ADOPTION_FEATURE_LEVEL } from '../cluster/features.ts';
import type { FoundServer, LogicalSlotReport } from '../cluster/report.ts';
import {
  A,
  B,
  C,
  GROUP,
  type Log,
  P1,
  P2,
  at,
  newLog,
  registration,
  runningAlone,
} from '../cluster/testing/example.ts';
import { decide } from './decide.ts';
import { duties } from './duties.ts';
import { failoverObstacle, switchoverObstacle } from './obstacles.ts';
import { ALL_WELL, leaderOf, viewOf } from './testing/view.ts';

/** b and c have their turn in that order; a goes on as it is. */
const adopting = (toAdopt = [B, C, A]): Log => {
  const state = { ...runningAlone().state, featureLevel: ADOPTION_FEATURE_LEVEL };
  const group = state.groups.get(GROUP);
  if (group === undefined) throw new Error('no group');
  return newLog({ ...state, groups: new Map([[GROUP, { ...group, toAdopt }]]) });
};
const adopted = (log: Log, node = B) =>
  log.must({ kind: 'node-adopted', group: GROUP, epoch: log.epoch, node });

describe('a group that is not protected', () => {
  test('is not failed over by itself, and gets no rule', () => {
    const log = adopting();
    expect(leaderOf(log).at(0)).toEqual([]);
    log.must(at(log).down(P1), at(log).down(P2));
    const leader = leaderOf(log, { ...ALL_WELL, a: undefined });
    expect(leader.at(0)).toEqual([]);
    expect(leader.at(600_000)).toEqual([]);
    expect(failoverObstacle(log.state, log.group, viewOf(log, 0))).toMatch(/being adopted/);
  });

  test('is switched over once its standbys are taken over', () => {
    const log = adopting();
    const obstacle = () => switchoverObstacle(log.state, log.group, B, viewOf(log, 0));
    expect(obstacle()).toMatch(/b is not taken over yet/);
    adopted(log);
    adopted(log, C);
    expect(obstacle()).toBeUndefined();
    expect(switchoverObstacle(log.state, log.group, undefined, viewOf(log, 0, { a: ALL_WELL['a'] }))).toMatch(
      /no standby can be reached/,
    );
  });

  test('is not switched over before its primary was asked for a logical slot that somebody has named', () => {
    const base = adopting([A]);
    const slot = { name: 'cdc', database: 'app', plugin: 'pgoutput', isTwoPhase: false, setAt: logIndex(1) };
    const obstacle = (standing: 'wanted' | 'made', logicalSlots?: readonly LogicalSlotReport[]) => {
      const logical = { ...slot, standing, isOurs: false, reason: undefined } as const;
      const group = { ...base.group, logicalSlots: [logical] };
      const view = viewOf(base, 0);
      const reports = new Map(view.reports);
      const seen = reports.get(A);
      if (seen !== undefined) reports.set(A, { ...seen, report: { ...seen.report, logicalSlots } });
      return switchoverObstacle(base.state, group, B, { ...view, reports });
    };
    expect(obstacle('wanted')).toMatch(/nobody has looked yet whether a has the logical slot cdc already/);
    expect(obstacle('wanted', [{ name: 'other', isReady: true, note: undefined }])).toMatch(
      /nobody has looked/,
    );
    // The log does not say yet that it is there.
    expect(obstacle('wanted', [{ name: 'cdc', isReady: true, note: undefined }])).toMatch(
      /nobody has looked/,
    );
    const absent = { name: 'cdc', isReady: false, note: 'wal_level', isAbsent: true } as const;
    expect(obstacle('wanted', [absent])).toBeUndefined();
    // Another one of that name, or one that is lost: its consumer would go on from what the new primary makes.
    expect(obstacle('wanted', [{ name: 'cdc', isReady: false, note: 'it decodes something else' }])).toMatch(
      /^a has a logical slot cdc .*\(it decodes something else\).* drop it on a .*settings unset logical_slots\.cdc/,
    );
    expect(obstacle('made')).toBeUndefined();
  });

  test('does not fail back by itself', () => {
    const log = adopting([A]);
    log.must({ kind: 'change-settings', group: GROUP, settings: { failback: `node:${B}` } });
    const leader = leaderOf(log);
    expect(leader.at(0)).toEqual([]);
    expect(leader.at(600_000)).toEqual([]);
  });

  test('gets its rule as soon as its primary runs with our settings', () => {
    const log = adopting([A]);
    adopted(log, A);
    expect(leaderOf(log).at(0)).toMatchObject([{ kind: 'begin-rule-change', next: { acks: 1 } }]);
  });
});

describe('the duties of adopted nodes', () => {
  test('the primary goes on; its standbys are taken over one after the other', () => {
    const log = adopting();
    expect(duties(log.state, A)).toMatchObject({ kind: 'primary', isUnprotected: true });
    expect(duties(log.state, B)).toMatchObject({ kind: 'follow', isAdopted: true });
    expect(duties(log.state, C)).toEqual({ kind: 'none', reason: 'waiting until b is taken over' });
    adopted(log);
    expect(duties(log.state, B)).not.toHaveProperty('isAdopted');
    expect(duties(log.state, C)).toMatchObject({ kind: 'follow', isAdopted: true });
  });

  test('a standby that a person keeps aside holds nobody up', () => {
    const log = adopting();
    log.must({ kind: 'fence-node', node: B });
    expect(duties(log.state, C)).toMatchObject({ kind: 'follow', isAdopted: true });
  });
});

test('a server that runs already is made a group by nobody but a person', () => {
  const log = newLog();
  log.must({ ...registration(A), systemIdentifier: '77' }, registration(B), registration(C));
  const view = viewOf(log, 0, { a: {}, b: {}, c: {} });
  expect(decide(log.state, view, new Map()).commands).toMatchObject([{ kind: 'create-group', primary: A }]);
  const seen = view.reports.get(A);
  if (seen === undefined) throw new Error('no report');
  const found: FoundServer = {
    ...{ role: 'primary', version: '15.1', timeline: timeline(1), upstream: undefined, freeSlots: 9 },
    ...{ kept: [], replaced: [], hba: [], notices: [], problems: [] },
  };
  const reports = new Map(view.reports).set(A, { ...seen, report: { ...seen.report, found } });
  expect(decide(log.state, { ...view, reports }, new Map()).commands).toEqual([]);
  // One whose agent is not heard may run as well: only where there are no data is nothing lost.
  const without = (node: typeof A) => ({
    ...view,
    reports: new Map([...view.reports].filter(([each]) => each !== node)),
  });
  expect(decide(log.state, without(A), new Map()).commands).toEqual([]);
  expect(decide(log.state, without(B), new Map()).commands).toMatchObject([{ kind: 'create-group' }]);
});
