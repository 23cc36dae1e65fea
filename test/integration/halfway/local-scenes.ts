// Hosts on which `sentinelctl node create` and `node clone` are broken off: nothing there, a server's directory that somebody else has made, and
// a standby's host beside a primary that has a tablespace and a configuration file elsewhere.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect } from 'vitest';
import { findPsql } from '../../../harness/client-program.ts';
import { findTestPostgres } from '../../../harness/find-postgres.ts';
import type { Binaries } from '../../../src/postgres/binaries.ts';
import { readControlData } from '../../../src/postgres/control-data.ts';
import { giveTo, runProgram } from '../../../src/postgres/os-user.ts';
import { makeDirectory } from '../../../src/postgres/own-directories.ts';
import { makeDatabase, openPlace, type Place } from '../bad-input/place.ts';
import { makeHosts, programsWithout, type Hosts } from '../local/hosts.ts';
import { LIMIT_MS, type LocalScene } from './local-table.ts';

interface Opened {
  readonly place: Place;
  readonly binaries: Binaries;
  readonly hosts: Hosts;
}

/** Opens a scene on hosts that have nothing yet; what it throws ends all that runs on them. */
async function open(
  prepare: (opened: Opened) => Promise<LocalScene | undefined>,
  {
    more = () => ({}),
    programs = (_place, found) => Promise.resolve(found),
  }: {
    readonly more?: (root: string) => Parameters<typeof makeHosts>[2];
    /** What is left of those that were found. */
    readonly programs?: (place: Place, found: Binaries) => Promise<Binaries>;
  } = {},
): Promise<(LocalScene & AsyncDisposable) | undefined> {
  const place = await openPlace();
  const close = (): Promise<void> => place.close();
  try {
    const found = await findTestPostgres({
      user: place.user,
      privateDirectory: join(place.root, 'programs'),
    });
    const binaries = await programs(place, found);
    const hosts = makeHosts(place, binaries.directory, more(place.root));
    const scene = await prepare({ place, binaries, hosts });
    if (scene !== undefined) return { ...scene, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
  await close();
  return undefined;
}

/** On a host that has nothing. */
export const openCreateScene = () =>
  open(createScene, { more: (root) => ({ a: `  wal_directory: ${root}/a/wal\n` }) });

/** On a host with a directory that somebody else has made, whose configuration is elsewhere, as Debian has it. */
export const openTakeScene = () => open(takeScene);

/** Undefined where PostgreSQL's tools are missing. */
export const openCloneScene = () =>
  open((opened) => (opened.binaries.has.pgBasebackup ? cloneScene(opened) : Promise.resolve(undefined)));

/** The same without pg_basebackup. */
export const openProtocolScene = () =>
  open(cloneScene, { programs: (place, found) => programsWithout(place, found, 'pg_basebackup') });

/** All but the configuration is taken away. */
function empty({ hosts }: Opened, peer: 'a' | 'b'): void {
  const directory = dirname(hosts.config(peer));
  for (const name of readdirSync(directory))
    if (name !== 'sentineld.yaml') rmSync(join(directory, name), { recursive: true });
}

/** With owners and times. */
const copy = (from: string, to: string): void => void execFileSync('cp', ['-a', from, to]);

async function run({ place, binaries }: Opened, program: string, ...args: string[]): Promise<string> {
  const { exitCode, output } = await runProgram({
    user: place.user,
    program: join(binaries.directory, program),
    arguments: args,
    cwd: '/',
    timeoutMs: LIMIT_MS,
  });
  expect(exitCode, `${program}: ${output}`).toBe(0);
  return output;
}

/** It was left cleanly, and no page of it is damaged. */
async function isWhole(opened: Opened, data: string): Promise<void> {
  expect(await readControlData(data)).toMatchObject({ state: 'shut down' });
  if (existsSync(join(opened.binaries.directory, 'pg_checksums')))
    expect(await run(opened, 'pg_checksums', '--check', '-D', data)).toMatch(/Bad checksums:\s+0\b/);
}

/** No peer answers: `--first`, and not waited for. */
const CREATE = ['node', 'create', '--first', '--timeout', '200ms'];

function createScene(opened: Opened): Promise<LocalScene> {
  const { hosts, place } = opened;
  return Promise.resolve({
    hosts,
    peer: 'a',
    command: CREATE,
    elsewhere: ['b', 'c'].map((peer) => join(place.root, peer)),
    prepare: () => Promise.resolve(empty(opened, 'a')),
    // Each initdb makes another database.
    isSame: (path) => /PG_VERSION$|\.conf$/.test(path),
    isFleeting: () => false,
    check: () => isWhole(opened, hosts.data('a')),
  });
}

async function takeScene(opened: Opened): Promise<LocalScene> {
  const { hosts, place, binaries } = opened;
  const [data, etc, kept] = [hosts.data('a'), join(place.root, 'etc'), join(place.root, 'kept')];
  await makeDatabase(place, binaries, data);
  mkdirSync(join(etc, 'conf.d'), { recursive: true });
  const files = {
    'postgresql.conf': `hba_file = '${etc}/pg_hba.conf'\nident_file = '${etc}/pg_ident.conf'\nport = ${place.ports[6]}\nlisten_addresses = ''\nunix_socket_directories = '${etc}'\ninclude_dir 'conf.d'\nwork_mem = 7MB\n`,
    'conf.d/10-own.conf': "lock_timeout = '77s'\n",
    'pg_hba.conf': 'local all all trust\nhost postgres keeper 127.0.0.1/32 trust\n',
    'pg_ident.conf': 'admin somebody keeper\n',
  };
  for (const [name, text] of Object.entries(files)) writeFileSync(join(etc, name), text, { mode: 0o644 });
  await giveTo(place.user, etc);
  rmSync(join(data, 'postgresql.conf'));
  const options = `-c config_file=${etc}/postgresql.conf`;
  await run(opened, 'pg_ctl', 'start', '-w', '-D', data, '-o', options, '-l', join(etc, 'log'));
  await run(opened, 'pg_ctl', 'stop', '-w', '-D', data);
  copy(data, kept);
  return {
    hosts,
    peer: 'a',
    command: CREATE,
    elsewhere: [etc, kept, join(place.root, 'b')],
    prepare() {
      empty(opened, 'a');
      copy(kept, data);
      return Promise.resolve();
    },
    // What it was named after the kill is what it is named otherwise; the data are what they were.
    isSame: (path) => !path.endsWith('pg_sentinel_member.json') && !path.startsWith('state/local/'),
    isFleeting: () => false,
    check: () => isWhole(opened, data),
  };
}

async function cloneScene(opened: Opened): Promise<LocalScene | undefined> {
  const { hosts, place, binaries } = opened;
  if (findPsql(binaries.directory) === undefined) return undefined;
  const { root, user } = place;
  const made = await hosts.ctl('a', 'node', 'create', '--first');
  expect(made.exitCode, made.stderr).toBe(0);
  const peers = [hosts.start('a'), hosts.start('c')];
  // Half a minute passes until a group is created without the node of a host that has not been started.
  await hosts
    .waitFor('pg1', 'running')
    .catch(() => hosts.waitFor('pg1', 'running'))
    .catch((error: unknown) => {
      throw new Error(peers.map((peer) => peer.output().slice(-3000)).join('\n'), { cause: error });
    });
  const [space, external] = [join(root, 'a', 'space'), join(root, 'etc', 'own.conf')];
  await makeDirectory(user, space);
  mkdirSync(dirname(external));
  writeFileSync(external, "lock_timeout = '77s'\n");
  for (const path of [dirname(external), external]) await giveTo(user, path);
  for (const text of [
    `create tablespace fast location '${space}'`,
    'create table kept tablespace fast as select generate_series(1, 20000) as id',
    'vacuum (freeze, analyze) kept',
    'grant pg_read_server_files to sentinel_replication',
    'alter system set autovacuum = off',
    `alter system set lock_timeout = '66s'`,
    'select pg_reload_conf()',
    'checkpoint',
  ])
    await hosts.sql('a', text);
  // Before our own line, which stays the last: else the node's sentineld puts it there, at any time of the test.
  const ownConfig = join(hosts.data('a'), 'postgresql.conf');
  writeFileSync(ownConfig, `include '${external}'\n${readFileSync(ownConfig, 'utf8')}`);
  const table = await hosts.sql('a', `select pg_relation_filepath('kept')`);
  const ofTable = table.split('/').slice(-2).join('/');
  const hashOf = (data: string): string =>
    createHash('sha256')
      .update(readFileSync(join(data, table)))
      .digest('hex');
  return {
    hosts,
    peer: 'b',
    command: [
      ...['node', 'clone', '--timeout', '10s', '--copy-external-config=data-directory'],
      ...[
        '--wal-directory',
        join(root, 'b', 'wal'),
        '--tablespace-mapping',
        `fast=${join(root, 'b', 'fast')}`,
      ],
    ],
    elsewhere: [join(root, 'etc')],
    prepare: () => Promise.resolve(empty(opened, 'b')),
    isSame: (path) => path.endsWith(`/${ofTable}`) || /PG_VERSION$|\.conf$/.test(path),
    // The source goes on meanwhile: with its WAL, and what it keeps of free room in tables.
    isFleeting: (path) => /\/[0-9A-F]{24}(\.\w+)?$|_(fsm|vm)$/.test(path),
    check() {
      expect(hashOf(hosts.data('b'))).toBe(hashOf(hosts.data('a')));
      return Promise.resolve();
    },
  };
}
