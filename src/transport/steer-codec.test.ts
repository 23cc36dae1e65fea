// What is asked of groups and nodes, to its wire form and back; names that are none are not passed on.
import { create } from '@bufbuild/protobuf';
import { expect, test } from 'vitest';
import { logIndex, nodeId } from '../base/ids.ts';
import { FEATURES } from '../cluster/features.ts';
import { SteerRequestSchema } from '../gen/pg_sentinel/v1/admin_pb.ts';
import {
  BadSteerRequest,
  decodeSteerOutcome,
  decodeSteerRequest,
  encodeSteerOutcome,
  encodeSteerRequest,
} from './steer-codec.ts';
import type { SteerOutcome, SteerRequest } from './types.ts';

const PG2 = nodeId('pg2');

test.each<SteerRequest>([
  { kind: 'pause', group: 'main', node: undefined, forMs: 1_800_000, dryRun: true },
  { kind: 'pause', group: undefined, node: PG2, forMs: undefined, dryRun: false },
  { kind: 'resume', group: 'main', node: undefined, dryRun: false },
  { kind: 'resume', group: undefined, node: PG2, dryRun: true },
  { kind: 'maintenance', node: PG2, to: undefined, forMs: undefined, dryRun: false },
  { kind: 'maintenance', node: PG2, to: nodeId('pg3'), forMs: 1000, dryRun: true },
  { kind: 'node', node: PG2, action: 'restart', inPlace: true, dryRun: false },
  { kind: 'node', node: PG2, action: 'reinit', inPlace: false, dryRun: true },
  { kind: 'node', node: PG2, action: 'drop', inPlace: false, dryRun: false, destroy: true },
  { kind: 'node', node: PG2, action: 'unregister', inPlace: false, dryRun: false, acceptsLoss: true },
  { kind: 'promote-site', group: undefined, dryRun: true },
  { kind: 'promote-site', group: 'main', dryRun: false, to: PG2 },
  { kind: 'lead-site', node: PG2, dryRun: false, acceptsLoss: true },
  { kind: 'settings', group: undefined, change: { acks: 2 } },
  { kind: 'settings', group: 'main', change: { durability: 'async', leaseMs: 2000 }, by: 'ann@db1' },
  {
    ...{ kind: 'settings', group: undefined, change: { acks: 2 }, onlyRevision: logIndex(7), by: 'ann@db1' },
    parameters: [
      { name: 'jit', value: undefined },
      { name: 'work_mem', value: '' },
    ],
  },
  {
    ...{ kind: 'settings', group: 'main', parameters: [], by: 'ann@db1' },
    change: { acks: 2, slotRetentionMs: 60_000, maxSlotWalBytes: 2 ** 30 },
  },
  {
    ...{ kind: 'settings', group: 'main', parameters: [{ name: 'jit', value: 'off' }] },
    change: { sitePolicy: 'prefer', failback: 'node:pg2', failbackAfterMs: 60_000 },
  },
  { kind: 'settings', group: 'main', change: { acks: 2 }, parameters: [], hba: ['local all all peer'] },
  {
    ...{ kind: 'settings', group: 'main', change: { acks: 2 }, parameters: [], hba: ['local all all peer'] },
    logicalSlots: [
      { name: 'a', wanted: { database: 'app', plugin: 'pgoutput', isTwoPhase: true } },
      { name: 'b', wanted: undefined },
    ],
  },
  { kind: 'plan', of: { kind: 'fence', node: PG2 } },
  { kind: 'plan', of: { kind: 'unfence', node: PG2 } },
  { kind: 'plan', of: { kind: 'acknowledge', group: 'main' } },
  { kind: 'plan', of: { kind: 'schedule', group: undefined, at: { atMs: 1_800_000_000_000, to: PG2 } } },
  {
    kind: 'plan',
    of: {
      ...{ kind: 'settings', group: 'main', change: {}, parameters: [{ name: 'jit', value: 'off' }] },
      hba: ['local all all peer'],
    },
  },
])('comes back as it was given: %j', (request) => {
  expect(decodeSteerRequest(create(SteerRequestSchema, encodeSteerRequest(request)))).toStrictEqual(request);
});

test('a name that is none, and a request of a later version, are refused', () => {
  const named = create(SteerRequestSchema, { request: { case: 'pause', value: { node: 'PG 2' } } });
  expect(() => decodeSteerRequest(named)).toThrow(BadSteerRequest);
  expect(() => decodeSteerRequest(create(SteerRequestSchema, {}))).toThrow(/older version/);
  const value = { node: 'pg2', action: 'polish' };
  const polish = create(SteerRequestSchema, { request: { case: 'nodeAction', value } });
  expect(() => decodeSteerRequest(polish)).toThrow(/does not know how to polish a node/);
});

// An older peer knows no dry run of these: as a field beside them it would pass it over, and carry out what was asked.
test('a plan is a request of its own, which an older peer does not know, and holds nothing else', () => {
  const of = { kind: 'fence', node: PG2 } as const;
  const message = create(SteerRequestSchema, encodeSteerRequest({ kind: 'plan', of }));
  expect(message.request.case).toBe('plan');
  const decoded = (value: object) => () =>
    decodeSteerRequest(create(SteerRequestSchema, { request: { case: 'plan', value } }));
  expect(decoded({})).toThrow(/what is to be planned is missing/);
  expect(decoded({ request: {} })).toThrow(/older version/);
  expect(decoded({ request: message })).toThrow(/a plan of a plan/);
  const pause = create(SteerRequestSchema, { request: { case: 'pause', value: {} } });
  expect(decoded({ request: pause })).toThrow(/makes no plan of pause/);
});

test('a change with settings that came later is nothing that an older peer could do in part', () => {
  const caseOf = (change: object): string | undefined => {
    const request = { kind: 'settings', group: undefined, change } as SteerRequest;
    return create(SteerRequestSchema, encodeSteerRequest(request)).request.case;
  };
  expect(caseOf({ acks: 2, leaseMs: 2000 })).toBe('settings');
  expect(caseOf({ acks: 2, slotRetentionMs: 60_000 })).toBe('configureLater');
  expect(caseOf({ maxSlotWalBytes: 2 ** 30 })).toBe('configureLater');
  expect(caseOf({ failbackAfterMs: 60_000 })).toBe('configureLater');
  const value = { configuring: { settings: { acks: 2 } }, featureLevel: FEATURES + 1 };
  const later = create(SteerRequestSchema, { request: { case: 'configureLater', value } });
  expect(() => decodeSteerRequest(later)).toThrow(/does not know all of what was asked for/);
});

test.each<SteerOutcome>([
  { kind: 'done', detail: 'it is done' },
  {
    ...{ kind: 'done', detail: 'it could be done' },
    settings: {
      changes: [{ key: 'postgresql.jit', from: undefined, to: 'off' }],
      lateParameters: ['jit'],
      restartNodes: ['pg1'],
    },
  },
  { kind: 'refused', reason: 'no' },
  { kind: 'elsewhere', peer: 'b', address: '10.0.0.2:7432' },
])('an outcome comes back as it was given: %j', (outcome) => {
  expect(decodeSteerOutcome(encodeSteerOutcome(outcome))).toStrictEqual(outcome);
});
