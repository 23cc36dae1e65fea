// Before whom a primary must not be raised.
import { expect, test } from 'vitest';
import type { AgentReport } from '../cluster/report.ts';
import { A, B, C, GROUP, newLog, running, runningAlone } from '../cluster/testing/example.ts';
import { primaryPending, standbyLimits } from './standby-limits.ts';

const limits = new Map([['max_connections', 200]]);
const seen = (reports: Partial<Record<string, Partial<AgentReport>>>, log = running()) =>
  standbyLimits(log.state, A, (node) => reports[node] as AgentReport | undefined);
const well = { condition: 'standby', parameters: { pendingRestart: [], overridden: [], limits } } as const;

test('each standby that runs counts, with what it runs with', () => {
  expect(seen({ [B]: well, [C]: well })).toEqual([limits, limits]);
  expect(seen({ [B]: well, [C]: { condition: 'standby' } })).toEqual([limits, new Map()]);
  expect(seen({ [B]: well, [C]: { condition: 'failed' } })).toEqual([limits, new Map()]);
});

test('one that is stopped does not: it is started with what is wanted', () => {
  expect(seen({ [B]: well, [C]: { condition: 'stopped' } })).toEqual([limits]);
  expect(seen({ [B]: well, [C]: { condition: 'cloning' } })).toEqual([limits]);
});

test('one whose agent is silent counts where commits wait for it', () => {
  expect(seen({ [B]: well })).toEqual([limits, new Map()]);
  expect(seen({ [B]: well }, runningAlone())).toEqual([limits]);
});

test('where nothing is known of the group nothing may be raised', () => {
  expect(standbyLimits(newLog().state, A, () => undefined)).toEqual([new Map()]);
});

test('what the primary waits for is known from its report alone', () => {
  const pending = { pendingRestart: ['max_connections'], overridden: [], limits };
  const of = (node: typeof A) =>
    primaryPending(running().state, GROUP, (asked) =>
      asked === node ? ({ parameters: pending } as unknown as AgentReport) : undefined,
    );
  expect(of(A)).toEqual(['max_connections']);
  expect(of(B)).toEqual([]);
  expect(primaryPending(newLog().state, GROUP, () => undefined)).toEqual([]);
});
