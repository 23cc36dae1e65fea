// Three real hosts: what a person does to PostgreSQL behind our back is noticed, said and put right; what a former primary wrote that nobody
// else has is saved before it follows again.
import { spawn } from 'node:child_process';
import { readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Host } from '../../../harness/host.ts';
import { type LocalCluster, startLocalCluster } from '../../../harness/local-cluster.ts';
import { sql } from '../../../harness/superuser.ts';
import { until } from '../../../src/base/clock.ts';
import { giveBackFiles } from '../../../src/postgres/give-back.ts';
import { MEMBER_FILE } from '../../../src/postgres/member.ts';
import { findOsUser, spawnIds } from '../../../src/postgres/os-user.ts';
import { findPostmaster, signalProcess } from '../../../src/postgres/processes.ts';
import { runSentinelctl } from '../raft/load.ts';

const LIMIT_MS = 300_000;
const STEP_MS = 60_000;

let cluster: LocalCluster;
beforeAll(async () => {
  cluster = await startLocalCluster({
    cluster: 'rejoin',
    hostCount: 3,
    signal: AbortSignal.timeout(4 * LIMIT_MS),
  });
  await cluster.waitUntilHealthy(LIMIT_MS);
}, LIMIT_MS);
afterAll(() => cluster?.close(), LIMIT_MS);

const setting = async (host: Host, name: string): Promise<unknown> =>
  (await sql(host, `select current_setting('${name}') as value`))[0]?.['value'];

async function becomes(host: Host, name: string, value: unknown): Promise<void> {
  await until(
    { what: `${name} of ${host.node} to be ${String(value)}`, timeoutMs: STEP_MS, everyMs: 50 },
    () =>
      setting(host, name).then(
        (found) => found === value,
        () => false,
      ),
  );
}

/** What `sentinelctl status` shows of the node, and its sentineld wrote to its log. */
async function announced(host: Host, text: RegExp): Promise<void> {
  await cluster.waitFor(`${host.node} to say ${text}`, STEP_MS, ({ nodes }) =>
    nodes.some(({ node, message }) => node === host.node && text.test(message ?? '')),
  );
  expect(await readFile(host.logFile, 'utf8')).toMatch(text);
}

async function aStandby(): Promise<Host> {
  const primary = await cluster.primary();
  const host = cluster.hosts.find(({ node }) => node !== primary.node);
  if (host === undefined) throw new Error('there is no standby');
  return host;
}

test('ALTER SYSTEM of a setting of ours on the primary is taken back', { timeout: LIMIT_MS }, async () => {
  const primary = await cluster.primary();
  const rule = await setting(primary, 'synchronous_standby_names');
  expect(rule).toMatch(/^ANY 1/);
  await sql(
    primary,
    "alter system set synchronous_standby_names = ''",
    'alter system set wal_level = minimal',
    "alter system set work_mem = '5MB'",
    'select pg_reload_conf()',
  );
  await announced(primary, /put right, .*synchronous_standby_names = '' \(ALTER SYSTEM\)/);
  await becomes(primary, 'synchronous_standby_names', rule);
  const file = await readFile(join(primary.dataDirectory, 'postgresql.auto.conf'), 'utf8');
  expect(file).not.toMatch(/synchronous_standby_names|wal_level/);
  // A setting that is none of ours is the administrator's.
  await becomes(primary, 'work_mem', '5MB');
});

test(
  'a member whose fsync somebody has switched off is refused until it is on again',
  { timeout: LIMIT_MS },
  async () => {
    const standby = await aStandby();
    await sql(standby, 'alter system set fsync = off', 'select pg_reload_conf()');
    await announced(standby, /refused as a member: .* fsync/);
    await announced(standby, /put right, .*fsync = 'off' \(ALTER SYSTEM\)/);
    await becomes(standby, 'fsync', 'on');
    await cluster.waitUntilHealthy(STEP_MS);
  },
);

test(
  'changed files are written again: ours, its place in postgresql.conf, pg_hba.conf',
  { timeout: LIMIT_MS },
  async () => {
    const standby = await aStandby();
    const path = (name: string): string => join(standby.dataDirectory, name);
    const [ours, hba, main] = await Promise.all(
      ['pg_sentinel.conf', 'pg_hba.conf', 'postgresql.conf'].map((name) => readFile(path(name), 'utf8')),
    );
    await writeFile(
      path('pg_sentinel.conf'),
      (ours ?? '').replace("wal_log_hints = 'on'", "wal_log_hints = 'off'"),
    );
    await writeFile(path('pg_hba.conf'), `host replication all 127.0.0.1/32 trust\n${hba}`);
    await writeFile(path('postgresql.conf'), `${main}\nwal_receiver_timeout = '1h'\n`);
    await announced(standby, /put right, .*wal_log_hints \(pg_sentinel.conf\).*postgresql.conf.*pg_hba.conf/);
    expect(await readFile(path('pg_hba.conf'), 'utf8')).toBe(hba);
    expect(await readFile(path('postgresql.conf'), 'utf8')).toMatch(/include 'pg_sentinel.conf'\s*$/);
    await becomes(standby, 'wal_receiver_timeout', '10s');
  },
);

test('a standby that somebody stops is started again', { timeout: LIMIT_MS }, async () => {
  const standby = await aStandby();
  const before = standby.postmasterPid() ?? 0;
  signalProcess(before, 'SIGINT');
  await until(
    { what: 'another postmaster', timeoutMs: STEP_MS, everyMs: 50 },
    () => (standby.postmasterPid() ?? before) !== before,
  );
  await cluster.waitUntilHealthy(STEP_MS);
  await announced(standby, /PostgreSQL was shut down by somebody else/);
});

test(
  'a PostgreSQL that somebody has started with settings of his own is stopped and started as it should be',
  { timeout: LIMIT_MS },
  async () => {
    const standby = await aStandby();
    await standby.stopSentineld('SIGTERM');
    const before = standby.postmasterPid() ?? 0;
    signalProcess(before, 'SIGINT');
    await until(
      { what: 'PostgreSQL to end', timeoutMs: STEP_MS, everyMs: 50 },
      () => standby.postmasterPid() === undefined,
    );
    const user = await findOsUser({ configured: undefined });
    const child = spawn(
      join(cluster.postgres.directory, 'postgres'),
      ['-D', standby.dataDirectory, '-c', 'fsync=off'],
      { ...spawnIds(user), cwd: standby.dataDirectory, stdio: 'ignore', detached: true },
    );
    child.unref();
    await until(
      { what: 'the other PostgreSQL', timeoutMs: STEP_MS, everyMs: 50 },
      () =>
        findPostmaster(standby.dataDirectory)?.status === 'ready' ||
        findPostmaster(standby.dataDirectory)?.status === 'standby',
    );
    expect(await setting(standby, 'fsync')).toBe('off');
    standby.startSentineld();
    await announced(standby, /PostgreSQL was started by somebody else/);
    await announced(standby, /PostgreSQL was started with fsync = off/);
    await becomes(standby, 'fsync', 'on');
    expect(standby.postmasterPid()).not.toBe(child.pid);
    await cluster.waitUntilHealthy(STEP_MS);
  },
);

test(
  'a standby that somebody has opened for writes is stopped, and cloned because its WAL is on the same timeline',
  { timeout: LIMIT_MS },
  async () => {
    const standby = await aStandby();
    await standby.stopAll();
    await rm(join(standby.dataDirectory, 'standby.signal'));
    const user = await findOsUser({ configured: undefined });
    const child = spawn(join(cluster.postgres.directory, 'postgres'), ['-D', standby.dataDirectory], {
      ...spawnIds(user),
      cwd: standby.dataDirectory,
      stdio: 'ignore',
      detached: true,
    });
    child.unref();
    await until(
      { what: 'the other PostgreSQL', timeoutMs: STEP_MS, everyMs: 50 },
      () => findPostmaster(standby.dataDirectory)?.status === 'ready',
    );
    await sql(standby, 'set synchronous_commit = local', 'create table public.behind_our_back (id int)');
    standby.startSentineld();
    await announced(standby, /PostgreSQL ran as a primary, which pg\d is by the log/);
    await announced(standby, /opened for writes by somebody else, on the timeline of pg\d/);
    await cluster.waitUntilHealthy(STEP_MS);
    expect(await sql(standby, "select to_regclass('public.behind_our_back')::text as found")).toEqual([
      { found: null },
    ]);
  },
);

test(
  'slots of members that somebody drops, of one that streams and of one that may have to be followed, are made again',
  { timeout: LIMIT_MS },
  async () => {
    const primary = await cluster.primary();
    const standby = await aStandby();
    const { nodes } = await cluster.waitUntilHealthy(STEP_MS);
    const other = nodes.find(({ node }) => node !== primary.node && node !== standby.node);
    const member = nodes.find(({ node }) => node === standby.node)?.member;
    const hasSlot = async (host: Host, slot: string | undefined): Promise<boolean> =>
      (await sql(host, `select 1 from pg_replication_slots where slot_name = '${slot}'`)).length > 0;
    const drop = async (host: Host, slot: string | undefined): Promise<void> => {
      const held = `from pg_replication_slots where slot_name = '${slot}' and active_pid is not null`;
      await until({ what: `${slot} to be dropped`, timeoutMs: STEP_MS, everyMs: 5 }, () =>
        sql(
          host,
          `select pg_terminate_backend(active_pid) ${held}`,
          `select pg_drop_replication_slot('${slot}')`,
        ).then(
          () => true,
          () => false,
        ),
      );
    };
    for (const [host, slot] of [
      [primary, member],
      [standby, other?.member],
    ] as const) {
      expect(await hasSlot(host, slot)).toBe(true);
      await drop(host, slot);
      const what = `slot ${slot} on ${host.node}`;
      await until({ what, timeoutMs: STEP_MS, everyMs: 20 }, () => hasSlot(host, slot));
    }
    const after = await cluster.waitUntilHealthy(STEP_MS);
    expect(after.nodes.find(({ node }) => node === standby.node)?.member).toBe(member);
  },
);

test('roles whose commits do not wait are said', { timeout: LIMIT_MS }, async () => {
  const primary = await cluster.primary();
  await sql(primary, 'create role hasty', 'alter role hasty set synchronous_commit = off');
  await announced(
    primary,
    /may be lost in a failover: synchronous_commit=off for role hasty in all databases/,
  );
});

test(
  'what a former primary wrote that nobody else has is saved before it follows again',
  { timeout: LIMIT_MS },
  async () => {
    const former = await cluster.primary();
    await sql(
      former,
      'create table public.orders (id int primary key, item text)',
      "insert into public.orders values (1, 'kept')",
    );
    former.stopWalSenders();
    await sql(
      former,
      'set synchronous_commit = local',
      "insert into public.orders values (2, 'lost')",
      "update public.orders set item = 'changed' where id = 1",
    );
    former.killPostmaster();
    await cluster.waitFor(
      'another primary',
      STEP_MS,
      ({ phase, primary }) => phase === 'running' && primary !== former.node,
    );
    await announced(former, /2 transactions \(2 rows\) that pg\d lacks were saved to .*jsonl/);
    const group = await cluster.waitUntilHealthy(STEP_MS);
    const directory = join(former.directory, 'state', 'diverged');
    expect(await readdir(directory)).toEqual([`${former.node}-${group.epoch}.jsonl`]);
    const text = await readFile(join(directory, `${former.node}-${group.epoch}.jsonl`), 'utf8');
    const lines = text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines).toMatchObject([
      { kind: 'insert', table: 'public.orders', new: { id: 2, item: 'lost' } },
      { kind: 'update', table: 'public.orders', new: { id: 1, item: 'changed' }, old_key: { id: 1 } },
      { kind: 'end', node: former.node, complete: true },
    ]);
    expect(await sql(former, 'select id, item from public.orders')).toEqual([{ id: 1, item: 'kept' }]);
  },
);

test('a standby for which the primary has no WAL any more is cloned', { timeout: LIMIT_MS }, async () => {
  const primary = await cluster.primary();
  const standby = await aStandby();
  const memberOf = async (): Promise<string | undefined> =>
    (await cluster.waitUntilHealthy(STEP_MS)).nodes.find(({ node }) => node === standby.node)?.member;
  const before = await memberOf();
  await standby.stopAll();
  // Else its slot would be made again, and keep WAL from then on.
  signalProcess(primary.sentineldPid ?? 0, 'SIGSTOP');
  await until({ what: 'its slot to be dropped', timeoutMs: STEP_MS, everyMs: 100 }, () =>
    sql(primary, `select pg_drop_replication_slot('${before}')`).then(
      () => true,
      () => false,
    ),
  );
  // More than is kept without a slot.
  for (let count = 0; count < 20; count += 1)
    await sql(primary, "select pg_logical_emit_message(false, 'x', 'y')", 'select pg_switch_wal()');
  await sql(primary, 'checkpoint');
  signalProcess(primary.sentineldPid ?? 0, 'SIGCONT');
  standby.startSentineld();
  await cluster.waitFor('it is cloned', 2 * STEP_MS, ({ nodes }) =>
    nodes.some(({ node, member }) => node === standby.node && member !== undefined && member !== before),
  );
  expect(await memberOf()).not.toBe(before);
  expect(await readFile(standby.logFile, 'utf8')).toMatch(
    /it does not stream from pg\d, though that answers/,
  );
  await until({ what: 'the old directory to be removed', timeoutMs: STEP_MS, everyMs: 100 }, async () => {
    const names = await readdir(standby.directory);
    return !names.some((name) => name.startsWith('pgdata.'));
  });
});

test(
  "a copy of the group's database that is not the node's is left alone until a person has it replaced",
  { timeout: LIMIT_MS },
  async () => {
    const standby = await aStandby();
    const { dataDirectory } = standby;
    const others = join(dataDirectory, 'of-somebody-else');
    const says = (text: RegExp): Promise<unknown> =>
      cluster.waitFor(`${standby.node} to say ${text}`, STEP_MS, ({ nodes }) =>
        nodes.some(({ node, message }) => node === standby.node && text.test(message ?? '')),
      );

    await standby.stopAll();
    await writeFile(others, '');
    const member = await readFile(join(dataDirectory, MEMBER_FILE), 'utf8');
    await writeFile(join(dataDirectory, MEMBER_FILE), member.replaceAll(`"${standby.node}"`, '"pg9"'));
    standby.startSentineld();
    await says(/is that of node pg9, or a copy of it, .* left as it is/);
    await standby.stopSentineld('SIGTERM');
    await writeFile(join(dataDirectory, MEMBER_FILE), member);
    standby.startSentineld();
    await cluster.waitUntilHealthy(STEP_MS);
    expect(await readdir(dataDirectory)).toContain('of-somebody-else');

    await standby.stopAll();
    await withoutTrace(dataDirectory);
    standby.startSentineld();
    await says(/holds a copy of the database that pg-sentinel has not made, and is left as it is/);
    expect(await readdir(dataDirectory)).toContain('of-somebody-else');
    const addresses = cluster.hosts.map(({ address }) => address).join(',');
    const asked = await runSentinelctl(['--peers', addresses, 'node', 'reinit', standby.node, '-y']);
    expect(asked.exitCode, asked.stderr).toBe(0);
    await cluster.waitUntilHealthy(2 * STEP_MS);
    expect(await readdir(dataDirectory)).not.toContain('of-somebody-else');
  },
);

/** As somebody else's server would be. */
async function withoutTrace(dataDirectory: string): Promise<void> {
  const { owner } = await findOsUser({ configured: undefined });
  const nobody = { superuser: '', replicationUser: '', probeUser: '', memberNetworks: [], userNetworks: [] };
  const access = { hba: { ...nobody, extraLines: [] }, osUser: 'postgres' };
  await giveBackFiles({ dataDirectory, owner, access });
}
