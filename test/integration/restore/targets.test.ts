// Where recovery stops: at a time and at a position; and what a target that cannot be reached leads to. A group of one node is enough for that.
import { readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeEach, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { until } from '../../../src/base/clock.ts';
import { type LocalCluster, startLocalCluster } from '../../../harness/local-cluster.ts';
import { sql } from '../dangers/scene.ts';
import { LIMIT_MS, runSentinelctl } from '../raft/load.ts';
import { ALLOWED, type Backup, GO, archiveOf, give, makeBackup, scriptOf, writeScript } from './backup.ts';

let stop: AbortController;
let cluster: LocalCluster | undefined;
let backup: Backup;
beforeEach(() => {
  stop = new AbortController();
});
afterEach(async () => {
  stop.abort(new Error('the test is over'));
  await cluster?.close();
  cluster = undefined;
}, LIMIT_MS);
afterAll(() => cluster?.close());

const bootstrapOf = (directory: string, target: object): object => ({
  command: [scriptOf(directory)],
  restore_command: `cp ${archiveOf(directory)}/%f %p`,
  ...target,
});

/** One node that restores to that target. */
async function restoring(target: object): Promise<LocalCluster> {
  cluster = await startLocalCluster({
    cluster: 'restored',
    hostCount: 1,
    signal: stop.signal,
    settings: (directory) => ({ bootstrap: bootstrapOf(directory, target) }),
    prepare: async ([first], tools) => {
      const directory = dirname(first?.directory ?? '');
      await writeScript(directory);
      backup = await makeBackup(tools, directory);
      for (const sign of [ALLOWED, GO]) await give(directory, sign);
    },
  });
  return cluster;
}

/** As an administrator does: the configuration, and sentineld anew. */
async function changeTarget({ directory, hosts: [host] }: LocalCluster, target: object): Promise<void> {
  if (host === undefined) throw new Error('no host');
  const file = parse(await readFile(host.configFile, 'utf8')) as object;
  await writeFile(host.configFile, stringify({ ...file, bootstrap: bootstrapOf(directory, target) }));
  await host.stopSentineld('SIGTERM');
  host.startSentineld();
}

const status = async ({ hosts }: LocalCluster): Promise<string> =>
  (
    await runSentinelctl(['--peers', hosts.map(({ address }) => address).join(','), 'status'])
  ).stdout.replaceAll(/\s+/g, ' ');
const told = (of: LocalCluster, text: string) =>
  until({ what: `the status to say "${text}"`, timeoutMs: 180_000, everyMs: 300 }, async () =>
    (await status(of)).includes(text),
  );
const running = (of: LocalCluster) => of.waitFor('a primary', 180_000, (group) => group.phase === 'running');

async function expectTarget(of: LocalCluster): Promise<void> {
  const text = 'select count(*)::int as count, min(id) as min, max(id) as max from kept';
  const rows = await until({ what: 'an answer', timeoutMs: 120_000, everyMs: 300 }, () =>
    sql(of.hostOf('pg1'), text).catch(() => undefined),
  );
  expect(rows).toEqual([{ count: 100, min: 1, max: 100 }]);
  await sql(of.hostOf('pg1'), 'insert into kept values (101)');
}

test(
  'a target before the end of the backup is told, and another one begins anew: a time',
  { timeout: LIMIT_MS },
  async () => {
    const of = await restoring({ recovery_target_lsn: '0/1' });
    await told(of, 'requested recovery stop point is before consistent recovery point');
    const marker = join(of.hostOf('pg1').dataDirectory, 'pg_sentinel_restoring');
    expect(JSON.parse(await readFile(marker, 'utf8'))).toMatchObject({ isStarted: true });
    await changeTarget(of, { recovery_target_time: backup.time });
    const group = await running(of);
    expect(group.restore).toMatchObject({ target: `time ${backup.time}`, fromTimeline: 1 });
    await expectTarget(of);
  },
);

test(
  'a target that the archive does not reach is waited for and told; another one begins anew: a position',
  { timeout: LIMIT_MS },
  async () => {
    const of = await restoring({ recovery_target_name: 'nobody_made_it' });
    await told(of, 'the recovery target (name nobody_made_it) is not reached: at');
    expect((await of.admin.status()).groups[0]?.phase).toBe('creating');
    await changeTarget(of, { recovery_target_lsn: backup.lsn, recovery_target_inclusive: false });
    const group = await running(of);
    expect(group.restore).toMatchObject({ target: `lsn ${backup.lsn} (exclusive)`, timeline: 2 });
    await expectTarget(of);
  },
);
