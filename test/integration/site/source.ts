// The other site: a primary and a standby that somebody runs by hand, with the accounts of the site that is to follow them.
import { appendFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { configFile, dataDirectory, type HostPlan } from '../../../harness/cluster-config.ts';
import { findTestPostgres } from '../../../harness/find-postgres.ts';
import { endEverythingBelow, makePlace, removePlace } from '../../../harness/place.ts';
import { startReaper } from '../../../harness/reaper.ts';
import { until } from '../../../src/base/clock.ts';
import { findOsUser } from '../../../src/postgres/os-user.ts';
import { findPostmaster, signalProcess } from '../../../src/postgres/processes.ts';
import { freePorts } from '../../../src/transport/testing/free-ports.ts';
import { type Tools, makeServers, psql } from '../adopt/servers.ts';

const STOP_TIMEOUT_MS = 30_000;

export interface Source {
  /** The primary at first, and its standby. */
  readonly servers: readonly [HostPlan, HostPlan];
  /** Both run afterwards, with the accounts that the file of a host of the following site names. */
  start(follower: HostPlan): Promise<void>;
  sql(server: HostPlan, text: string): Promise<string>;
  /** Another database where the first server was. */
  startStranger(follower: HostPlan): Promise<HostPlan>;
  /** As if its power were gone. */
  kill(server: HostPlan): Promise<void>;
  close(): Promise<void>;
}

/** Reserves a place and ports; nothing runs yet. */
export async function planSource(): Promise<Source> {
  const user = await findOsUser({ configured: undefined });
  const directory = await makePlace(user);
  const ports = await freePorts(2);
  const plan = (node: string, nodePort = 0): HostPlan => ({
    ...{ peer: node, node, directory: join(directory, node), address: '127.0.0.1', peerPort: 0, nodePort },
    ...{ group: 'main', isWitness: false, cable: undefined },
  });
  const servers = [plan('far1', ports[0]), plan('far2', ports[1])] as const;
  const stranger = plan('stranger', ports[0]);
  const dataDirectories = [...servers, stranger].map(dataDirectory);
  const reaper = startReaper(directory, dataDirectories);
  const binaries = await findTestPostgres({ user, privateDirectory: join(directory, 'postgresql') });
  const tools: Tools = { binaries, user };
  const start = async (made: readonly HostPlan[], follower: HostPlan): Promise<void> => {
    await makeServers(tools, made);
    const { users } = parse(await readFile(configFile(follower), 'utf8')) as {
      readonly users: Readonly<Record<'replication' | 'probe', { name: string; password: string }>>;
    };
    const { replication, probe } = users;
    for (const server of made)
      await appendFile(
        `${server.directory}/etc/pg_hba.conf`,
        `host replication ${replication.name} 127.0.0.1/32 scram-sha-256\n`,
      );
    for (const text of [
      `create role ${replication.name} login replication password '${replication.password}'`,
      `create role ${probe.name} login password '${probe.password}'`,
    ])
      await psql(tools, made[0] ?? stranger, text);
    for (const server of made) await psql(tools, server, 'select pg_reload_conf()');
  };
  return {
    servers,
    start: (follower) => start(servers, follower),
    async startStranger(follower) {
      await start([stranger], follower);
      return stranger;
    },
    sql: (server, text) => psql(tools, server, text),
    async kill(server) {
      const data = dataDirectory(server);
      const pid = findPostmaster(data)?.pid;
      if (pid === undefined) throw new Error(`${server.node} does not run`);
      signalProcess(pid, 'SIGQUIT');
      const what = `${server.node} to be gone`;
      await until(
        { what, timeoutMs: STOP_TIMEOUT_MS, everyMs: 20 },
        () => findPostmaster(data) === undefined,
      );
    },
    async close() {
      try {
        await endEverythingBelow({ directory, dataDirectories, timeoutMs: STOP_TIMEOUT_MS });
        await removePlace(directory);
      } finally {
        await reaper.dismiss();
      }
    },
  };
}
