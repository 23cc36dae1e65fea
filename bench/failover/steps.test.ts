import { expect, test } from 'vitest';
import { readPostgresLine, readSentineldLine, stepLine } from './steps.ts';

test('a line of sentineld shows when an entry was applied, and how long something took', () => {
  const applied =
    '{"level":30,"time":1795257008960,"self":"a","index":54,"event":"promote","msg":"pg2 chosen"}';
  expect(readSentineldLine(applied)).toEqual({ wallMs: 1_795_257_008_960, what: '54 applied: pg2 chosen' });
  const took = '{"level":30,"time":5,"tookMs":12,"error":"no","msg":"promoted"}';
  expect(readSentineldLine(took)?.what).toBe('promoted (took 12 ms) (no)');
});

test('a line of PostgreSQL is read in UTC only', () => {
  const line = '2026-11-21 10:30:08.710 UTC [28236] LOG:  redo starts at 0/40AC228';
  expect(readPostgresLine(line)).toEqual({
    wallMs: Date.UTC(2026, 10, 21, 10, 30, 8, 710),
    what: 'LOG:  redo starts at 0/40AC228',
  });
  expect(readPostgresLine(line.replace('UTC', 'CET'))).toBeUndefined();
});

test('other lines are passed over', () => {
  for (const text of ['', '\tprobably means', '{"time":1}', 'null', '{ half']) {
    expect(readSentineldLine(text)).toBeUndefined();
    expect(readPostgresLine(text)).toBeUndefined();
  }
});

test('a step says whether it came before or after the event', () => {
  expect(stepLine({ atMs: -1.25, who: 'client', what: 'x' })).toMatch(/^ +-1\.3 ms {2}client +x$/);
  expect(stepLine({ atMs: 12, who: 'log', what: 'x' })).toMatch(/ \+12\.0 ms {2}log +x$/);
});
