// What an agent's report keeps on its way to the leader.
import { expect, test } from 'vitest';
import type { AgentReport } from '../cluster/report.ts';
import { A, newLog } from '../cluster/testing/example.ts';
import { reportOf } from '../failover/testing/view.ts';
import { decodeReport, encodeReport } from './report-codec.ts';

const REPORT = reportOf(newLog(), A, {});
const there = (report: AgentReport): AgentReport => decodeReport(encodeReport(report));

test('of logical slots it says what is there, what is not, and what nobody knows', () => {
  const logicalSlots = [
    { name: 'ready', isReady: true, note: undefined },
    { name: 'other', isReady: false, note: 'it decodes something else' },
    { name: 'absent', isReady: false, note: 'wal_level', isAbsent: true },
  ] as const;
  expect(there({ ...REPORT, logicalSlots }).logicalSlots).toEqual(logicalSlots);
});
