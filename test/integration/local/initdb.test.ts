// A first database that is made as `node.initdb` says: by sentineld at a group's first start, with a standby that is cloned from it and takes over. What
// this host cannot make is refused by everything that would make it, before anything is there.
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findTestPostgres } from '../../../harness/find-postgres.ts';
import { LIMIT_MS, openPlace, pictureOf, runSentineld, type Place } from '../bad-input/place.ts';
import { type Hosts, makeHosts } from './hosts.ts';

let place: Place;
let binDirectory: string;
beforeAll(async () => {
  place = await openPlace();
  const binaries = await findTestPostgres({
    user: place.user,
    privateDirectory: join(place.root, 'programs'),
  });
  binDirectory = binaries.directory;
});
afterAll(() => place.close());

const hostsWith = (initdb: string): Hosts => {
  const more = `  initdb: { ${initdb} }\n`;
  return makeHosts(place, binDirectory, { a: more, b: more });
};

test('a locale that this host lacks is refused by sentineld, --check-config and node create, and nothing is made', async () => {
  const hosts = hostsWith('locale: xx_YY.UTF-8');
  const config = hosts.config('a');
  const before = pictureOf(place.root);
  const problem = `${config}: node.initdb.locale: "xx_YY.UTF-8" is given; expected a locale of this host, as "locale -a" lists them (initdb: invalid locale name "xx_YY.UTF-8")`;
  expect(await runSentineld(config, '--check-config')).toEqual({
    exitCode: 2,
    stdout: `error: ${problem}\n`,
    stderr: '',
  });
  expect(await runSentineld(config)).toEqual({ exitCode: 2, stdout: '', stderr: `sentineld: ${problem}\n` });
  for (const options of [['--dry-run'], []]) {
    const { exitCode, stdout, stderr } = await hosts.ctl('a', 'node', 'create', '--first', ...options);
    expect([exitCode, stdout, stderr.includes(problem)]).toEqual([1, '', true]);
  }
  expect(pictureOf(place.root)).toEqual(before);
});

test(
  'the first start makes it so, and the standby that takes over has it all',
  { timeout: 6 * LIMIT_MS },
  async () => {
    const hosts = hostsWith('lc_ctype: C.UTF-8, wal_segment_size_mb: 4, data_checksums: false');
    const dry = await hosts.ctl('a', 'node', 'create', '--first', '--dry-run');
    expect(dry.stdout).toContain(
      ', with locale C, lc_ctype C.UTF-8, encoding UTF8, no data checksums, WAL segments of 4 MB',
    );
    expect(dry.exitCode).toBe(0);
    for (const peer of ['a', 'b', 'c'] as const) hosts.start(peer);
    const first = await Promise.any([hosts.waitFor('pg1', 'running'), hosts.waitFor('pg2', 'running')]);
    expect(first.role).toBe('primary');
    const peerOf = { pg1: 'a', pg2: 'b' } as const;
    const primary = first.node === 'pg1' ? 'pg1' : 'pg2';
    const standby = primary === 'pg1' ? 'pg2' : 'pg1';
    await hosts.waitFor(standby, 'streaming');
    await hosts.sql(peerOf[primary], 'create table public.kept as select generate_series(1, 100000) as id');
    const moved = await hosts.ctl('a', 'failover', 'main', '--to', standby, '--yes', '--timeout', '60s');
    expect(moved, moved.stderr).toMatchObject({ exitCode: 0 });
    await hosts.waitFor(standby, 'running');
    await hosts.waitFor(primary, 'streaming');
    expect(
      await hosts.sql(
        peerOf[standby],
        `select concat_ws(' ', datcollate, datctype, pg_encoding_to_char(encoding), current_setting('wal_segment_size'),
           current_setting('data_checksums'), (select count(*) from public.kept), upper('ä')) from pg_database where datname = 'postgres'`,
      ),
    ).toBe('C C.UTF-8 UTF8 4MB off 100000 Ä');
  },
);
