// A primary and two standbys as somebody makes them by hand on Debian: the configuration is outside of the data directory, the operating
// system's user is superuser by "peer", replication comes with a slot and a user of its own.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { findPsql, psqlOf } from '../../../harness/client-program.ts';
import { findTestPostgres } from '../../../harness/find-postgres.ts';
import { CLIENT_DEFAULTS } from '../../../harness/writer.ts';
import { dataDirectory, SUPERUSER, type HostPlan } from '../../../harness/cluster-config.ts';
import type { ClientSettings } from '../../../harness/session.ts';
import type { Binaries } from '../../../src/postgres/binaries.ts';
import { type OsUser, findOsUser, giveTo, runProgram } from '../../../src/postgres/os-user.ts';
import { makeDirectory } from '../../../src/postgres/own-directories.ts';

/** Why such servers cannot be made here, or undefined. */
export async function whyNoServers(): Promise<string | undefined> {
  const user = await findOsUser({ configured: undefined });
  const { directory, has } = await findTestPostgres({ user, privateDirectory: undefined });
  if (!has.pgBasebackup) return 'PostgreSQL without pg_basebackup';
  return findPsql(directory) === undefined ? 'PostgreSQL without psql' : undefined;
}

export interface Tools {
  readonly binaries: Binaries;
  readonly user: OsUser;
}

export const CLIENT: Omit<ClientSettings, 'applicationName'> = {
  user: 'app',
  password: 'app-password',
  database: 'postgres',
  connectTimeoutMs: CLIENT_DEFAULTS.connectTimeoutMs,
};

/** A line of the users' own, which pg-sentinel's configuration does not have. */
export const HBA_LINE = 'host postgres keeper 127.0.0.1/32 trust';

export const configDirectory = (host: HostPlan): string => `${host.directory}/etc`;
export const runDirectory = (host: HostPlan): string => `${host.directory}/run`;

interface RunOptions {
  readonly isFailureExpected?: boolean;
  readonly timeoutMs?: number;
}

/** One of PostgreSQL's programs, as its user; what it has printed. */
export async function run(
  { binaries, user }: Tools,
  program: string,
  args: readonly string[],
  { isFailureExpected = false, timeoutMs = 60_000 }: RunOptions = {},
): Promise<string> {
  const { exitCode, output } = await runProgram({
    user,
    program: program === 'psql' ? psqlOf(binaries.directory) : join(binaries.directory, program),
    arguments: args,
    cwd: '/',
    timeoutMs,
  });
  if (exitCode !== 0 && !isFailureExpected) throw new Error(`${program} ${args.join(' ')}: ${output}`);
  return output;
}

/** As the user of the operating system. */
export const psql = (tools: Tools, host: HostPlan, text: string): Promise<string> =>
  run(tools, 'psql', [
    '-XAtq',
    '-h',
    runDirectory(host),
    '-p',
    String(host.nodePort),
    '-U',
    SUPERUSER,
    '-d',
    'postgres',
    '-c',
    text,
  ]);

/** With the settings of its owner, and `more` on the command line. */
export async function startServer(tools: Tools, host: HostPlan, more = ''): Promise<void> {
  const config = `-c config_file=${configDirectory(host)}/postgresql.conf ${more}`;
  await run(tools, 'pg_ctl', [
    'start',
    '-w',
    '-D',
    dataDirectory(host),
    '-o',
    config,
    '-l',
    `${runDirectory(host)}/server.log`,
  ]);
}

/** Further lines of the two files. */
export interface MoreConfiguration {
  readonly settings?: string;
  readonly hba?: string;
}

/** As Debian has it: all of it belongs to the user that the server runs as. */
export async function configure(
  { user }: Tools,
  host: HostPlan,
  { settings = '', hba = 'host replication hand 127.0.0.1/32 trust\n' }: MoreConfiguration = {},
): Promise<void> {
  const etc = configDirectory(host);
  await makeDirectory(user, etc, 0o755);
  const files: Readonly<Record<string, string>> = {
    'postgresql.conf': `data_directory = '${dataDirectory(host)}'
hba_file = '${etc}/pg_hba.conf'
ident_file = '${etc}/pg_ident.conf'
listen_addresses = '127.0.0.1'
port = ${host.nodePort}
unix_socket_directories = '${runDirectory(host)}'
cluster_name = '15/main'
shared_buffers = 32MB
dynamic_shared_memory_type = mmap
max_connections = 80
work_mem = 7MB
lock_timeout = 77s
${settings}`,
    'pg_hba.conf': `# written by hand
local all ${SUPERUSER} peer map=admin
${HBA_LINE}
${hba}host all all 127.0.0.1/32 scram-sha-256
`,
    'pg_ident.conf': `admin ${user.name} ${SUPERUSER}\n`,
  };
  for (const [name, text] of Object.entries(files)) {
    await writeFile(join(etc, name), text, { mode: 0o644 });
    await giveTo(user, join(etc, name));
  }
}

/** A primary that runs, with the accounts and the table of those who write. */
export async function makePrimary(tools: Tools, primary: HostPlan, more?: MoreConfiguration): Promise<void> {
  await run(tools, 'initdb', [
    '-D',
    dataDirectory(primary),
    '-U',
    SUPERUSER,
    '--locale=C',
    '-E',
    'UTF8',
    '--auth=peer',
    '--no-instructions',
  ]);
  await configure(tools, primary, more);
  await startServer(tools, primary);
  await psql(tools, primary, `create role keeper login; create role app login password '${CLIENT.password}'`);
  await psql(
    tools,
    primary,
    'create table public.writes (id text not null); alter table public.writes owner to app',
  );
}

/** All of them run, the first one as primary, which has `more` in its files. */
export async function makeServers(
  tools: Tools,
  hosts: readonly HostPlan[],
  more?: MoreConfiguration,
): Promise<void> {
  const [primary, ...standbys] = hosts;
  if (primary === undefined) throw new Error('no host');
  for (const host of hosts)
    for (const path of [dataDirectory(host), runDirectory(host)]) await makeDirectory(tools.user, path);
  await makePrimary(tools, primary, more);
  await psql(tools, primary, 'create role hand login replication');
  for (const host of standbys) {
    const from = `host=127.0.0.1 port=${primary.nodePort} user=hand`;
    await run(tools, 'pg_basebackup', [
      '-D',
      dataDirectory(host),
      '-d',
      from,
      '-R',
      '-C',
      '-S',
      `hand_${host.node}`,
      '-c',
      'fast',
      '-X',
      'stream',
    ]);
    await configure(tools, host);
    await startServer(tools, host);
  }
}
