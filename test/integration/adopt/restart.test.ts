// What ends an adoption beside a switchover: the primary's restart. And what becomes of a server that its old owner starts later.
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import { type HostPlan, dataDirectory } from '../../../harness/cluster-config.ts';
import { type LocalCluster, startLocalCluster } from '../../../harness/local-cluster.ts';
import { signalProcess } from '../../../src/postgres/processes.ts';
import { sql } from '../dangers/scene.ts';
import { HEALTHY_TIMEOUT_MS, LIMIT_MS, runSentinelctl } from '../raft/load.ts';
import { adoptScene } from './scene.ts';
import { type Tools, makeServers, psql, startServer, whyNoServers } from './servers.ts';

const stop = new AbortController();
let cluster: LocalCluster;
let tools: Tools;
let plans: readonly HostPlan[];
const whyNot = await whyNoServers();
beforeEach(({ skip }) => {
  if (whyNot !== undefined) skip(whyNot);
});
beforeAll(async () => {
  if (whyNot !== undefined) return;
  cluster = await startLocalCluster({
    cluster: 'restarted',
    hostCount: 3,
    signal: stop.signal,
    prepare: async (hosts, given) => {
      [plans, tools] = [hosts, given];
      await makeServers(given, hosts);
    },
  });
  const peers = cluster.hosts.map(({ address }) => address).join(',');
  const adopt = async (): Promise<boolean> =>
    (await runSentinelctl(['--peers', peers, 'adopt', '--yes'])).exitCode === 0;
  await until({ what: 'the servers to be adopted', timeoutMs: 60_000, everyMs: 300 }, adopt);
  const areOurs = async (): Promise<boolean> => {
    const { stdout } = await runSentinelctl(['--peers', peers, 'status']);
    return stdout.replaceAll(/\s+/g, ' ').includes('sentinelctl failover main ends that, and');
  };
  await until({ what: 'standbys that are ours', timeoutMs: 60_000, everyMs: 300 }, areOurs);
}, LIMIT_MS);
afterAll(async () => {
  stop.abort(new Error('the test is over'));
  await cluster?.close();
});

const { planOf } = adoptScene({ plans: () => plans, cluster: () => cluster });

/** What its owner has set by ALTER SYSTEM while it was being adopted, both of it for the next start; the first is ours otherwise. */
const OWNERS = [{ wal_level: 'logical', shared_buffers: '48MB', work_mem: '7MB' }];
const SHOW_OWNERS = `select ${Object.keys(OWNERS[0] ?? {})
  .map((name) => `current_setting('${name}') as ${name}`)
  .join(', ')}`;

test('a primary that its owner starts again goes on as he has set it', { timeout: LIMIT_MS }, async () => {
  const host = cluster.hostOf('pg1');
  for (const setting of ["wal_level = 'logical'", "shared_buffers = '48MB'"])
    await psql(tools, planOf('pg1'), `alter system set ${setting}`);
  const before = host.postmasterPid();
  if (before === undefined) throw new Error('pg1 does not run');
  signalProcess(before, 'SIGINT');
  await until(
    { what: 'the server to be gone', timeoutMs: 20_000, everyMs: 20 },
    () => host.postmasterPid() === undefined,
  );
  await startServer(tools, planOf('pg1'));
  expect(host.postmasterPid()).not.toBe(before);
  await cluster.waitFor(
    'its standbys to stream again',
    60_000,
    ({ primary, nodes }) =>
      primary === 'pg1' && nodes.every(({ node, state }) => node === 'pg1' || state === 'streaming'),
  );
  expect(await psql(tools, planOf('pg1'), 'show cluster_name')).toBe('15/main\n');
  expect(await psql(tools, planOf('pg1'), SHOW_OWNERS)).toBe('logical|48MB|7MB\n');
  const own = await readFile(join(dataDirectory(planOf('pg1')), 'postgresql.auto.conf'), 'utf8');
  expect(own).toContain("wal_level = 'logical'\nshared_buffers = '48MB'\n");
});

test(
  'one that crashes and is left alone is started as ours, and protected',
  { timeout: LIMIT_MS },
  async () => {
    await psql(tools, planOf('pg1'), "select pg_create_logical_replication_slot('theirs', 'test_decoding')");
    cluster.hostOf('pg1').killPostmaster();
    const { primary } = await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
    expect(primary).toBe('pg1');
    const host = cluster.hostOf('pg1');
    expect(await sql(host, 'show cluster_name')).toEqual([{ cluster_name: 'restarted' }]);
    expect(await sql(host, SHOW_OWNERS)).toEqual(OWNERS);
    const files = ['postgresql.conf', 'postgresql.auto.conf'].map((name) =>
      readFile(join(dataDirectory(planOf('pg1')), name), 'utf8'),
    );
    const [taken, own] = await Promise.all(files);
    expect(taken).toContain("wal_level = 'logical'");
    expect(own).toContain("shared_buffers = '48MB'");
    expect(own).not.toContain('wal_level');
    // It decodes as before, though nobody has named its slot.
    expect(
      await sql(
        host,
        "select current_setting('wal_level') as level, slot_name from pg_replication_slots where slot_type = 'logical'",
      ),
    ).toEqual([{ level: 'logical', slot_name: 'theirs' }]);
    await sql(host, "select pg_logical_emit_message(true, 'restarted', 'seen')");
    const changes = await sql(host, "select data from pg_logical_slot_get_changes('theirs', null, null)");
    expect(JSON.stringify(changes)).toMatch(/prefix: restarted, sz: 4 content:seen/);
  },
);

test(
  'a server that its old owner starts later is stopped, and started as ours',
  { timeout: LIMIT_MS },
  async () => {
    const host = cluster.hostOf('pg2');
    await host.stopSentineld();
    const pid = host.postmasterPid();
    if (pid === undefined) throw new Error('pg2 does not run');
    signalProcess(pid, 'SIGINT');
    await until(
      { what: 'pg2 to stop', timeoutMs: 20_000, everyMs: 20 },
      () => host.postmasterPid() === undefined,
    );
    // Fewer than its primary has would not start.
    await startServer(tools, planOf('pg2'), '-c max_wal_senders=16');
    expect(await psql(tools, planOf('pg2'), 'show cluster_name')).toBe('15/main\n');
    host.startSentineld();
    await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
    expect(await sql(host, 'show cluster_name')).toEqual([{ cluster_name: 'restarted' }]);
  },
);

test(
  'one that is started as a primary is stopped, and follows again without its writes',
  { timeout: LIMIT_MS },
  async () => {
    const host = cluster.hostOf('pg3');
    await host.stopSentineld();
    const pid = host.postmasterPid();
    if (pid === undefined) throw new Error('pg3 does not run');
    signalProcess(pid, 'SIGINT');
    await until(
      { what: 'pg3 to stop', timeoutMs: 20_000, everyMs: 20 },
      () => host.postmasterPid() === undefined,
    );
    await rm(join(dataDirectory(planOf('pg3')), 'standby.signal'));
    await startServer(tools, planOf('pg3'));
    await psql(tools, planOf('pg3'), "set synchronous_commit = 'local'; create table only_there ()");
    host.startSentineld();
    const { primary } = await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
    expect(primary).toBe('pg1');
    expect(
      await sql(host, "select to_regclass('only_there') as found, pg_is_in_recovery() as follows"),
    ).toEqual([{ found: null, follows: true }]);
  },
);
