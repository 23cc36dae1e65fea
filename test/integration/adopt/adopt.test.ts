// `sentinelctl adopt` with servers that were made by hand, under a writer that runs through all of it.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { delay, until } from '../../../src/base/clock.ts';
import { dataDirectory, type HostPlan } from '../../../harness/cluster-config.ts';
import { type LocalCluster, startLocalCluster } from '../../../harness/local-cluster.ts';
import type { Writer } from '../../../harness/writer.ts';
import { HEALTHY_TIMEOUT_MS, LIMIT_MS } from '../raft/load.ts';
import { sql } from '../dangers/scene.ts';
import { adoptScene, startWriterThrough, harmThrough, longestPauseMs, LONGEST_PAUSE_MS } from './scene.ts';
import { HBA_LINE, type Tools, makeServers, psql, startServer, whyNoServers } from './servers.ts';

const stop = new AbortController();
let cluster: LocalCluster;
let tools: Tools;
let plans: readonly HostPlan[];
let writer: Writer;
const whyNot = await whyNoServers();
beforeEach(({ skip }) => {
  if (whyNot !== undefined) skip(whyNot);
});
beforeAll(async () => {
  if (whyNot !== undefined) return;
  cluster = await startLocalCluster({
    cluster: 'adopted',
    hostCount: 3,
    signal: stop.signal,
    prepare: async (hosts, given) => {
      [plans, tools] = [hosts, given];
      await makeServers(given, hosts);
    },
  });
  writer = await startWriterThrough(cluster.hosts, 5);
}, LIMIT_MS);
afterAll(async () => {
  await writer?.stop();
  stop.abort(new Error('the test is over'));
  await cluster?.close();
});

const { planOf, ctl, says } = adoptScene({ plans: () => plans, cluster: () => cluster });
const postmasterOf = (at: number): number | undefined => cluster.hosts[at]?.postmasterPid();

test('nothing is taken over by itself, and a plan shows what was found', { timeout: LIMIT_MS }, async () => {
  const plan = await says('adopt --dry-run', /would adopt group main/);
  expect(plan).toMatch(/pg1: PostgreSQL \d+.*, primary, system identifier \d+/);
  expect(plan).toContain(`pg3: PostgreSQL`);
  expect(plan).toContain("work_mem = '7MB'");
  // The agent's own session has another one, and commits locally.
  expect(plan).toContain("lock_timeout = '77s'");
  expect(plan).not.toContain('synchronous_commit');
  expect(plan).toContain("cluster_name: '15/main' -> 'adopted' (with its restart)");
  expect(plan).toContain(HBA_LINE);
  expect(plan).toContain('replication slot hand_pg2 keeps WAL');
  expect((await ctl('status -o json')).stdout).toContain('"groups": []');
});

test('writes that would wait for a standby stand in its way', { timeout: LIMIT_MS }, async () => {
  const set = async (value: string): Promise<void> => {
    await psql(tools, planOf('pg1'), `alter system set synchronous_standby_names = '${value}'`);
    await psql(tools, planOf('pg1'), 'select pg_reload_conf()');
  };
  await set('*');
  await says('adopt --dry-run', /pg1: synchronous_standby_names is '\*': writes would wait/);
  expect(await ctl('adopt --yes')).toMatchObject({ exitCode: 1, stdout: '' });
  await set('');
  await says('adopt --dry-run', /would adopt/);
});

test('so does a superuser that is named like an account of ours', { timeout: LIMIT_MS }, async () => {
  await psql(tools, planOf('pg1'), 'create role sentinel_probe superuser');
  await says('adopt --dry-run', /pg1: role sentinel_probe is a superuser/);
  await psql(tools, planOf('pg1'), 'alter role sentinel_probe nosuperuser');
  await says('adopt --dry-run', /would adopt.*role sentinel_probe exists: it gets the password/);
  await psql(tools, planOf('pg1'), 'drop role sentinel_probe');
  await says('adopt --dry-run', /would adopt/);
});

test(
  'standbys are restarted, the primary is not, and the group says that it is not protected',
  { timeout: LIMIT_MS },
  async () => {
    const before = [0, 1, 2].map(postmasterOf);
    expect(await ctl('adopt main --yes')).toMatchObject({ exitCode: 0 });
    await says('status', /is being adopted and not protected: .*; sentinelctl failover main ends that, and/);
    const after = [0, 1, 2].map(postmasterOf);
    expect(after[0]).toBe(before[0]);
    expect(after[1]).not.toBe(before[1]);
    expect(after[2]).not.toBe(before[2]);
    for (const { node } of cluster.hosts.slice(1)) {
      const host = cluster.hostOf(node);
      expect(await sql(host, 'show work_mem')).toEqual([{ work_mem: '7MB' }]);
      expect(await sql(host, "select reset_val from pg_settings where name = 'lock_timeout'")).toEqual([
        { reset_val: '77000' },
      ]);
      expect(await sql(host, 'select sender_port::int, slot_name from pg_stat_wal_receiver')).toEqual([
        {
          sender_port: planOf('pg1').nodePort,
          slot_name: expect.stringMatching(/^pg\d_[0-9a-f]{8}$/) as unknown,
        },
      ]);
    }
    expect(await psql(tools, planOf('pg1'), 'select count(*) from pg_stat_replication')).toBe('2\n');
  },
);

test('the first switchover makes it a group like any other', { timeout: LIMIT_MS }, async () => {
  // As the operating system would: once, as soon as it is stopped. Whoever comes first, it takes no writes any more.
  const before = postmasterOf(0);
  const started = until(
    { what: 'pg1 to stop', timeoutMs: 60_000, everyMs: 5 },
    () => postmasterOf(0) !== before,
  )
    .then(() => startServer(tools, planOf('pg1')))
    .catch(() => undefined);
  const moved = await ctl('failover main --to pg2 --yes');
  expect(moved).toMatchObject({ exitCode: 0 });
  await started;
  const group = await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
  expect(group.primary).toBe('pg2');
  expect((await ctl('status')).stdout).not.toContain('being adopted');
  const former = cluster.hostOf('pg1');
  expect(await sql(former, 'show work_mem')).toEqual([{ work_mem: '7MB' }]);
  expect(await readFile(join(dataDirectory(planOf('pg1')), 'pg_hba.conf'), 'utf8')).toContain(HBA_LINE);
  const theirs = await readFile(`${planOf('pg1').directory}/etc/pg_hba.conf`, 'utf8');
  expect(theirs).toContain(HBA_LINE);
});

test('then a crash is failed over, and nothing was lost all the while', { timeout: LIMIT_MS }, async () => {
  cluster.hostOf('pg2').killPostmaster();
  await cluster.waitFor(
    'another primary',
    60_000,
    ({ primary, phase }) => primary !== 'pg2' && phase === 'running',
  );
  await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
  await delay(500);
  const last = await cluster.primary();
  expect(await harmThrough(writer, last, ['pg1', 'pg2', last.node])).toEqual([]);
  expect(longestPauseMs(writer)).toBeLessThan(LONGEST_PAUSE_MS);
});
