import { expect, test } from 'vitest';
import { logIndex, term } from '../base/ids.ts';
import type { Entry } from '../raft/types.ts';
import { createSnapshotSchedule } from './snapshot-schedule.ts';

const entries = (count: number, bytes = 10): Entry[] =>
  Array.from({ length: count }, (_, at) => ({
    index: logIndex(at + 1),
    term: term(1),
    kind: 'command',
    data: new Uint8Array(bytes),
  }));

test('a snapshot is due after so many entries, and then again after as many', () => {
  const schedule = createSnapshotSchedule({ entryCountMax: 10, bytesMax: 1 << 20 });
  schedule.applied(entries(9));
  expect(schedule.isDue()).toBe(false);
  schedule.applied(entries(1));
  expect(schedule.isDue()).toBe(true);
  schedule.taken();
  expect(schedule.isDue()).toBe(false);
  schedule.applied(entries(10));
  expect(schedule.isDue()).toBe(true);
});

test('large entries make it due sooner, and time alone never does', () => {
  const schedule = createSnapshotSchedule({ entryCountMax: 1000, bytesMax: 1 << 20 });
  schedule.applied(entries(1, 1 << 20));
  expect(schedule.isDue()).toBe(true);
  schedule.taken();
  schedule.applied([]);
  expect(schedule.isDue()).toBe(false);
});

test('one that is needed at once is due, once', () => {
  const schedule = createSnapshotSchedule({ entryCountMax: 10, bytesMax: 1 << 20 });
  schedule.demand();
  expect(schedule.isDue()).toBe(true);
  schedule.taken();
  expect(schedule.isDue()).toBe(false);
});
