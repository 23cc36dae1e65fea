// A real PostgreSQL for these tests: its own data directory and port, run as user postgres where the tests run as root. Every process
// it started is ended by destroy(), by process id.
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import {
  appendFileSync,
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { freePort } from '../../../src/transport/testing/free-ports.ts';
import { findTestPostgres, findVersion, wantedPostgres } from '../../../harness/find-postgres.ts';
import { until } from '../../../src/base/clock.ts';
import { findOsUser } from '../../../src/postgres/os-user.ts';

const user = await findOsUser({ configured: undefined });
const found =
  wantedPostgres().kind === 'any'
    ? findVersion({ user, version: 15 })
    : findTestPostgres({ user, privateDirectory: tmpdir() });
const POSTGRES_BIN = (await found.catch(() => undefined))?.directory ?? '';
export const hasPostgres = POSTGRES_BIN !== '';
// Not sentinel_probe: PostgreSQL reserves role names that begin with pg_, without exception.
export const PROBE_USER = 'sentinel_probe';
export const PROBE_PASSWORD = 'probe-secret';

const isRoot = process.getuid?.() === 0;
const postgresId = (flag: '-u' | '-g'): number =>
  Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }));
const owner = isRoot ? { uid: postgresId('-u'), gid: postgresId('-g') } : {};

const DDL = `
  create role ${PROBE_USER} login password '${PROBE_PASSWORD}';
  set allow_system_table_mods = on;
  create schema pg_sentinel;
  create table pg_sentinel.heartbeat (peer text primary key, beat bigint not null, written_at timestamptz not null default now());
  grant usage on schema pg_sentinel to ${PROBE_USER};
  grant select, insert, update, delete on pg_sentinel.heartbeat to ${PROBE_USER}`;

export class Instance {
  readonly directory: string;
  readonly data: string;
  readonly port: number;
  #postmaster: ChildProcess | undefined;

  private constructor(directory: string, port: number) {
    this.directory = directory;
    this.data = join(directory, 'data');
    this.port = port;
  }

  /** Initialised, started, with the probe role and the heartbeat table. */
  static async create(settings: Record<string, string> = {}, directory?: string): Promise<Instance> {
    const instance = await Instance.empty(settings, directory);
    try {
      await instance.start();
      await instance.sql(DDL);
    } catch (error) {
      await instance.destroy();
      throw error;
    }
    return instance;
  }

  /** Initialised only. */
  static async empty(settings: Record<string, string> = {}, directory?: string): Promise<Instance> {
    const place = directory ?? mkdtempSync(join(tmpdir(), 'pg-sentinel-health-'));
    if (owner.uid !== undefined) chownSync(place, owner.uid, owner.gid);
    const instance = new Instance(place, await freePort());
    execFileSync(
      join(POSTGRES_BIN, 'initdb'),
      ['-D', instance.data, '-U', 'postgres', '-A', 'trust', '-N', '--wal-segsize=1'],
      {
        ...owner,
        cwd: '/',
        stdio: 'ignore',
      },
    );
    writeFileSync(
      join(instance.data, 'pg_hba.conf'),
      `local all all trust\nhost all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n`,
    );
    instance.configure({
      listen_addresses: '127.0.0.1',
      port: String(instance.port),
      unix_socket_directories: place,
      fsync: 'off',
      ...settings,
    });
    return instance;
  }

  configure(settings: Record<string, string>): void {
    for (const [name, value] of Object.entries(settings)) {
      appendFileSync(join(this.data, 'postgresql.conf'), `\n${name} = '${value.replaceAll("'", "''")}'\n`);
    }
  }

  async start(): Promise<void> {
    this.spawn();
    await this.ready();
  }

  /** Starts the postmaster and does not wait. */
  spawn(): void {
    const child = spawn(join(POSTGRES_BIN, 'postgres'), ['-D', this.data], {
      ...owner,
      cwd: '/',
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    child.stderr.on('data', (text: Buffer) => appendFileSync(join(this.directory, 'log'), text));
    this.#postmaster = child;
  }

  async ready(): Promise<void> {
    await until({ what: 'PostgreSQL ready', timeoutMs: 30_000, everyMs: 20 }, () =>
      this.sql('select 1').then(
        () => true,
        () => false,
      ),
    );
  }

  get pid(): number {
    const pid = this.#postmaster?.pid;
    if (pid === undefined) throw new Error('PostgreSQL was not started');
    return pid;
  }

  get log(): string {
    return existsSync(join(this.directory, 'log')) ? readFileSync(join(this.directory, 'log'), 'utf8') : '';
  }

  /** The postmaster and its children. */
  processes(): number[] {
    const children = readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map(Number)
      .filter((pid) => parentOf(pid) === this.pid);
    return [this.pid, ...children];
  }

  signal(signal: NodeJS.Signals): void {
    process.kill(this.pid, signal);
  }

  signalAll(signal: NodeJS.Signals): void {
    for (const pid of this.processes()) {
      try {
        process.kill(pid, signal);
      } catch {
        // It has just ended.
      }
    }
  }

  /** Resolves when the postmaster has ended. */
  async ended(): Promise<void> {
    const child = this.#postmaster;
    await until(
      { what: 'postmaster ended', timeoutMs: 30_000, everyMs: 5 },
      () => child?.exitCode !== null || child.signalCode !== null,
    );
  }

  /** As superuser, over the socket. */
  async sql(text: string): Promise<pg.QueryResult> {
    const client = await this.connect();
    try {
      return await client.query(text);
    } finally {
      await client.end();
    }
  }

  async connect(): Promise<pg.Client> {
    const client = new pg.Client({
      host: this.directory,
      port: this.port,
      user: 'postgres',
      database: 'postgres',
      connectionTimeoutMillis: 5000,
    });
    client.on('error', () => undefined);
    await client.connect();
    return client;
  }

  async destroy(): Promise<void> {
    if (
      this.#postmaster !== undefined &&
      this.#postmaster.exitCode === null &&
      this.#postmaster.signalCode === null
    ) {
      this.signalAll('SIGCONT');
      this.signal('SIGQUIT');
      await this.ended();
    }
    rmSync(this.directory, { recursive: true, force: true });
  }
}

function parentOf(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    return undefined;
  }
}
