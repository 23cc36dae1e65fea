// What the leader proposes for a group that goes on with another database, while that is its first primary's alone.
import { expect, test } from 'vitest';
import { REPLACEMENT_FEATURE_LEVEL } from '../cluster/features.ts';
import { timeline } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import { A, GROUP, newLog, registration, running } from '../cluster/testing/example.ts';
import { duties } from './duties.ts';
import { ALL_WELL, leaderOf } from './testing/view.ts';

test('nobody else begins it where that node is silent, or has lost it: there would be an empty database', () => {
  const log = newLog({ ...running().state, featureLevel: REPLACEMENT_FEATURE_LEVEL });
  log.must({ kind: 'pause', group: GROUP, node: undefined, isMaintenance: false, untilMs: undefined });
  const base = { group: GROUP, epoch: log.epoch, primary: A, from: '77', to: '88' };
  log.must({ kind: 'replace-database', ...base });
  log.must({ ...registration(A), systemIdentifier: undefined });
  const leader = leaderOf(log, { ...ALL_WELL, a: undefined });
  expect(leader.at(0)).toEqual([]);
  expect(leader.at(60_000)).toEqual([]);
});

test('its first primary, though it was paused itself and the database before was restored, opens what is there', () => {
  const { state, group } = running();
  const reached = {
    ...{ systemIdentifier: '77', timeline: timeline(1), position: lsn(10n), assigned: timeline(2) },
    ...{ highestTimeline: timeline(1), target: '', lastTransactionMs: undefined },
  };
  const groups = new Map([[GROUP, { ...group, restore: { reached } }]]);
  const log = newLog({ ...state, groups, featureLevel: REPLACEMENT_FEATURE_LEVEL });
  const pause = { kind: 'pause', group: GROUP, isMaintenance: false, untilMs: undefined } as const;
  log.must({ ...pause, node: A });
  log.must({ ...pause, node: undefined });
  const base = { group: GROUP, epoch: log.epoch, primary: A, from: '77', to: '88' };
  log.must({ kind: 'replace-database', ...base });
  const duty = duties(log.state, A);
  expect(duty.kind).toBe('create');
  expect(duty).not.toHaveProperty('restore');
});
