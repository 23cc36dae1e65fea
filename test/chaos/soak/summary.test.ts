import { expect, test } from 'vitest';
import { judge } from '../checker/check.ts';
import type { Operation } from '../checker/operation.ts';
import { addRound, noRounds, renderSummary } from './summary.ts';

const acked = (id: string, node: string, timeline: number, startMs: number): Operation => ({
  writer: 'w',
  id,
  node,
  timeline,
  startMs,
  endMs: startMs + 1,
  outcome: 'acked',
});

test('the summary counts faults, failovers, what was lost and what is double, and says how to replay', () => {
  const operations = [acked('a', 'pg1', 1, 0), acked('b', 'pg2', 2, 3000), acked('c', 'pg2', 2, 3010)];
  const verdict = judge(operations, { ids: ['a', 'b', 'b'], registers: [] });
  const summary = addRound(addRound(noRounds, 3, verdict), 2, { ...verdict, longestOutageMs: 10 });
  expect(renderSummary(summary, { seed: 7, minutes: 1.04, wantedMinutes: 1 }).split('\n')).toEqual([
    'soak: seed 7, 1.0 min, 2 rounds judged, 5 faults, 2 failovers',
    'soak: 6 acknowledged writes, 2 lost, 2 double, 4 violations; longest outage 3.0 s',
    'soak: the same schedule again: npm run chaos -- --soak 1 --seed 7',
  ]);
});
