// `sentinelctl node clone` where PostgreSQL comes without pg_basebackup: the same by the server's replication protocol, with its rate limit and its
// progress; with the WAL and a tablespace elsewhere; killed and run again; sentineld takes the copy and follows. Each step of it is killed
// in halfway/local-tables.ts.
import { createHash } from 'node:crypto';
import { existsSync, lstatSync, readFileSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findPsql } from '../../../harness/client-program.ts';
import { findTestPostgres } from '../../../harness/find-postgres.ts';
import { until } from '../../../src/base/clock.ts';
import { makeDirectory } from '../../../src/postgres/own-directories.ts';
import { LIMIT_MS, openPlace, type Place } from '../bad-input/place.ts';
import { type Hosts, begin, besides, killWhen, makeHosts, programsWithout } from './hosts.ts';

const NO_PSQL = 'PostgreSQL without psql';
const RATE_BYTES = 4 << 20;

let place: Place;
let hosts: Hosts;
let hasPsql = false;
beforeAll(async () => {
  place = await openPlace();
  const found = await findTestPostgres({
    user: place.user,
    privateDirectory: join(place.root, 'programs'),
  });
  hasPsql = findPsql(found.directory) !== undefined;
  if (!hasPsql) return;
  const { directory, has } = await programsWithout(place, found, 'pg_basebackup');
  if (has.pgBasebackup) throw new Error(`there is a pg_basebackup in ${directory}`);
  hosts = makeHosts(place, directory);
  const made = await hosts.ctl('a', 'node', 'create', '--first');
  if (made.exitCode !== 0) throw new Error(made.stderr);
  hosts.start('a');
  hosts.start('c');
  await hosts.waitFor('pg1', 'running');
  await hosts.sql('a', 'create table kept as select generate_series(1, 20000) as id');
  await hosts.sql('a', 'vacuum (freeze, analyze) kept');
}, 4 * LIMIT_MS);
afterAll(() => place.close());

const at = (...names: string[]): string => join(place.root, 'b', ...names);

/** All but the configuration is taken away. */
function emptyHost(): void {
  for (const name of readdirSync(at())) if (name !== 'sentineld.yaml') rmSync(at(name), { recursive: true });
}

async function hashesOfTable(table: string): Promise<readonly string[]> {
  await hosts.sql('a', 'checkpoint');
  const path = await hosts.sql('a', `select pg_relation_filepath('${table}')`);
  return (['a', 'b'] as const).map((peer) =>
    createHash('sha256')
      .update(readFileSync(join(hosts.data(peer), path)))
      .digest('hex'),
  );
}

/** Paths below (and with) the directory that are not PostgreSQL's user's. */
function notOurs(path: string): string[] {
  const { uid, gid } = lstatSync(path);
  return [
    ...(uid === place.user.uid && gid === place.user.gid ? [] : [path]),
    ...(lstatSync(path).isDirectory() ? readdirSync(path) : []).flatMap((name) => notOurs(join(path, name))),
  ];
}

test(
  'no faster than it may, and says how far it is; the copy is that of its source',
  { timeout: 4 * LIMIT_MS },
  async ({ skip }) => {
    if (!hasPsql) skip(NO_PSQL);
    const dry = await hosts.ctl('b', 'node', 'clone', '--dry-run');
    expect(dry.stdout).toMatch(/then: the replication protocol copies \d+ MB from pg1 at /);
    expect(existsSync(at('data'))).toBe(false);

    const startedMs = performance.now();
    const made = await hosts.ctl('b', 'node', 'clone', '--max-rate', `${RATE_BYTES >> 20}MB`);
    const tookMs = performance.now() - startedMs;
    expect(made.exitCode, made.stderr).toBe(0);
    expect(made.stderr).toMatch(/the replication protocol copies \d+ MB .*, at most 4 MB\/s/);
    expect(made.stdout).toMatch(
      /is a copy of pg1, made in .*: the data directory of pg2 from now on\nnext: /,
    );
    const said = [...made.stderr.matchAll(/^(\d+) %, (\S+ \S+) of /gm)].map(([, percent]) => Number(percent));
    expect(said.length).toBeGreaterThan(1);
    expect(said).toEqual(said.toSorted((one, other) => one - other));
    expect(said.at(-1)).toBeGreaterThan(10);

    const [there, here] = await hashesOfTable('kept');
    expect(here).toBe(there);
    expect(notOurs(at('data'))).toEqual([]);
    expect(lstatSync(at('data', 'pg_wal')).isDirectory()).toBe(true);
    const sizes = readdirSync(at('data', 'pg_wal')).map((name) => lstatSync(at('data', 'pg_wal', name)).size);
    // The server holds it back: it cannot have been faster, however fast the machine is.
    expect(tookMs).toBeGreaterThan((sizes.reduce((sum, size) => sum + size, 0) * 1000) / RATE_BYTES / 2);
    expect(await hosts.sql('a', 'select count(*) from pg_replication_slots')).toBe('0');
    const again = await hosts.ctl('b', 'node', 'clone');
    expect(again.stdout).toContain('nothing to do');
  },
);

test(
  'with a tablespace and the WAL elsewhere, killed while it copies, then run again: nothing of the first is left',
  { timeout: 4 * LIMIT_MS },
  async ({ skip }) => {
    if (!hasPsql) skip(NO_PSQL);
    emptyHost();
    const space = join(place.root, 'a', 'space');
    await makeDirectory(place.user, space);
    await hosts.sql('a', `create tablespace fast location '${space}'`);
    await hosts.sql('a', 'create table lots tablespace fast as select generate_series(1, 20000) as id');
    await hosts.sql('a', 'vacuum (freeze, analyze) lots');
    const elsewhere = ['--wal-directory', at('wal'), '--tablespace-mapping', `fast=${at('fast')}`];
    const child = begin('node', 'clone', '--config', hosts.config('b'), '--max-rate', '1MB', ...elsewhere);
    // A tablespace comes first: the copy of the database has begun.
    await killWhen(child, 'the copy to be under way', () =>
      besides(hosts.data('b')).some((name) => existsSync(at(name, 'base', '1'))),
    );
    expect(readdirSync(at('fast'))).toHaveLength(1);
    expect(existsSync(at('data'))).toBe(false);

    const made = await hosts.ctl('b', 'node', 'clone', ...elsewhere);
    expect([made.exitCode, made.stderr]).toEqual([0, expect.stringContaining('node" in')]);
    expect(besides(hosts.data('b'))).toEqual([]);
    const one = [expect.stringMatching(/^pg_sentinel-/)];
    expect([readdirSync(at('fast')), readdirSync(at('wal'))]).toEqual([one, one]);
    const wal = at('wal', readdirSync(at('wal'))[0] ?? '');
    expect(readlinkSync(at('data', 'pg_wal'))).toBe(wal);
    expect(readdirSync(wal)).toContainEqual(expect.stringMatching(/^[0-9A-F]{24}$/));
    expect(
      readdirSync(at('data', 'pg_tblspc')).map((name) => readlinkSync(at('data', 'pg_tblspc', name))),
    ).toEqual([at('fast', readdirSync(at('fast'))[0] ?? '')]);
    expect([at('data'), at('fast'), at('wal')].flatMap(notOurs)).toEqual([]);
    const [there, here] = await hashesOfTable('lots');
    expect(here).toBe(there);
    // The connection of the one that was killed has gone, and with it what it had the source keep.
    await until(
      { what: 'no slot of a clone to be left', timeoutMs: LIMIT_MS, everyMs: 50 },
      async () => (await hosts.sql('a', 'select count(*) from pg_replication_slots')) === '0',
    );
  },
);

test(
  'sentineld takes it and follows, without a clone of its own',
  { timeout: 4 * LIMIT_MS },
  async ({ skip }) => {
    if (!hasPsql) skip(NO_PSQL);
    const file = join(hosts.data('b'), 'pg_sentinel_member.json');
    const { memberId } = JSON.parse(readFileSync(file, 'utf8')) as { memberId: string };
    const running = hosts.start('b');
    expect(await hosts.waitFor('pg2', 'streaming')).toMatchObject({ member: memberId, role: 'standby' });
    expect(running.output()).not.toContain('cloning');
    await hosts.sql('a', 'insert into lots values (0)');
    await until(
      { what: 'the rows', timeoutMs: LIMIT_MS, everyMs: 50 },
      async () => (await hosts.sql('b', 'select count(*) from lots')) === '20001',
    );
    expect(dirname(readlinkSync(join(hosts.data('b'), 'pg_wal')))).toBe(at('wal'));
  },
);
