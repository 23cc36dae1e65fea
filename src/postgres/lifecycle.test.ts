import { expect, test } from 'vitest';
import { essence } from './lifecycle.ts';

test('of a server that did not start, errors and hints are kept, without times and process ids', () => {
  const log = [
    '2026-11-21 05:36:38.349 UTC [28628] LOG:  starting PostgreSQL 15.18 on x86_64-pc-linux-gnu',
    '2026-11-21 05:36:38.349 UTC [28628] LOG:  could not bind IPv4 address "127.0.0.1": Address already in use',
    '2026-11-21 05:36:38.349 UTC [28628] HINT:  Is another postmaster already running on port 5432?',
    '2026-11-21 05:36:38.349 UTC [28628] FATAL:  could not create any TCP/IP sockets',
    '2026-11-21 05:36:38.357 UTC [28628] LOG:  database system is shut down',
  ].join('\n');
  expect(essence(log)).toBe(
    'could not bind IPv4 address "127.0.0.1": Address already in use; Is another postmaster already running on port 5432?; could not create any TCP/IP sockets',
  );
});

test('a text of another kind is kept as it is', () => {
  expect(essence('postgres: error while loading shared libraries: libicu.so')).toBe(
    'postgres: error while loading shared libraries: libicu.so',
  );
});
