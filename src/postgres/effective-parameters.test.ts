// The order in which parameters that must not be lower on a standby reach the nodes, whatever is restarted when.
import { describe, expect, test } from 'vitest';
import type { ControlData } from './control-data.ts';
import { effectiveParameters, wantedParameters } from './effective-parameters.ts';

const control = (maxConnections: number, more: Partial<ControlData> = {}): ControlData =>
  ({
    ...{ maxConnections, maxWorkerProcesses: 8, maxPreparedTransactions: 0, maxLocksPerTransaction: 64 },
    ...more,
  }) as ControlData;
const effective = (options: Partial<Parameters<typeof effectiveParameters>[0]>) =>
  effectiveParameters({
    ...{ wanted: {}, role: 'standby', control: control(100), otherwise: new Map(), standbys: [] },
    ...options,
  });
const runsWith = (value: number) => new Map([['max_connections', value]]);

test('the log counts before the configuration file of the node, and neither before what is ours', () => {
  const group = new Map([
    ['work_mem', '64MB'],
    ['fsync', 'off'],
  ]);
  expect(wantedParameters({ Work_Mem: '4MB', jit: 'off' }, group)).toEqual({ work_mem: '64MB', jit: 'off' });
});

describe('raised', () => {
  const wanted = { max_connections: '200' };
  test('a standby has it at once, a primary once every standby runs with it', () => {
    expect(effective({ wanted })).toEqual({ parameters: wanted, held: [] });
    const primary = (...standbys: ReadonlyMap<string, number>[]) =>
      effective({ wanted, role: 'primary', standbys });
    const held = { parameters: { max_connections: '100' }, held: ['max_connections'] };
    expect(primary(runsWith(200), runsWith(100))).toEqual(held);
    expect(primary(runsWith(200), new Map())).toEqual(held);
    expect(primary(runsWith(200), runsWith(250))).toEqual({ parameters: wanted, held: [] });
    expect(primary()).toEqual({ parameters: wanted, held: [] });
  });
  test('a primary that runs with it keeps it, whatever its standbys have', () => {
    expect(effective({ wanted, role: 'primary', control: control(200), standbys: [runsWith(100)] })).toEqual({
      parameters: wanted,
      held: [],
    });
  });
});

describe('lowered', () => {
  const wanted = { max_connections: '50' };
  test('a primary has it at once, a standby once its control file says that the primary runs with it', () => {
    expect(effective({ wanted, role: 'primary', standbys: [runsWith(100)] })).toEqual({
      parameters: wanted,
      held: [],
    });
    expect(effective({ wanted })).toEqual({
      parameters: { max_connections: '100' },
      held: ['max_connections'],
    });
    expect(effective({ wanted, control: control(50) })).toEqual({ parameters: wanted, held: [] });
  });
  test('by being set no longer: a standby keeps it unless another file says enough', () => {
    const high = control(200);
    expect(effective({ control: high })).toEqual({
      parameters: { max_connections: '200' },
      held: ['max_connections'],
    });
    expect(effective({ control: high, otherwise: new Map([['max_connections', '300']]) }).held).toEqual([]);
    expect(effective({ control: high, role: 'primary' })).toEqual({ parameters: {}, held: [] });
  });
});

test('each of them is looked after; where there is no control file nothing can be', () => {
  const all = control(100, { maxWorkerProcesses: 9, maxPreparedTransactions: 1, maxLocksPerTransaction: 65 });
  expect(effective({ control: all }).parameters).toEqual({
    max_worker_processes: '9',
    max_prepared_transactions: '1',
    max_locks_per_transaction: '65',
  });
  const wanted = { max_connections: '5' };
  expect(effective({ wanted, control: undefined })).toEqual({ parameters: wanted, held: [] });
});
