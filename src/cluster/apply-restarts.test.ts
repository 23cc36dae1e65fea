import { expect, test } from 'vitest';
import { logIndex } from '../base/ids.ts';
import { SCHEDULED_RESTART_FEATURE_LEVEL } from './features.ts';
import { A, B, C, GROUP, type Log, newLog, running } from './testing/example.ts';

const upgraded = (featureLevel = SCHEDULED_RESTART_FEATURE_LEVEL): Log =>
  newLog({ ...running().state, featureLevel });
const base = { kind: 'schedule-restart', group: GROUP, node: B } as const;
const scheduled = { ...base, at: { atMs: 5000, inPlace: false } } as const;
const begun = { ...base, onlyAtMs: 5000, at: { atMs: 5000, inPlace: false, serverStartedAtS: 3 } } as const;

test('not before every peer understands it', () => {
  expect(upgraded(SCHEDULED_RESTART_FEATURE_LEVEL - 1).commit(scheduled)).toContain('upgrade');
});

test('one for each node, in the order of their names; the later takes the place of the earlier', () => {
  const log = upgraded();
  log.must({ ...scheduled, node: C }, scheduled, { ...base, at: { atMs: 7000, inPlace: true } });
  expect(log.group.restarts).toEqual([
    { node: B, atMs: 7000, inPlace: true },
    { node: C, atMs: 5000, inPlace: false },
  ]);
});

test('it begins once, and only where it is still scheduled for that time', () => {
  const log = upgraded();
  expect(log.commit(begun)).toContain('not scheduled any more');
  log.must(scheduled, begun);
  expect(log.commit(begun)).toContain('begun already');
  expect(log.commit({ ...base, at: undefined })).toContain('has begun');
  expect(log.commit(scheduled)).toContain('begun already');
  log.must({ ...base, at: undefined, onlyAtMs: 5000, outcome: 'done' });
  expect(log.group.restarts).toEqual([]);
  expect(log.commit({ ...base, at: undefined })).toContain('no restart of b is scheduled');
});

test('it does not begin of a primary that is not to be restarted in place, nor of a node that is set aside, nor otherwise than scheduled', () => {
  const log = upgraded();
  log.must({ ...scheduled, node: A }, scheduled);
  expect(log.commit({ ...begun, node: A })).toContain('not to be in place');
  expect(log.commit({ ...begun, at: { ...begun.at, inPlace: true } })).toContain('only in the place of one');
  log.must({ kind: 'pause', group: GROUP, node: B, isMaintenance: false, untilMs: undefined });
  expect(log.commit(begun)).toContain('paused');
  log.must({ kind: 'end-pause', group: GROUP, node: B });
  log.must(begun);
});

test('it does not begin while that of another node of the group is under way', () => {
  const log = upgraded();
  log.must({ ...scheduled, node: C }, scheduled, begun);
  const other = { ...begun, node: C } as const;
  expect(log.commit(other)).toContain('the restart of b has begun and not ended');
  log.must({ ...base, at: undefined, onlyAtMs: 5000, outcome: 'done' }, other);
});

test('it goes with its node', () => {
  const log = upgraded();
  log.must(scheduled, {
    kind: 'begin-rule-change',
    group: GROUP,
    epoch: log.epoch,
    next: { members: [], acks: 0 },
  });
  log.must({
    kind: 'commit-rule',
    group: GROUP,
    epoch: log.epoch,
    change: log.group.next?.change ?? logIndex(0),
  });
  log.must({ kind: 'remove-node', group: GROUP, node: B, leaving: 'leave' });
  expect(log.group.restarts).toEqual([]);
});
