// `sentinelctl node create` on a host whose sentineld has not been started: by initdb, of a directory that somebody else has made, after a kill, and
// what it refuses. Then sentineld starts, and the node is the primary.
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { findPsql, psqlOf } from '../../../harness/client-program.ts';
import { findTestPostgres } from '../../../harness/find-postgres.ts';
import { lockDirectory } from '../../../src/actions/directory-lock.ts';
import { type Binaries } from '../../../src/postgres/binaries.ts';
import { giveTo, runProgram } from '../../../src/postgres/os-user.ts';
import { LIMIT_MS, makeDatabase, openPlace, pictureOf, type Place } from '../bad-input/place.ts';
import { type Hosts, begin, besides, killWhen, makeHosts } from './hosts.ts';

let place: Place;
let binaries: Binaries;
let hosts: Hosts;
beforeEach(async () => {
  place = await openPlace();
  binaries = await findTestPostgres({ user: place.user, privateDirectory: join(place.root, 'programs') });
  hosts = makeHosts(place, binaries.directory, { a: `  wal_directory: ${place.root}/wal\n` });
});
afterEach(() => place.close());

const refusedWith = (stderr: string | RegExp, exitCode = 1) => ({
  exitCode,
  stdout: '',
  stderr: expect.stringMatching(stderr) as unknown,
});

test(
  'initdb, with the WAL elsewhere; killed at work and run again; sentineld makes it the primary',
  { timeout: 4 * LIMIT_MS },
  async () => {
    const data = hosts.data('a');
    const untouched = pictureOf(dirname(data));
    expect(await hosts.ctl('a', 'node', 'create')).toEqual(
      refusedWith(
        /whether group main has a database already cannot be told: no peer answered.*give --first/,
        3,
      ),
    );
    const dry = await hosts.ctl('a', 'node', 'create', '--first', '--dry-run');
    expect([dry.exitCode, dry.stdout]).toEqual([
      0,
      expect.stringMatching(
        /^done: it could be done, nothing was changed; then: initdb of PostgreSQL \d+ makes/,
      ),
    ]);
    expect(pictureOf(dirname(data))).toEqual(untouched);
    const child = begin('node', 'create', '--first', '--config', hosts.config('a'), '--timeout', '1s');
    await killWhen(child, 'initdb to be at work', () =>
      besides(data).some((name) => existsSync(join(dirname(data), name, 'PG_VERSION'))),
    );
    expect(existsSync(data)).toBe(false);
    const made = await hosts.ctl('a', 'node', 'create', '--first');
    expect([made.exitCode, made.stderr]).toEqual([0, expect.stringContaining('going on by your word')]);
    expect(made.stdout).toMatch(
      /is the first data directory of group main \(node pg1, PostgreSQL \d+, system identifier \d+\)\nnext: /,
    );
    expect(besides(data)).toEqual([]);
    expect(existsSync(join(place.root, 'wal'))).toBe(true);
    const again = await hosts.ctl('a', 'node', 'create');
    expect([again.exitCode, again.stdout]).toEqual([0, expect.stringContaining('nothing to do')]);
    const { memberId } = JSON.parse(readFileSync(join(data, 'pg_sentinel_member.json'), 'utf8')) as {
      memberId: string;
    };
    // pg2 has the same priority and no data.
    for (const peer of ['a', 'b', 'c'] as const) hosts.start(peer);
    expect(await hosts.waitFor('pg1', 'running')).toMatchObject({ role: 'primary', member: memberId });
    await hosts.waitFor('pg2', 'streaming');
    expect(await hosts.ctl('b', 'node', 'clone')).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining('nothing to do') as unknown,
    });
  },
);

describe('a directory that somebody else has made', () => {
  const run = (program: string, ...args: string[]) =>
    runProgram({
      user: place.user,
      program: program === 'psql' ? psqlOf(binaries.directory) : join(binaries.directory, program),
      arguments: args,
      cwd: '/',
      timeoutMs: LIMIT_MS,
    });
  const ok = async (program: string, ...args: string[]): Promise<void> => {
    const { exitCode, output } = await run(program, ...args);
    expect(exitCode, output).toBe(0);
  };
  /** With its configuration elsewhere, as Debian has it; left running. */
  async function makeServer(): Promise<{ data: string; etc: string; stop(): Promise<void> }> {
    const data = hosts.data('a');
    await makeDatabase(place, binaries, data);
    const etc = join(place.root, 'a', 'etc');
    mkdirSync(join(etc, 'conf.d'), { recursive: true });
    const files = {
      'postgresql.conf': `hba_file = '${etc}/pg_hba.conf'\nident_file = '${etc}/pg_ident.conf'\nport = ${place.ports[6]}\nlisten_addresses = ''\nunix_socket_directories = '${etc}'\ninclude_dir 'conf.d'\nwork_mem = 7MB\n`,
      'conf.d/10-own.conf': "lock_timeout = '77s'\nwork_mem = 6MB\n",
      'pg_hba.conf':
        'local all all trust\nhost postgres keeper 127.0.0.1/32 trust\nhost replication hand 127.0.0.1/32 trust\n',
      'pg_ident.conf': 'admin somebody keeper\n',
    };
    for (const [name, text] of Object.entries(files)) writeFileSync(join(etc, name), text, { mode: 0o644 });
    await giveTo(place.user, etc);
    rmSync(join(data, 'postgresql.conf'));
    await ok(
      'pg_ctl',
      'start',
      '-w',
      '-D',
      data,
      '-o',
      `-c config_file=${etc}/postgresql.conf`,
      '-l',
      join(etc, 'log'),
    );
    return { data, etc, stop: () => ok('pg_ctl', 'stop', '-w', '-m', 'fast', '-D', data) };
  }

  test(
    'is taken with its settings and rules, once it was stopped cleanly',
    { timeout: 4 * LIMIT_MS },
    async ({ skip }) => {
      if (findPsql(binaries.directory) === undefined) skip('PostgreSQL without psql');
      const { data, etc, stop } = await makeServer();
      const create = ['node', 'create', '--first'];
      await ok(
        'psql',
        '-X',
        '-h',
        etc,
        '-p',
        String(place.ports[6]),
        '-U',
        'postgres',
        '-d',
        'postgres',
        '-c',
        'create table kept as select 42 as id',
      );
      expect(await hosts.ctl('a', ...create)).toEqual(
        refusedWith(/PostgreSQL runs in .*: stop it first; sentinelctl adopt takes over/),
      );
      await stop();
      const before = pictureOf(data);
      await hosts.ctl('a', ...create, '--dry-run');
      expect(pictureOf(data)).toEqual(before);
      const made = await hosts.ctl('a', ...create);
      expect([made.exitCode, made.stderr]).toEqual([
        0,
        expect.stringMatching(/2 lines of .*pg_hba.conf are kept/),
      ]);
      hosts.start('a');
      hosts.start('c');
      await hosts.waitFor('pg1', 'running');
      expect(await hosts.sql('a', 'select id from kept')).toBe('42');
      expect(
        await hosts.sql('a', `select current_setting('work_mem') || ' ' || current_setting('lock_timeout')`),
      ).toBe('7MB 77s');
      expect(readFileSync(join(data, 'pg_hba.conf'), 'utf8')).toContain(
        'host postgres keeper 127.0.0.1/32 trust',
      );
      expect(readFileSync(join(data, 'pg_ident.conf'), 'utf8')).toContain('admin somebody keeper');
    },
  );

  test(
    'is refused where PostgreSQL has not left it cleanly, or it is a copy',
    { timeout: 4 * LIMIT_MS },
    async () => {
      const data = hosts.data('a');
      await makeDatabase(place, binaries, data);
      const create = ['node', 'create', '--first'];
      const expectRefused = async (text: RegExp): Promise<void> => {
        const before = pictureOf(join(place.root, 'a'));
        expect(await hosts.ctl('a', ...create)).toEqual(refusedWith(text));
        expect(pictureOf(join(place.root, 'a'))).toEqual(before);
      };
      for (const [name, text] of [
        ['backup_label', /holds backup_label: it is a copy of a server that ran/],
        ['standby.signal', /is a standby's \(it holds standby.signal\)/],
        ['pg_sentinel_member.json', /pg_sentinel_member.json cannot be read: it belongs to another cluster/],
      ] as const) {
        writeFileSync(join(data, name), '');
        await expectRefused(text);
        rmSync(join(data, name));
      }
      writeFileSync(join(data, 'pg_sentinel.conf'), "cluster_name = 'other'\n");
      await expectRefused(/belongs to cluster other of pg-sentinel, by its pg_sentinel.conf/);
      rmSync(join(data, 'pg_sentinel.conf'));
      await rename(join(data, 'PG_VERSION'), join(data, 'else'));
      await expectRefused(/holds files \(base, else, global\) but no PostgreSQL/);
      await rename(join(data, 'else'), join(data, 'PG_VERSION'));
      const log = join(place.root, 'log');
      writeFileSync(log, '');
      await giveTo(place.user, log);
      await ok('pg_ctl', 'start', '-w', '-D', data, '-o', `-c listen_addresses='' -k ${data}`, '-l', log);
      await ok('pg_ctl', 'stop', '-w', '-m', 'immediate', '-D', data);
      await expectRefused(/was not shut down cleanly \(it was "in production"\)/);
    },
  );
});

describe('bad input', () => {
  test.each([
    [
      'a configuration that is not there',
      ['node', 'create', '--config', '/nonexistent'],
      /cannot read the configuration/,
    ],
    ['a rate without a unit', ['node', 'clone', '--max-rate', '50'], /--max-rate 50: expected a size/],
    ['a mapping without its end', ['node', 'clone', '--tablespace-mapping', 'fast'], /Expected OLD=NEW/],
    ['a relative WAL directory', ['node', 'clone', '--wal-directory', 'wal'], /Expected an absolute path/],
    [
      'a kind of copies that is none',
      ['node', 'clone', '--copy-external-config=home'],
      /Allowed choices are same-path, data-directory/,
    ],
  ])('%s', { timeout: LIMIT_MS }, async (_, args, text) => {
    const before = pictureOf(place.root);
    const given = args.includes('--config') ? [...args] : [...args, '--config', hosts.config('a')];
    const { runSentinelctl } = await import('../bad-input/place.ts');
    expect(await runSentinelctl(...given)).toEqual(refusedWith(text, 2));
    expect(pictureOf(place.root)).toEqual(before);
  });

  test('another process at work, a witness, a peer that joins', { timeout: LIMIT_MS }, async () => {
    mkdirSync(join(place.root, 'a', 'state'));
    const lock = await lockDirectory(join(place.root, 'a', 'state', 'local'), 'somebody else');
    if (lock.kind !== 'held') throw new Error('it is held');
    expect(await hosts.ctl('a', 'node', 'create', '--first')).toEqual(
      refusedWith(new RegExp(`somebody else, process ${process.pid} works on .*: wait until it has ended`)),
    );
    lock.release();
    const { runSentinelctl } = await import('../bad-input/place.ts');
    expect(await runSentinelctl('node', 'clone', '--config', hosts.config('c'))).toEqual(
      refusedWith(/has no "node": a witness has no data directory/, 2),
    );
    const joining = readFileSync(hosts.config('b'), 'utf8');
    writeFileSync(hosts.config('b'), `join: true\n${joining}`);
    expect(await hosts.ctl('b', 'node', 'create', '--first')).toEqual(refusedWith(/has "join: true"/, 2));
  });
});
