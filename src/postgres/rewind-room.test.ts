// What lies in the places of tablespaces that pg_rewind would remove, overwrite or bring along: the rewind is not begun then.
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type pg from 'pg';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { SHUT_DOWN, writeControl } from './testing/control-file.ts';
import { TakenPlaceError, checkRewindTablespaces } from './rewind-room.ts';

const OWN = 'PG_15_202209061';

let folder: string;
let dataDirectory: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pg-sentinel-rewind-room-'));
  dataDirectory = join(folder, 'data');
  await mkdir(join(dataDirectory, 'pg_tblspc'), { recursive: true });
  await writeFile(join(dataDirectory, 'PG_VERSION'), '15\n');
  await writeControl(dataDirectory, SHUT_DOWN);
  await mkdir(join(folder, 'space', OWN), { recursive: true });
  await symlink(join(folder, 'space'), join(dataDirectory, 'pg_tblspc', '16400'));
});
afterEach(() => rm(folder, { recursive: true }));

/** A source with the tablespace 16400 elsewhere, and what more it holds there; `forbidden`: its role may not look. */
function check(strangers: readonly string[] | 'forbidden' = []): Promise<void> {
  const query = (text: string, values?: readonly unknown[]): Promise<{ rows: unknown[] }> => {
    if (!text.includes('pg_ls_dir')) return Promise.resolve({ rows: [{ oid: '16400', location: '/there' }] });
    expect(values).toEqual([OWN]);
    if (strangers === 'forbidden') return Promise.reject(Object.assign(new Error('no'), { code: '42501' }));
    return Promise.resolve({ rows: strangers.map((name) => ({ location: '/there', name })) });
  };
  return checkRewindTablespaces({ client: { query } as unknown as pg.Client, dataDirectory });
}

test('nothing stands against a rewind where each place holds what is its own', async () => {
  await check();
  await check('forbidden');
});

test('refused where another version has its data in one of the places', async () => {
  await mkdir(join(folder, 'space', 'PG_17_202406281'));
  const refused = check();
  await expect(refused).rejects.toThrow(TakenPlaceError);
  await expect(refused).rejects.toThrow(
    /its tablespace at \S+\/space holds more than PG_15_202209061, which pg_rewind would remove \(PG_17_202406281\); move it away/,
  );
});

test('refused where anything else is there; of many a few are said', async () => {
  for (const name of ['a', 'b', 'c', 'd', 'e']) await writeFile(join(folder, 'space', name), '');
  await expect(check()).rejects.toThrow(/\(a, b, c and 2 more\)/);
});

test('refused where the source has such, which would be copied', async () => {
  const refused = check(['PG_14_202107181', 'lost+found']);
  await expect(refused).rejects.toThrow(TakenPlaceError);
  await expect(refused).rejects.toThrow(
    /the source's tablespace at \/there holds more than PG_15_202209061, which pg_rewind would copy \(PG_14_202107181, lost\+found\)/,
  );
});
