import { expect, test } from 'vitest';
import { addressToRegister } from './registered-address.ts';

const OLD = { host: '10.0.0.2', port: 5432 };
const NEW = { host: '10.0.1.2', port: 5432 };
const NAME = { host: 'pg2.example', port: 5432 };

test.each([
  ['a node that nobody knows yet', NEW, undefined, { listenAddress: '10.0.0.2', port: 5432 }, NEW],
  ['PostgreSQL that does not run starts at the new one', NEW, OLD, undefined, NEW],
  [
    'one that listens at the old one is still there',
    NEW,
    OLD,
    { listenAddress: '10.0.0.2', port: 5432 },
    OLD,
  ],
  ['one that was started again is at the new one', NEW, OLD, { listenAddress: '10.0.1.2', port: 5432 }, NEW],
  ['one that listens everywhere is there already', NEW, NAME, { listenAddress: '*', port: 5432 }, NEW],
  ['a name is waited for', NAME, OLD, { listenAddress: '10.0.0.2', port: 5432 }, OLD],
  ['a name is listened for everywhere', NAME, OLD, { listenAddress: '*', port: 5432 }, NAME],
  ['another port', { ...OLD, port: 5433 }, OLD, { listenAddress: '*', port: 5432 }, OLD],
  ['nothing is said yet', NEW, OLD, { listenAddress: undefined, port: undefined }, OLD],
])('%s', (_what, configured, registered, postmaster, expected) => {
  expect(addressToRegister(configured, registered, postmaster)).toEqual(expected);
});
