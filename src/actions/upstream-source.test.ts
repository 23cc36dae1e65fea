// A standby that streams has its passfile ready for the next time that it has to log in.
import { mkdir, mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { rotatingAccount } from '../postgres/account.ts';
import { removePassfiles, writePassfile } from '../postgres/conninfo.ts';
import { scramVerifier } from '../postgres/sql.ts';
import { FOLLOW, fakeContext } from './testing/context.ts';
import { keepPasswords } from './upstream-source.ts';

test('once the role has the other password the passfile does, and none is made after a cut', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'pg-sentinel-upstream-'));
  const directory = join(folder, 'passfile');
  await mkdir(directory);
  const replication = rotatingAccount('replicator', ['former'], () => ['wanted', 'former']);
  let has = 'former';
  const context = fakeContext({
    dataDirectory: join(folder, 'data'),
    instance: { replication, passfileDirectory: directory },
    query: (text) =>
      text.includes('pg_authid') ? [{ verifier: scramVerifier(has) }] : [{ isUpToDate: true }],
  });
  const keep = (): Promise<void> => keepPasswords(context, FOLLOW, new AbortController().signal);
  const path = await writePassfile({ directory, user: 'replicator', password: 'former', owner: undefined });
  await keep();
  expect(await readFile(path, 'utf8')).toContain(':former\n');
  has = 'wanted';
  await keep();
  expect(await readFile(path, 'utf8')).toContain(':wanted\n');
  await removePassfiles(directory);
  await keep();
  expect(await readdir(directory)).toEqual([]);
  await rm(folder, { recursive: true });
});
