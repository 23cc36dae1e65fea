import { expect, test } from 'vitest';
import { epoch, groupId, timeline } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import type { Duty } from '../failover/duties.ts';
import type { AgentContext } from './context.ts';
import { carryOutPromote } from './failover-duties.ts';

const DUTY: Extract<Duty, { kind: 'promote' }> = {
  kind: 'promote',
  group: groupId('main'),
  incarnation: 1,
  epoch: epoch(7),
  slots: [],
  timeline: timeline(2),
  rule: { members: [], acks: 1 },
  from: { timeline: timeline(1), position: lsn(1n) },
};

test('a promotion has its guard even where the cut before it has dismissed the one on its way', async () => {
  let isGuarded = false;
  let guardedAtPromotion: boolean | undefined;
  const done = Promise.resolve();
  const context = {
    notes: { cut: undefined },
    timing: { promoteTimeoutMs: 1000 },
    protections: { rule: true, cut: true, guard: true },
    guarding: { prepare: () => Promise.resolve((isGuarded = true)) },
    confirms: () => Promise.resolve(true),
    // The cut looks at the data directory here; one that it starts as a standby to tell where its WAL ends has no guard any more.
    activity: (condition: string | undefined) => {
      if (condition === 'absent') isGuarded = false;
    },
    once: () => done,
    log: () => undefined,
    propose: () => Promise.resolve(true),
    instance: {
      options: { dataDirectory: '/nowhere', node: 'pg1', user: {} },
      postmaster: () => undefined,
      setSynchronousStandbys: () => done,
      stop: () => done,
      session: {
        query: () => {
          guardedAtPromotion ??= isGuarded;
          return Promise.reject(new Error('far enough'));
        },
      },
    },
  } as unknown as AgentContext;
  await carryOutPromote(context, DUTY, new AbortController().signal);
  expect(guardedAtPromotion).toBe(true);
});
