import { expect, test } from 'vitest';
import { epoch, groupId, makeMemberId, nodeId, timeline } from '../base/ids.ts';
import { lsn } from '../base/lsn.ts';
import type { Duty } from '../failover/duties.ts';
import { type AgentContext, standbysFor } from './context.ts';
import { carryOutHandOver, carryOutPromote } from './failover-duties.ts';

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

const done = Promise.resolve();
/** Of a standby that is promoted until it asks its own session for something, and has none. */
const contextOf = (changes: object = {}, instance: object = {}): AgentContext =>
  ({
    group: () => undefined,
    notes: { cut: undefined },
    timing: { promoteTimeoutMs: 1000 },
    protections: { rule: true, cut: true, guard: true },
    guarding: { prepare: () => Promise.resolve(true) },
    confirms: () => Promise.resolve(true),
    duty: () => DUTY,
    activity: () => undefined,
    once: () => done,
    log: () => undefined,
    propose: () => Promise.resolve(true),
    instance: {
      options: { dataDirectory: '/nowhere', node: 'pg1', user: {} },
      isForeign: () => false,
      postmaster: () => undefined,
      setSynchronousStandbys: () => done,
      stop: () => done,
      session: { query: () => Promise.reject(new Error('far enough')) },
      ...instance,
    },
    ...changes,
  }) as unknown as AgentContext;

test('a promotion has its guard even where the cut before it has dismissed the one on its way', async () => {
  let isGuarded = false;
  let guardedAtPromotion: boolean | undefined;
  const context = contextOf(
    {
      guarding: { prepare: () => Promise.resolve((isGuarded = true)) },
      // The cut looks at the data directory here; one that it starts as a standby to tell where its WAL ends has no guard any more.
      activity: (condition: string | undefined) => {
        if (condition === 'absent') isGuarded = false;
      },
    },
    {
      session: {
        query: () => {
          guardedAtPromotion ??= isGuarded;
          return Promise.reject(new Error('far enough'));
        },
      },
    },
  );
  await carryOutPromote(context, DUTY, new AbortController().signal);
  expect(guardedAtPromotion).toBe(true);
});

test('a promotion that is broken off does not end before it has written its rule, which the next duty takes back', async () => {
  const steps: string[] = [];
  const ending = new AbortController();
  let finishWriting = (): void => undefined;
  const writing = new Promise<void>((resolve) => (finishWriting = resolve));
  const context = contextOf(
    {
      once: () => {
        ending.abort(new Error('the duty has changed'));
        setImmediate(finishWriting);
        return Promise.reject(ending.signal.reason as Error);
      },
    },
    { setSynchronousStandbys: () => writing.then(() => void steps.push('rule written')) },
  );
  await expect(carryOutPromote(context, DUTY, ending.signal)).rejects.toThrow('the duty has changed');
  steps.push('ended');
  expect(steps).toEqual(['rule written', 'ended']);
});

test('a promotion goes on where a slot of a member cannot be made', async () => {
  let isBegun = false;
  const said: string[] = [];
  const context = contextOf(
    {
      once: (key: string) =>
        key.startsWith('slots ') ? Promise.reject(new Error('all replication slots are in use')) : done,
      log: (_: string, message: string) => said.push(message),
    },
    {
      session: {
        query: () => {
          isBegun = true;
          return Promise.reject(new Error('far enough'));
        },
      },
    },
  );
  await carryOutPromote(context, DUTY, new AbortController().signal);
  expect(isBegun).toBe(true);
  expect(said[0]).toMatch(/^not all replication slots/);
});

test('a standby that gets no lease to be promoted keeps the rule that nobody fulfils', async () => {
  const said: (string | undefined)[] = [];
  const context = contextOf(
    {
      guarding: { prepare: () => Promise.resolve(false) },
      activity: (_: unknown, message: string | undefined) => said.push(message),
    },
    {
      setSynchronousStandbys: () => expect.unreachable('its rule was changed'),
      stop: () => expect.unreachable('it was stopped'),
    },
  );
  const duty = { ...DUTY, rule: { members: [], acks: 0, leased: true } } as const;
  await carryOutPromote(context, duty, new AbortController().signal);
  expect(said.at(-1)).toMatch(/^not promoted: no lease/);
});

test.each([
  ['pg-sentinel itself opens acknowledges at once, as its rule says', undefined, 'alone'],
  [
    'a command opens, perhaps late, acknowledges nothing before the log has it',
    { command: ['/bin/true'], timeoutMs: 1000 },
    'nobody',
  ],
])('under a lease what %s', async (_, promoteCommand, kind) => {
  const written: unknown[] = [];
  const context = contextOf(
    {},
    {
      options: { dataDirectory: '/nowhere', node: 'pg1', user: {}, promoteCommand },
      setSynchronousStandbys: (standbys: { readonly kind: string }) =>
        Promise.resolve(void written.push(standbys.kind)),
    },
  );
  const duty = { ...DUTY, rule: { members: [], acks: 0, leased: true } } as const;
  await carryOutPromote(context, duty, new AbortController().signal);
  expect(written).toEqual([kind]);
});

test('a strict group that begins with fewer members than acknowledgements has nobody to wait for yet, but for its readers', () => {
  const member = makeMemberId(nodeId('pg2'), '00000001');
  const slots = [member, makeMemberId(nodeId('pg3'), '00000002')];
  const context = {
    group: () => undefined,
    protections: { rule: true },
    duty: () => ({ ...DUTY, slots }),
  } as unknown as AgentContext;
  expect(standbysFor(context, { members: [member], acks: 2 })).toEqual({
    kind: 'nobody',
    readersWaitFor: slots,
  });
  expect(standbysFor(context, { members: [member], acks: 1 })).toMatchObject({ kind: 'any', acks: 1 });
});

test.each([
  ['a primary under a lease keeps its guard and its lease until it stops', true, ['guard', 'checkpoint']],
  ['one that gets no lease is not stopped for a switchover that may have been called off', false, ['guard']],
])('handing over, %s', async (_, isLeaseHad, steps) => {
  const done: string[] = [];
  const context = {
    guarding: {
      isForsaken: () => false,
      prepare: () => Promise.resolve((done.push('guard'), isLeaseHad)),
      state: () => ({}),
    },
    group: () => undefined,
    confirms: () => Promise.resolve(true),
    activity: () => undefined,
    log: () => undefined,
    instance: {
      options: { dataDirectory: '/nowhere', node: 'pg1' },
      isForeign: () => false,
      postmaster: () => ({ pid: 1 }),
      session: { query: (text: string) => Promise.resolve((done.push(text), [])) },
      stop: () => Promise.reject(new Error('far enough')),
    },
  } as unknown as AgentContext;
  const duty = { ...DUTY, kind: 'hand-over', rule: { members: [], acks: 0, leased: true } } as const;
  const handingOver = carryOutHandOver(context, duty, new AbortController().signal);
  if (isLeaseHad) await expect(handingOver).rejects.toThrow('far enough');
  else await handingOver;
  expect(done).toEqual(steps);
});
