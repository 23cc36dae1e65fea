import { beforeEach, describe, expect, test } from 'vitest';
import { epoch, nodeId, peerId } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import type { AgentReport } from '../cluster/report.ts';
import { createReports, type Reports } from './reports.ts';

const [PG1, A, B] = [nodeId('pg1'), peerId('a'), peerId('b')];
const report = (change: Partial<AgentReport> = {}): AgentReport => ({
  node: PG1,
  peer: A,
  sequence: 1,
  startedAtMs: 100,
  member: undefined,
  condition: 'standby',
  fenceEpoch: epoch(3),
  timeline: undefined,
  position: lsn(5n),
  replayLsn: undefined,
  streamingFrom: undefined,
  walSenders: [],
  serverVersion: '15',
  message: undefined,
  ...change,
});

let nowMs = 0;
let owner: typeof A | undefined;
let reports: Reports;
beforeEach(() => {
  [nowMs, owner] = [0, undefined];
  const clock = { monotonicMs: () => nowMs, wallMs: () => 0 };
  reports = createReports({ clock, ownerOf: () => owner });
});

describe('of the reports on a node', () => {
  test('the latest is kept, and news told from progress', () => {
    expect(reports.take(report())).toBe('news');
    expect(reports.take(report({ sequence: 2, position: lsn(9n) }))).toBe('progress');
    expect(reports.take(report({ sequence: 3, condition: 'stopped' }))).toBe('news');
    expect(reports.take(report({ sequence: 2 }))).toBe('dropped');
    expect(reports.latest.get(PG1)?.report).toMatchObject({ sequence: 3, condition: 'stopped' });
  });

  test('a change of what the primary sends is news, how far it got is not', () => {
    const sender = { applicationName: 'pg2_1', state: 'streaming', syncState: 'quorum', flushLsn: lsn(1n) };
    reports.take(report({ walSenders: [sender] }));
    expect(reports.take(report({ sequence: 2, walSenders: [{ ...sender, flushLsn: lsn(2n) }] }))).toBe(
      'progress',
    );
    expect(reports.take(report({ sequence: 3, walSenders: [{ ...sender, state: 'catchup' }] }))).toBe('news');
    expect(reports.take(report({ sequence: 4, walSenders: [] }))).toBe('news');
  });

  test('one of an earlier run counts only after the later run has been silent', () => {
    reports.take(report({ startedAtMs: 200 }));
    expect(reports.take(report({ sequence: 50 }))).toBe('dropped');
    nowMs = 1000;
    expect(reports.take(report({ sequence: 50 }))).toBe('news');
  });

  test('one of a peer that did not register the node is kept apart', () => {
    owner = B;
    expect(reports.take(report())).toBe('dropped');
    expect(reports.latest.size).toBe(0);
    expect(reports.disowned.get(A)?.report.node).toBe('pg1');
  });
});

test('our own report goes out at once with news, and otherwise only now and then', () => {
  expect(reports.mustBroadcast(report())).toBe(true);
  nowMs = 250;
  expect(reports.mustBroadcast(report({ sequence: 2, position: lsn(6n) }))).toBe(false);
  nowMs = 260;
  expect(reports.mustBroadcast(report({ sequence: 3, condition: 'primary' }))).toBe(true);
  nowMs = 500;
  expect(reports.mustBroadcast(report({ sequence: 4, condition: 'primary' }))).toBe(false);
  nowMs = 750;
  expect(reports.mustBroadcast(report({ sequence: 5, condition: 'primary' }))).toBe(true);
});
