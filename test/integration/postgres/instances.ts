// Real PostgreSQL instances in temporary directories for the tests of this folder. Everything started is ended, by pid,
// whatever a test does.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from '../../../src/base/clock.ts';
import { freePort } from '../../../src/transport/testing/free-ports.ts';
import { nodeId, type MemberId } from '../../../src/base/ids.ts';
import { findTestPostgres, findVersion, wantedPostgres } from '../../../harness/find-postgres.ts';
import type { Binaries } from '../../../src/postgres/binaries.ts';
import { readControlData } from '../../../src/postgres/control-data.ts';
import { writeHba } from '../../../src/postgres/hba.ts';
import type { InitSettings } from '../../../src/postgres/initdb-settings.ts';
import { initDataDirectory } from '../../../src/postgres/initdb.ts';
import { startPostgres, stopPostgres, type RunningPostgres } from '../../../src/postgres/lifecycle.ts';
import { writeNewMember } from '../../../src/postgres/member.ts';
import { findOsUser, spawnIds, type OsUser } from '../../../src/postgres/os-user.ts';
import { makeDirectory } from '../../../src/postgres/own-directories.ts';
import { readRole } from '../../../src/postgres/role.ts';
import { openSession, type Session } from '../../../src/postgres/session.ts';
import {
  DEFAULT_SETTINGS,
  writeSettings,
  type InstanceSettings,
  type SynchronousStandbys,
} from '../../../src/postgres/settings.ts';
import { createSlot, setUpPrimary } from '../../../src/postgres/sql.ts';
import { followUpstream } from '../../../src/postgres/upstream.ts';

export const LIMIT_MS = 60_000;
export const QUERY = { timeoutMs: 20_000 } as const;
export const REPLICATION = { name: 'replicator', password: "a'b\\c:d" } as const;
export const PROBE = { name: 'probe', password: 'probe-password' } as const;

export interface Instance {
  readonly name: string;
  readonly binaries: Binaries;
  readonly user: OsUser;
  readonly dataDirectory: string;
  readonly socketDirectory: string;
  readonly passfileDirectory: string;
  readonly logFile: string;
  readonly port: number;
  readonly settings: InstanceSettings;
  readonly session: Session;
}

/** A place for the instances of one test file; `close` ends them all and removes everything. */
export interface Place {
  readonly root: string;
  readonly user: OsUser;
  readonly binaries: Binaries;
  prepare(name: string, parameters?: Record<string, string>): Promise<Instance>;
  /** `settings`: what the database is made with, where not by default. */
  init(instance: Instance, settings?: InitSettings): Promise<void>;
  close(): Promise<void>;
}

const WANTED = wantedPostgres();

/** What a test takes that runs on one version: the one of `PG_SENTINEL_TEST_POSTGRES`, else 15. */
export const TESTED_VERSION: number = await (async () => {
  if (WANTED.kind === 'any') return 15;
  if (WANTED.kind === 'version') return WANTED.version;
  const user = await findOsUser({ configured: undefined });
  return (await findTestPostgres({ user, privateDirectory: tmpdir() })).version;
})();

/** The oldest, Debian's and the newest with much that is new; `PG_SENTINEL_TEST_POSTGRES` names another one, which is then the only one. */
export const TESTED_VERSIONS: readonly number[] = WANTED.kind === 'any' ? [14, 15, 17] : [TESTED_VERSION];

/** Undefined where the version is not installed here. As root, PostgreSQL runs as `osUser`. */
export async function openPlace(version: number, osUser?: string): Promise<Place | undefined> {
  const user = await findOsUser({ configured: process.getuid?.() === 0 ? osUser : undefined });
  const binaries = await binariesOf(version, user);
  if (binaries === undefined) return undefined;
  const root = await mkdtemp(join(tmpdir(), `pg-sentinel-${version}-`));
  await makeDirectory(user, root, 0o700);
  const instances: Instance[] = [];
  return {
    root,
    user,
    binaries,
    async prepare(name, parameters = {}) {
      const directory = join(root, name);
      const socketDirectory = join(root, `${name}.s`);
      const passfileDirectory = join(root, `${name}.secrets`);
      for (const path of [directory, socketDirectory, passfileDirectory]) await makeDirectory(user, path);
      const port = await freePort();
      const settings: InstanceSettings = {
        ...DEFAULT_SETTINGS,
        version: binaries.version,
        listenAddresses: ['127.0.0.1'],
        port,
        socketDirectory,
        clusterName: name,
        parameters: {
          shared_buffers: '16MB',
          max_connections: '20',
          log_replication_commands: 'on',
          ...parameters,
        },
      };
      const session = openSession({ socketDirectory, port, superuser: 'sentinel' });
      const instance: Instance = {
        name,
        binaries,
        user,
        dataDirectory: join(directory, 'data'),
        socketDirectory,
        passfileDirectory,
        logFile: join(root, `${name}.log`),
        port,
        settings,
        session,
      };
      instances.push(instance);
      return instance;
    },
    async init(instance, settings) {
      await initDataDirectory({
        binaries,
        user,
        dataDirectory: instance.dataDirectory,
        superuser: 'sentinel',
        settings,
        timeoutMs: LIMIT_MS,
      });
      await configure(instance, { synchronousStandbys: { kind: 'alone' } });
      const { systemIdentifier } = await readControlData(instance.dataDirectory);
      await writeNewMember({
        dataDirectory: instance.dataDirectory,
        node: nodeId(instance.name),
        systemIdentifier,
        owner: user.owner,
      });
    },
    async close() {
      for (const instance of instances) {
        await instance.session.close();
        await stop(instance, 0).catch(() => undefined);
      }
      await rm(root, { recursive: true, force: true });
    },
  };
}

/** Writes our settings and pg_hba.conf into the instance's directory, with changes. */
export async function configure(instance: Instance, changes: Partial<InstanceSettings> = {}): Promise<void> {
  const { dataDirectory, user } = instance;
  await writeSettings({ dataDirectory, settings: { ...instance.settings, ...changes }, owner: user.owner });
  const hba = {
    superuser: 'sentinel',
    replicationUser: REPLICATION.name,
    probeUser: PROBE.name,
    userNetworks: [],
    memberNetworks: ['127.0.0.1/32'],
    requireTls: false,
    extraLines: [],
  };
  await writeHba({ dataDirectory, hba, owner: user.owner });
}

export const start = (instance: Instance): Promise<RunningPostgres> =>
  startPostgres({ ...instance, waitFor: 'accepting', timeoutMs: LIMIT_MS });

export const stop = (instance: Instance, fastMs = LIMIT_MS) =>
  stopPostgres({
    dataDirectory: instance.dataDirectory,
    fastMs,
    immediateMs: fastMs === 0 ? 0 : 5000,
    killMs: 10_000,
  });

/** While `work` runs the pid that a killed PostgreSQL left in its lock files belongs to another process of the same user: PostgreSQL minds no other. */
export async function withTakenPid<T>(instance: Instance, work: () => Promise<T>): Promise<T> {
  const { dataDirectory, user, socketDirectory, port } = instance;
  const other = spawn('/bin/sleep', ['600'], { ...spawnIds(user), stdio: 'ignore' });
  try {
    await once(other, 'spawn');
    for (const path of [
      join(dataDirectory, 'postmaster.pid'),
      join(socketDirectory, `.s.PGSQL.${port}.lock`),
    ])
      await writeFile(path, (await readFile(path, 'utf8')).replace(/^-?\d+/, String(other.pid)));
    return await work();
  } finally {
    other.kill('SIGKILL');
  }
}

/** A running primary with roles; `alone` unless a rule is given. */
export async function startPrimary(
  place: Place,
  name: string,
  synchronousStandbys: SynchronousStandbys = { kind: 'alone' },
): Promise<Instance> {
  const instance = await place.prepare(name);
  await place.init(instance);
  await configure(instance, { synchronousStandbys });
  await start(instance);
  await setUpPrimary({ session: instance.session, replication: REPLICATION, probe: PROBE, query: QUERY });
  return instance;
}

export const upstreamOf = (instance: Instance, applicationName: MemberId | string) => ({
  host: '127.0.0.1',
  port: instance.port,
  user: REPLICATION.name,
  password: REPLICATION.password,
  applicationName,
});

/** Starts `instance`, which holds a clone or a rewound database, as a standby of `upstream`, with a slot there; resolves when it streams. */
export async function follow(instance: Instance, upstream: Instance): Promise<void> {
  const slotName = `${instance.name}_slot`;
  await createSlot(upstream.session, slotName, QUERY);
  await followUpstream({
    ...instance,
    upstream: upstreamOf(upstream, instance.name),
    slotName,
    owner: instance.user.owner,
  });
  await start(instance);
  await until({ what: `${instance.name} streams`, timeoutMs: LIMIT_MS, everyMs: 50 }, async () => {
    const { replication } = await readRole(upstream.session, QUERY);
    return replication.some((row) => row.applicationName === instance.name && row.state === 'streaming');
  });
}

export async function sql<Row extends object>(instance: Instance, text: string): Promise<Row[]> {
  return instance.session.query<Row>(text, [], QUERY);
}

export async function logOf(instance: Instance): Promise<string> {
  return readFile(instance.logFile, 'utf8').catch(() => '');
}

async function binariesOf(version: number, user: OsUser): Promise<Binaries | undefined> {
  const configured = WANTED.kind === 'directory' && version === TESTED_VERSION;
  const found = configured
    ? findTestPostgres({ user, privateDirectory: tmpdir() })
    : findVersion({ user, version });
  return found.catch(() => undefined);
}
