// Dry runs of what a person asks of groups and nodes: what they say, that they refuse what the log would refuse, and that nothing is proposed.
import { expect, test } from 'vitest';
import { logIndex, nodeId } from '../base/ids.ts';
import { FEATURES, SETTINGS_FEATURE_LEVEL } from '../cluster/features.ts';
import { B, C, GROUP, P1, type Log, newLog, running, runningAlone } from '../cluster/testing/example.ts';
import { ALL_WELL, type SeenNodes, WALL_MS, viewOf } from '../failover/testing/view.ts';
import type { ParameterRow } from '../postgres/parameter-values.ts';
import type { PlannedRequest } from '../transport/types.ts';
import { steer } from './steer.ts';

const REFUSED = (reason: RegExp) => ({ kind: 'refused', reason: expect.stringMatching(reason) as unknown });
const PLANNED = (then: RegExp) => ({
  kind: 'done',
  detail: expect.stringMatching(
    new RegExp(`^it could be done, nothing was changed; then: ${then.source}`),
  ) as unknown,
});
const upgraded = (log: Log = running(), featureLevel = FEATURES): Log =>
  newLog({ ...log.state, featureLevel });
const LATE: ParameterRow = {
  ...{ name: 'max_connections', vartype: 'integer', context: 'postmaster', unit: null },
  ...{ min: '1', max: '1000', words: null },
};

/** Asks for a plan; a proposal fails the test. */
async function plan(log: Log, of: PlannedRequest, seen: SeenNodes = ALL_WELL) {
  const before = log.state;
  const outcome = await steer(
    {
      self: P1,
      agent: () => undefined,
      state: () => log.state,
      view: () => viewOf(log, 0, seen),
      propose: (command) => expect.fail(`${command.kind} was proposed`),
      signal: new AbortController().signal,
      describeParameters: () => Promise.resolve([LATE]),
    },
    { kind: 'plan', of },
  );
  expect(log.state).toBe(before);
  return outcome;
}

test('no plan is made of what not every peer understands', async () => {
  expect(await plan(upgraded(running(), SETTINGS_FEATURE_LEVEL - 1), { kind: 'fence', node: B })).toEqual(
    REFUSED(/upgrade all of them/),
  );
});

test('fence says what becomes of the node, and of its group', async () => {
  expect(await plan(upgraded(), { kind: 'fence', node: B })).toEqual(
    PLANNED(/the PostgreSQL of b is stopped .* nor promoted$/),
  );
  const primary = nodeId('a');
  expect(await plan(upgraded(), { kind: 'fence', node: primary })).toEqual(
    PLANNED(/group main switches over from a to a standby, and the PostgreSQL of a is stopped/),
  );
  expect(await plan(upgraded(runningAlone()), { kind: 'fence', node: primary })).toEqual(
    REFUSED(/a is the primary.*not fenced: .*alone/),
  );
  expect(await plan(upgraded(), { kind: 'fence', node: nodeId('d') })).toEqual(
    REFUSED(/no node d; there are: a, b, c$/),
  );
});

test('fence warns where a strict group needs the node for its commits', async () => {
  const log = upgraded();
  log.must({ kind: 'change-settings', group: GROUP, settings: { durability: 'strict', acks: 2 } });
  expect(await plan(log, { kind: 'fence', node: B })).toEqual(PLANNED(/.*nor promoted/));
  const group = { ...log.group, rule: { ...log.group.rule, acks: 2 } };
  const needed = newLog({ ...log.state, groups: new Map([[GROUP, group]]) });
  expect(await plan(needed, { kind: 'fence', node: B })).toEqual(
    PLANNED(/.*; warning: group main is strict, and 2 of its 2 standbys .* writes would wait/),
  );
});

test('unfence and ack are refused where the log would refuse them', async () => {
  const log = upgraded();
  expect(await plan(log, { kind: 'unfence', node: B })).toEqual(REFUSED(/b is not fenced$/));
  expect(await plan(log, { kind: 'acknowledge', group: undefined })).toEqual(
    REFUSED(/no failover to acknowledge/),
  );
  expect(await plan(log, { kind: 'acknowledge', group: 'other' })).toEqual(REFUSED(/no group other/));
  log.must({ kind: 'fence-node', node: B });
  expect(await plan(log, { kind: 'unfence', node: B })).toEqual(PLANNED(/b is no longer fenced/));
  expect(await plan(log, { kind: 'fence', node: B })).toEqual(REFUSED(/fenced already/));
  const counted = { ...log.group, recentFailovers: [WALL_MS] };
  expect(
    await plan(newLog({ ...log.state, groups: new Map([[GROUP, counted]]) }), {
      kind: 'acknowledge',
      group: GROUP,
    }),
  ).toEqual(PLANNED(/the failovers of group main are acknowledged/));
});

test('a switchover at a time: which it replaces, and what would stand against it now', async () => {
  const log = upgraded();
  const at = { atMs: WALL_MS + 60_000, to: B };
  const schedule = (more: Partial<Extract<PlannedRequest, { kind: 'schedule' }>> = {}) =>
    ({ kind: 'schedule', group: undefined, at, ...more }) as const;
  expect(await plan(log, schedule())).toEqual(PLANNED(/a switchover of group main to b begins at .*Z$/));
  expect(await plan(log, schedule({ at: { ...at, atMs: WALL_MS } }))).toEqual(REFUSED(/is past/));
  expect(await plan(log, schedule({ group: GROUP, at: { ...at, to: nodeId('d') } }))).toEqual(
    REFUSED(/no node d in group main/),
  );
  expect(await plan(log, schedule({ at: undefined }))).toEqual(REFUSED(/no switchover .* is scheduled/));
  expect(await plan(log, schedule(), { ...ALL_WELL, b: undefined })).toEqual(
    PLANNED(/.*; now this would stand against it: too few agents/),
  );
  log.must({ kind: 'schedule-switchover', group: GROUP, at: { ...at, to: C } });
  expect(await plan(log, schedule())).toEqual(PLANNED(/.*; it takes the place of the one for 2027/));
  expect(await plan(log, schedule({ at: undefined }))).toEqual(PLANNED(/no switchover .* any more$/));
});

test('settings: from what to what, and who has to be restarted for it', async () => {
  const request: PlannedRequest = {
    ...{ kind: 'settings', group: undefined, change: { acks: 2, leaseMs: 5000 } },
    parameters: [{ name: 'max_connections', value: '200' }],
  };
  const seen = { ...ALL_WELL, c: { condition: 'stopped' } } as const;
  expect(await plan(upgraded(), request, seen)).toEqual({
    ...PLANNED(/the settings of group main change; PostgreSQL takes max_connections .* standbys first/),
    settings: {
      changes: [
        { key: 'acks', from: '1', to: '2' },
        { key: 'postgresql.max_connections', from: undefined, to: '200' },
      ],
      lateParameters: ['max_connections'],
      restartNodes: ['a', 'b'],
    },
  });
});

test('settings that are so already change nothing, and nobody is restarted for them', async () => {
  const log = upgraded();
  const parameters = [{ name: 'max_connections', value: '200' }];
  log.must({ kind: 'configure', group: GROUP, settings: {}, parameters, by: '' });
  expect(await plan(log, { kind: 'settings', group: GROUP, change: { acks: 1 }, parameters })).toEqual({
    ...PLANNED(/group main has all of it already$/),
    settings: { changes: [], lateParameters: [], restartNodes: [] },
  });
});

test('settings are refused as in earnest, by this peer and by the log', async () => {
  const log = upgraded();
  const base = { kind: 'settings', group: undefined, change: {} } as const;
  expect(await plan(log, { ...base, change: { acks: 99 } })).toEqual(REFUSED(/^acks is 99; it must be/));
  expect(await plan(log, { ...base, parameters: [{ name: 'fsync', value: 'off' }] })).toEqual(
    REFUSED(/fsync itself/),
  );
  expect(await plan(log, { ...base, parameters: [{ name: 'max_connections', value: '2000' }] })).toEqual(
    REFUSED(/"2000" is given; expected a whole number from 1 to 1000/),
  );
  expect(await plan(log, { ...base, change: { acks: 2 }, onlyRevision: logIndex(7) })).toEqual(
    REFUSED(/were changed meanwhile/),
  );
});
