import { afterEach, describe, expect, test } from 'vitest';
import { systemClock, until } from '../base/clock.ts';
import type { Command } from '../cluster/commands.ts';
import { A, running } from '../cluster/testing/example.ts';
import type { Memory } from '../failover/decide.ts';
import { ALL_WELL, viewOf, type SeenNodes } from '../failover/testing/view.ts';
import { nextLookMs, startLeader, type Leader } from './leader.ts';

const CALM = { commands: [], memory: new Map() };
const command: Command = { kind: 'set-feature-level', level: 2 };

describe('a leader looks again', () => {
  const seenAt = (seen: SeenNodes) => viewOf(running(), 10_000, seen);

  test('soon while something is proposed or lasts, and later while all is well', () => {
    const lasting: Memory = new Map([['silent b', 9000]]);
    expect(nextLookMs({ ...CALM, commands: [command] }, seenAt(ALL_WELL))).toBe(100);
    expect(nextLookMs({ ...CALM, memory: lasting }, seenAt(ALL_WELL))).toBe(100);
    expect(nextLookMs(CALM, seenAt(ALL_WELL))).toBe(250);
  });

  test('as soon as a report grows old, but not for one that is old already', () => {
    expect(nextLookMs(CALM, seenAt({ ...ALL_WELL, b: { ageMs: 960 } }))).toBe(41);
    expect(nextLookMs(CALM, seenAt({ ...ALL_WELL, b: { ageMs: 1000 } }))).toBe(10);
    expect(nextLookMs(CALM, seenAt({ ...ALL_WELL, b: { ageMs: 1001 } }))).toBe(250);
  });
});

let leader: Leader | undefined;
afterEach(() => leader?.close());

test('reports that arrive together are one look, and a look at once takes the place of the one to come', async () => {
  const log = running();
  let lookCount = 0;
  leader = startLeader({
    clock: systemClock,
    settings: viewOf(log, 0, ALL_WELL).settings,
    state: () => log.state,
    reports: () => {
      lookCount += 1;
      return viewOf(log, systemClock.monotonicMs(), ALL_WELL).reports;
    },
    propose: () => Promise.resolve({ kind: 'unknown' }),
    onRefused: () => undefined,
    onFailed: () => undefined,
  });
  leader.setLeading(true);
  expect(lookCount).toBe(1);
  for (const _ of Array.from({ length: 60 })) leader.considerSoon();
  expect(lookCount).toBe(1);
  await new Promise((resolve) => setImmediate(resolve));
  expect(lookCount).toBe(2);
  leader.considerSoon();
  leader.consider();
  expect(lookCount).toBe(3);
  await new Promise((resolve) => setImmediate(resolve));
  expect(lookCount).toBe(3);
});

test('a standby that has fallen silent is taken out of the rule without any further news', async () => {
  const log = running();
  const startMs = systemClock.monotonicMs();
  const proposed: Command[] = [];
  const view = viewOf(log, startMs, ALL_WELL);
  const reports = new Map(view.reports);
  leader = startLeader({
    clock: systemClock,
    settings: { ...view.settings, reportFreshMs: 60, syncMemberTimeoutMs: 100 },
    state: () => log.state,
    reports: () => reports,
    propose: (wanted) => {
      proposed.push(wanted);
      return Promise.resolve({ kind: 'unknown' });
    },
    onRefused: () => undefined,
    onFailed: () => undefined,
  });
  leader.consider();
  leader.setLeading(true);
  const primary = reports.get(A);
  if (primary === undefined) throw new Error('no report of the primary');
  await until({ what: 'a proposal', timeoutMs: 5000, everyMs: 5 }, () => {
    reports.set(A, { ...primary, receivedAtMs: systemClock.monotonicMs() });
    return proposed.length > 0 || undefined;
  });
  expect(proposed[0]).toMatchObject({ kind: 'begin-rule-change', next: { members: [], acks: 0 } });
  expect(systemClock.monotonicMs() - startMs).toBeGreaterThanOrEqual(160);
});

test('what is under way is not proposed again, and a proposal that fails is made anew', async () => {
  const log = running();
  // What the primary says has just come, at any time of this test.
  const heardAtMs = systemClock.monotonicMs() + 60_000;
  const reports = new Map(viewOf(log, heardAtMs, { ...ALL_WELL, b: undefined }).reports);
  const failed: unknown[] = [];
  const answers: ((error: Error) => void)[] = [];
  leader = startLeader({
    clock: systemClock,
    settings: { ...viewOf(log, 0, ALL_WELL).settings, syncMemberTimeoutMs: 0 },
    state: () => log.state,
    reports: () => reports,
    propose: () => new Promise((_, reject) => answers.push(reject)),
    onRefused: () => undefined,
    onFailed: (error) => failed.push(error),
  });
  leader.setLeading(true);
  leader.consider();
  leader.consider();
  expect(answers).toHaveLength(1);
  answers[0]?.(new Error('the disk is full'));
  await until(
    { what: 'another proposal', timeoutMs: 5000, everyMs: 5 },
    () => answers.length > 1 || undefined,
  );
  expect(failed).toEqual([new Error('the disk is full')]);
});
