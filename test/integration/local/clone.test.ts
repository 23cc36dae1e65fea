// `sentinelctl node clone` on a host whose sentineld has not been started: with a tablespace, the WAL and a configuration file elsewhere; killed
// half-way and run again; sentineld takes the copy and follows.
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { appendFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { findPsql } from '../../../harness/client-program.ts';
import { findTestPostgres } from '../../../harness/find-postgres.ts';
import { until } from '../../../src/base/clock.ts';
import { giveTo } from '../../../src/postgres/os-user.ts';
import { makeDirectory } from '../../../src/postgres/own-directories.ts';
import { LIMIT_MS, openPlace, pictureOf, type Place, type Running } from '../bad-input/place.ts';
import { type Hosts, begin, besides, killWhen, makeHosts } from './hosts.ts';

let place: Place;
let hosts: Hosts;
let hasTools = false;
let external: string;
beforeAll(async () => {
  place = await openPlace();
  const binaries = await findTestPostgres({
    user: place.user,
    privateDirectory: join(place.root, 'programs'),
  });
  hasTools = findPsql(binaries.directory) !== undefined && binaries.has.pgBasebackup;
  if (!hasTools) return;
  hosts = makeHosts(place, binaries.directory);
  const made = await hosts.ctl('a', 'node', 'create', '--first');
  if (made.exitCode !== 0) throw new Error(made.stderr);
  hosts.start('a');
  hosts.start('c');
  await hosts.waitFor('pg1', 'running');
  const space = join(place.root, 'a', 'space');
  await makeDirectory(place.user, space);
  await hosts.sql('a', `create tablespace fast location '${space}'`);
  await hosts.sql('a', 'create table kept tablespace fast as select generate_series(1, 20000) as id');
  // On this host it is the same path; moved away while b is looked at.
  external = join(place.root, 'etc', 'own.conf');
  mkdirSync(dirname(external));
  await giveTo(place.user, dirname(external));
  writeFileSync(external, "lock_timeout = '77s'\n");
  await giveTo(place.user, external);
}, 4 * LIMIT_MS);
afterAll(() => place.close());

const inSpace = (): string[] => {
  const space = join(place.root, 'b', 'fast');
  return existsSync(space) ? readdirSync(space) : [];
};
const inWal = (): string[] => {
  const wal = join(place.root, 'b', 'wal');
  return existsSync(wal) ? readdirSync(wal) : [];
};
const refusedWith = (stderr: RegExp) => ({
  exitCode: 1,
  stdout: '',
  stderr: expect.stringMatching(stderr) as unknown,
});
const elsewhere = (): string[] => [
  '--wal-directory',
  join(place.root, 'b', 'wal'),
  '--tablespace-mapping',
  `fast=${join(place.root, 'b', 'fast')}`,
];

describe('on a host that has nothing', () => {
  test('what cannot be done is said, and nothing is changed', { timeout: 2 * LIMIT_MS }, async ({ skip }) => {
    if (!hasTools) skip('PostgreSQL without psql or pg_basebackup');
    const before = pictureOf(join(place.root, 'b'));
    expect(await hosts.ctl('b', 'node', 'create', '--first')).toEqual(
      refusedWith(/group main has a database, its primary is pg1: a second one would be another database/),
    );
    expect(await hosts.ctl('b', 'node', 'clone', '--from', 'pg7')).toEqual(
      refusedWith(/--from pg7: there is no such node; expected one of pg1/),
    );
    expect(await hosts.ctl('b', 'node', 'clone', '--tablespace-mapping', 'slow=/slow')).toEqual(
      refusedWith(/pg1 has no such tablespace; expected one of fast/),
    );
    const dry = await hosts.ctl('b', 'node', 'clone', '--dry-run', ...elsewhere());
    expect(dry.stdout).toMatch(
      /then: pg_basebackup copies \d+ MB from pg1 at .*; tablespace fast goes from .*; its WAL goes below/,
    );
    expect(pictureOf(join(place.root, 'b'))).toEqual(before);
  });

  test(
    'killed while it copies, then run again: nothing of the first is left, and the program that copied is gone',
    { timeout: 4 * LIMIT_MS },
    async ({ skip }) => {
      if (!hasTools) skip('PostgreSQL without psql or pg_basebackup');
      const data = hosts.data('b');
      const child = begin(
        'node',
        'clone',
        '--config',
        hosts.config('b'),
        '--max-rate',
        '32kB',
        ...elsewhere(),
      );
      await killWhen(child, 'the tablespace to be filled', () =>
        inSpace().some((name) => readdirSync(join(place.root, 'b', 'fast', name)).length > 0),
      );
      const [half = ''] = besides(data).filter((name) => /\.clone-[0-9a-f]{8}$/.test(name));
      expect(copiersOf(join(dirname(data), half)).length).toBeGreaterThan(0);
      expect(existsSync(data)).toBe(false);
      expect(inSpace()).toHaveLength(1);

      // By a configuration that includes a file from elsewhere.
      await appendFile(join(hosts.data('a'), 'postgresql.conf'), `include '${external}'\n`);
      const text = readFileSync(external, 'utf8');
      rmSync(external);
      expect(await hosts.ctl('b', 'node', 'clone', ...elsewhere())).toEqual(
        refusedWith(/the configuration of pg1 includes .*own.conf, which is not on this host/),
      );
      writeFileSync(external, text);
      await giveTo(place.user, external);
      expect(
        await hosts.ctl('b', 'node', 'clone', ...elsewhere(), '--copy-external-config=data-directory'),
      ).toEqual(
        refusedWith(/own.conf of pg1 cannot be read .* grant pg_read_server_files to sentinel_replication/),
      );
      await hosts.sql('a', 'grant pg_read_server_files to sentinel_replication');
      const made = await hosts.ctl(
        'b',
        'node',
        'clone',
        ...elsewhere(),
        '--copy-external-config=data-directory',
      );
      expect([made.exitCode, made.stderr]).toEqual([0, expect.stringContaining('node" in')]);
      expect(made.stdout).toMatch(
        /is a copy of pg1, made in .*: the data directory of pg2 from now on\nnext: /,
      );
      expect(copiersOf(join(dirname(data), half))).toEqual([]);
      expect(besides(data)).toEqual([]);
      expect([inSpace(), inWal()]).toEqual([
        [expect.stringMatching(/^pg_sentinel-/)],
        [expect.stringMatching(/^pg_sentinel-/)],
      ]);
      expect(readlinkSync(join(data, 'pg_wal'))).toBe(join(place.root, 'b', 'wal', inWal()[0] ?? ''));
      expect(readFileSync(join(data, 'postgresql.conf'), 'utf8')).toContain(
        "include 'pg_sentinel_external/0-own.conf'",
      );
      expect(existsSync(join(data, 'pg_sentinel_external/0-own.conf'))).toBe(true);
    },
  );

  test(
    'sentineld takes it and follows, without a clone of its own',
    { timeout: 4 * LIMIT_MS },
    async ({ skip }) => {
      if (!hasTools) skip('PostgreSQL without psql or pg_basebackup');
      const file = join(hosts.data('b'), 'pg_sentinel_member.json');
      const { memberId } = JSON.parse(readFileSync(file, 'utf8')) as { memberId: string };
      const again = await hosts.ctl('b', 'node', 'clone', ...elsewhere());
      expect(again.stdout).toContain('nothing to do');
      const running: Running = hosts.start('b');
      expect(await hosts.waitFor('pg2', 'streaming')).toMatchObject({ member: memberId, role: 'standby' });
      expect(running.output()).not.toContain('cloning');
      await until(
        { what: 'the rows', timeoutMs: LIMIT_MS, everyMs: 50 },
        async () => (await hosts.sql('b', 'select count(*) from kept')) === '20000',
      );
      expect(await hosts.sql('b', `select current_setting('lock_timeout')`)).toBe('77s');
    },
  );
});

/** Processes that fill that directory. */
function copiersOf(directory: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(`--pgdata=${directory}`);
    } catch {
      return false;
    }
  });
}
