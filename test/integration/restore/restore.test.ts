// A group that begins with a backup, recovered to a point in time: its command fails, is killed half-way, and succeeds.
import { readdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import { type HostPlan, dataDirectory } from '../../../harness/cluster-config.ts';
import { type LocalCluster, startLocalCluster } from '../../../harness/local-cluster.ts';
import { sql } from '../dangers/scene.ts';
import { HEALTHY_TIMEOUT_MS, LIMIT_MS, runSentinelctl } from '../raft/load.ts';
import {
  ALLOWED,
  GO,
  TARGET,
  archived,
  archiveOf,
  give,
  makeBackup,
  scriptOf,
  writeScript,
} from './backup.ts';

const stop = new AbortController();
let cluster: LocalCluster;
let peers: string;
let plans: readonly HostPlan[];
let archivedBefore: string[];
beforeAll(async () => {
  cluster = await startLocalCluster({
    cluster: 'restored',
    hostCount: 3,
    signal: stop.signal,
    settings: (directory) => ({
      bootstrap: {
        command: [scriptOf(directory)],
        timeout: '10min',
        restore_command: `cp ${archiveOf(directory)}/%f %p`,
        recovery_target_name: TARGET,
      },
    }),
    prepare: async (hosts, tools) => {
      plans = hosts;
      const [first] = hosts;
      if (first === undefined) throw new Error('no host');
      const directory = dirname(first.directory);
      await writeScript(directory);
      await makeBackup(tools, directory);
      archivedBefore = await archived(directory);
    },
  });
  peers = cluster.hosts.map(({ address }) => address).join(',');
}, LIMIT_MS);
afterAll(async () => {
  stop.abort(new Error('the test is over'));
  await cluster?.close();
});

const status = async (): Promise<string> =>
  (await runSentinelctl(['--peers', peers, 'status'])).stdout.replaceAll(/\s+/g, ' ');
const besides = async (node = 'pg1'): Promise<string[]> => {
  const plan = plans.find((each) => each.node === node);
  if (plan === undefined) throw new Error(`no host of ${node}`);
  return (await readdir(dirname(dataDirectory(plan)))).filter((name) => name.startsWith('pgdata'));
};

test(
  'the failure of the command is told with its last words, and leaves nothing',
  { timeout: LIMIT_MS },
  async () => {
    const what = { what: 'the failure to be told', timeoutMs: 120_000, everyMs: 300 };
    await until(what, async () => (await status()).includes('the backup store does not answer'));
    expect(await status()).toContain('the bootstrap command failed (exit code 3)');
    expect(await besides()).toEqual([]);
  },
);

test('one that was killed half-way is begun anew, by nobody else', { timeout: LIMIT_MS }, async () => {
  await give(cluster.directory, ALLOWED);
  const rejoin = await runSentinelctl(['--peers', peers, 'node', 'rejoin', 'pg1']);
  expect(rejoin.exitCode, rejoin.stderr).toBe(0);
  const half = async (): Promise<string | undefined> =>
    (await besides()).find((name) => name.includes('.restore-'));
  const first = await until({ what: 'the command to run', timeoutMs: 60_000, everyMs: 100 }, half);
  const host = cluster.hostOf('pg1');
  await host.stopSentineld('SIGKILL');
  host.startSentineld();
  await until({ what: 'it to begin anew', timeoutMs: 60_000, everyMs: 100 }, async () => {
    const names = await besides();
    return names.length === 1 && names[0] !== first && names[0]?.includes('.restore-');
  });
  for (const node of ['pg2', 'pg3']) expect(await besides(node)).toEqual([]);
  await give(cluster.directory, GO);
  const { primary, nodes } = await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
  expect(primary).toBe('pg1');
  expect(nodes.map(({ timeline }) => timeline)).toEqual([2, 2, 2]);
});

test(
  'what was there at the target is there, and nothing that came after',
  { timeout: LIMIT_MS },
  async () => {
    const host = cluster.hostOf('pg1');
    const text = 'select count(*)::int as count, min(id) as min, max(id) as max from kept';
    expect(await sql(host, text)).toEqual([{ count: 100, min: 1, max: 100 }]);
    expect(
      await sql(host, "select count(*)::int as count from pg_replication_slots where not slot_name ~ '^pg'"),
    ).toEqual([{ count: 0 }]);
    expect(await sql(host, 'show restore_command')).toEqual([{ restore_command: '' }]);
    expect(await sql(host, 'show archive_mode')).toEqual([{ archive_mode: 'off' }]);
    // Nothing was written where the old cluster archives.
    expect(await archived(cluster.directory)).toEqual(archivedBefore);
    const { stdout } = await runSentinelctl(['--peers', peers, 'events']);
    expect(stdout.replaceAll(/\s+/g, ' ')).toContain(`pg1 has recovered to name ${TARGET}: timeline 1,`);
    const group = JSON.parse((await runSentinelctl(['--peers', peers, 'status', '-o', 'json'])).stdout) as {
      groups: { restore: object }[];
    };
    expect(group.groups[0]?.restore).toMatchObject({
      target: `name ${TARGET}`,
      fromTimeline: 1,
      timeline: 2,
    });
  },
);

test('it fails over like any other', { timeout: LIMIT_MS }, async () => {
  await cluster.hostOf('pg1').kill();
  const { primary = '' } = await cluster.waitFor(
    'another primary',
    120_000,
    (group) => group.phase === 'running' && group.primary !== 'pg1',
  );
  const text = 'insert into kept values (101) returning id';
  expect(await sql(cluster.hostOf(primary), text)).toEqual([{ id: 101 }]);
  cluster.hostOf('pg1').startSentineld();
  const { nodes } = await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
  expect(nodes.map(({ timeline }) => timeline)).toEqual([3, 3, 3]);
});
