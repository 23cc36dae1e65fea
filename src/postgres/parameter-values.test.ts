// Which values PostgreSQL takes, by the rows of its own pg_settings.
import { expect, test } from 'vitest';
import { type ParameterRow, valueProblem } from './parameter-values.ts';

const row = (vartype: string, more: Partial<ParameterRow> = {}): ParameterRow => ({
  ...{ name: 'x', vartype, context: 'user', unit: null, min: null, max: null, words: null },
  ...more,
});
const WORK_MEM = row('integer', { unit: 'kB', min: '64', max: '2147483647' });
const BUFFERS = row('integer', { unit: '8kB', min: '16', max: '1073741823' });
const TIMEOUT = row('integer', { unit: 'ms', min: '0', max: '2147483647' });
const CONNECTIONS = row('integer', { min: '1', max: '262143' });
const COST = row('real', { min: '0', max: '1.79769e+308' });
const DELAY = row('real', { unit: 'ms', min: '-1', max: '100' });
const JIT = row('bool');
const LEVEL = row('enum', { words: ['debug', 'log', 'on', 'off'] });

test.each<[string, ParameterRow]>([
  ['64MB', WORK_MEM],
  ['1.5 GB', WORK_MEM],
  ['4096', WORK_MEM],
  ['128kB', BUFFERS],
  ['1d', TIMEOUT],
  ['250us', TIMEOUT],
  ['200', CONNECTIONS],
  ['0xFF', CONNECTIONS],
  ['1.1', COST],
  ['1e3', COST],
  ['-1', DELAY],
  ['off', JIT],
  ['t', JIT],
  ['LOG', LEVEL],
  ['true', LEVEL],
  ['anything', row('string')],
])('%s is taken', (value, of) => {
  expect(valueProblem('x', value, of)).toBeUndefined();
});

test.each<[string, ParameterRow, RegExp]>([
  [
    '63kB',
    WORK_MEM,
    /a whole number from 64 to 2147483647 in units of kB, or with a unit of B, kB, MB, GB, TB/,
  ],
  ['64mb', WORK_MEM, /or with a unit of/],
  ['5TB', WORK_MEM, /from 64 to/],
  ['120kB', BUFFERS, /from 16 to 1073741823 in units of 8kB/],
  ['10MB', TIMEOUT, /with a unit of us, ms, s, min, h, d/],
  ['many', CONNECTIONS, /expected a whole number from 1 to 262143$/],
  ['200MB', CONNECTIONS, /expected a whole number/],
  ['', CONNECTIONS, /expected a whole number/],
  ['101', DELAY, /expected a number from -1 to 100/],
  ['maybe', JIT, /expected on or off/],
  ['loud', LEVEL, /expected one of debug, log, on, off/],
  ['1', row('integer', { context: 'internal' }), /nobody can set it/],
])('%s is not', (value, of, expected) => {
  expect(valueProblem('x', value, of)).toMatch(expected);
});

test('a parameter that is none is refused, one of an extension is not', () => {
  expect(valueProblem('work_memm', '1', undefined)).toMatch(/no such parameter/);
  expect(valueProblem('auto_explain.log_min_duration', '1', undefined)).toBeUndefined();
});
