// A pair that repmgr has made and registered, with slots of its own, and its daemon.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { dataDirectory, type HostPlan } from '../../../harness/cluster-config.ts';
import { withDeadline } from '../../../src/base/clock.ts';
import { giveTo, spawnIds } from '../../../src/postgres/os-user.ts';
import { makeDirectory } from '../../../src/postgres/own-directories.ts';
import {
  type Tools,
  configDirectory,
  configure,
  makePrimary,
  psql,
  run,
  runDirectory,
  startServer,
} from './servers.ts';

/** Where Debian's package puts it, for the version that tests run on by default. */
const PROGRAMS = '/usr/lib/postgresql/15/bin';

/** Undefined where it is here. */
export function whyNoRepmgr(): string | undefined {
  const wanted = process.env['PG_SENTINEL_TEST_POSTGRES'] ?? '';
  if (!['', '15', PROGRAMS].includes(wanted))
    return `repmgr is there for PostgreSQL 15 only, not for ${wanted}`;
  const missing = ['repmgr', 'repmgrd', 'pg_ctl'].find((name) => !existsSync(join(PROGRAMS, name)));
  return missing === undefined
    ? undefined
    : `there is no ${PROGRAMS}/${missing} (apt-get install postgresql-15-repmgr)`;
}

const MORE = {
  settings: "shared_preload_libraries = 'repmgr'\nwal_log_hints = on\n",
  hba: 'host repmgr repmgr 127.0.0.1/32 trust\nhost replication repmgr 127.0.0.1/32 trust\n',
};

const configOf = (host: HostPlan): string => join(configDirectory(host), 'repmgr.conf');

/** What it says. It ends as one that failed where it shows something that it takes for wrong. */
export const repmgr = (tools: Tools, host: HostPlan, ...args: string[]): Promise<string> =>
  run(tools, 'repmgr', ['-f', configOf(host), ...args], { isFailureExpected: args.includes('show') });

async function configureRepmgr({ user, binaries }: Tools, host: HostPlan, id: number): Promise<void> {
  const path = configOf(host);
  const program = `${join(binaries.directory, 'repmgr')} -f ${path}`;
  const lines = [
    `node_id=${id}`,
    `node_name='${host.node}'`,
    `conninfo='host=127.0.0.1 port=${host.nodePort} user=repmgr password=repmgr dbname=repmgr connect_timeout=2'`,
    `data_directory='${dataDirectory(host)}'`,
    `pg_bindir='${binaries.directory}'`,
    `use_replication_slots=yes`,
    `failover=automatic`,
    `promote_command='${program} standby promote'`,
    `follow_command='${program} standby follow -W --upstream-node-id=%n'`,
    `repmgrd_pid_file='${runDirectory(host)}/repmgrd.pid'`,
  ];
  await writeFile(path, `${lines.join('\n')}\n`, { mode: 0o644 });
  await giveTo(user, path);
}

/** Both run, cloned and registered by repmgr's own commands. */
export async function makeRepmgrPair(tools: Tools, primary: HostPlan, standby: HostPlan): Promise<void> {
  for (const host of [primary, standby]) {
    await makeDirectory(tools.user, dataDirectory(host));
    await makeDirectory(tools.user, runDirectory(host));
  }
  await makePrimary(tools, primary, MORE);
  await psql(tools, primary, "create role repmgr superuser login replication password 'repmgr'");
  await psql(tools, primary, 'create database repmgr owner repmgr');
  await configureRepmgr(tools, primary, 1);
  await repmgr(tools, primary, 'primary', 'register');
  await configure(tools, standby, MORE);
  await configureRepmgr(tools, standby, 2);
  const from = ['-h', '127.0.0.1', '-p', String(primary.nodePort), '-U', 'repmgr', '-d', 'repmgr'];
  await repmgr(tools, standby, ...from, 'standby', 'clone', '--fast-checkpoint');
  await startServer(tools, standby);
  await repmgr(tools, standby, 'standby', 'register', '--wait-sync=30');
}

export interface Repmgrd {
  readonly pid: number;
  stop(): Promise<void>;
}

/** Works below the directory of its host, where whoever cleans up finds it. */
export async function startRepmgrd({ user, binaries }: Tools, host: HostPlan): Promise<Repmgrd> {
  const child: ChildProcess = spawn(
    join(binaries.directory, 'repmgrd'),
    ['-f', configOf(host), '--daemonize=false'],
    { ...spawnIds(user), cwd: dirname(configDirectory(host)), stdio: 'ignore' },
  );
  await once(child, 'spawn');
  const { pid } = child;
  if (pid === undefined) throw new Error('repmgrd was not started');
  return {
    pid,
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null)
        throw new Error('repmgrd has ended by itself');
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      await withDeadline('the end of repmgrd', 20_000, ended);
    },
  };
}
