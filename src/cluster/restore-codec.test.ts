// Restored groups and scheduled restarts come back from a snapshot as they went in.
import { expect, test } from 'vitest';
import { timeline } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import { SCHEDULED_RESTART_FEATURE_LEVEL } from './features.ts';
import { decodeState, encodeState } from './snapshot-codec.ts';
import { A, B, C, GROUP, type Log, newLog, registration, running } from './testing/example.ts';

/** Recovery of a restored group has reached its target. */
const restored = (lastTransactionMs: number | undefined) => (): Log => {
  const log = newLog({ ...newLog().state, featureLevel: SCHEDULED_RESTART_FEATURE_LEVEL });
  log.must(registration(A), { kind: 'restore-group', group: GROUP, primary: A });
  const reached = {
    ...{ epoch: log.epoch, systemIdentifier: '77', timeline: timeline(3), position: lsn(0x3000110n) },
    ...{ highestTimeline: timeline(5), target: 'name before', lastTransactionMs },
  };
  log.must({ kind: 'restore-group', group: GROUP, primary: A, reached });
  expect(log.group.restore?.reached?.assigned).toBe(6);
  return log;
};
const toRestore = (): Log => {
  const log = newLog({ ...newLog().state, featureLevel: SCHEDULED_RESTART_FEATURE_LEVEL });
  log.must(registration(A), { kind: 'restore-group', group: GROUP, primary: A });
  return log;
};

/** One begun, one to come. */
const restarting = (): Log => {
  const log = newLog({ ...running().state, featureLevel: SCHEDULED_RESTART_FEATURE_LEVEL });
  const base = { kind: 'schedule-restart', group: GROUP } as const;
  const at = { atMs: 1_800_000_000_000, inPlace: false };
  log.must({ ...base, node: B, at }, { ...base, node: C, at: { ...at, inPlace: true } });
  log.must({ ...base, node: B, onlyAtMs: at.atMs, at: { ...at, serverStartedAtS: 1_700_000_000 } });
  return log;
};

test.each<[string, () => Log]>([
  ['to be restored', toRestore],
  ['restored', restored(1_800_000_000_000)],
  ['restored, without a transaction', restored(undefined)],
  ['restarts', restarting],
])('%s', (_, begin) => {
  const { state } = begin();
  const again = decodeState(encodeState(state));
  expect(again).toStrictEqual(state);
  expect(encodeState(again)).toEqual(encodeState(state));
});
