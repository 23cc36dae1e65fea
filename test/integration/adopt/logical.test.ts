// A primary with logical slots is adopted while a consumer streams from it: nothing is cut off or lost, and of two slots the one survives the
// switchover that was named in the settings before.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import { dataDirectory, type HostPlan } from '../../../harness/cluster-config.ts';
import { readBack } from '../../../harness/clients.ts';
import { type LocalCluster, startLocalCluster } from '../../../harness/local-cluster.ts';
import type { Writer } from '../../../harness/writer.ts';
import { sql } from '../dangers/scene.ts';
import { HEALTHY_TIMEOUT_MS, LIMIT_MS } from '../raft/load.ts';
import { adoptScene, startWriterThrough, harmThrough, longestPauseMs, LONGEST_PAUSE_MS } from './scene.ts';
import { type Tools, makeServers, psql, run } from './servers.ts';

const NAMED = 'sentinelctl settings set logical_slots.kept=postgres:test_decoding';

const stop = new AbortController();
let cluster: LocalCluster;
let tools: Tools;
let plans: readonly HostPlan[];
let writer: Writer;
beforeAll(async () => {
  cluster = await startLocalCluster({
    cluster: 'decoded',
    hostCount: 3,
    signal: stop.signal,
    prepare: async (hosts, given) => {
      [plans, tools] = [hosts, given];
      // Its standbys have no word of it: to a standby by hand nobody gives it.
      await makeServers(given, hosts, { settings: 'wal_level = logical\n' });
      await psql(given, planOf('pg1'), 'alter role keeper replication');
      for (const name of ['kept', 'theirs'])
        await psql(
          given,
          planOf('pg1'),
          `select pg_create_logical_replication_slot('${name}', 'test_decoding')`,
        );
    },
  });
  writer = await startWriterThrough(cluster.hosts, 20);
}, LIMIT_MS);
afterAll(async () => {
  await writer?.stop();
  stop.abort(new Error('the test is over'));
  await cluster?.close();
});

const { planOf, ctl, says } = adoptScene({ plans: () => plans, cluster: () => cluster });

interface Consumer {
  readonly isRunning: () => boolean;
  readonly seen: () => Promise<Set<string>>;
  /** With what it has printed. */
  readonly ended: Promise<string>;
}

/** Streams from slot `kept`, once: it does not connect again by itself. */
function consume(node: string): Consumer {
  const { directory, nodePort } = planOf(node);
  const file = join(directory, 'run', `consumed-${Date.now()}`);
  const words = `-h 127.0.0.1 -p ${nodePort} -U keeper -d postgres -S kept --start --no-loop -s 1 -f ${file}`;
  let isRunning = true;
  const ended = run(tools, 'pg_recvlogical', words.split(' '), {
    isFailureExpected: true,
    timeoutMs: LIMIT_MS,
  }).finally(() => void (isRunning = false));
  const seen = async (): Promise<Set<string>> => {
    const text = await readFile(file, 'utf8').catch(() => '');
    return new Set(idsOf(text));
  };
  return { isRunning: () => isRunning, seen, ended };
}

const idsOf = (text: string): string[] =>
  [...text.matchAll(/table public\.writes: INSERT: id\[text\]:'([^']+)'/g)].map(([, id]) => id ?? '');

/** Until what `read` returns has all of that; else what it lacks. */
const hasAll = async (
  written: readonly string[],
  read: () => Promise<ReadonlySet<string>>,
): Promise<void> => {
  let missing = written;
  await until({ what: 'the consumer to catch up', timeoutMs: 60_000, everyMs: 100 }, async () => {
    const seen = await read();
    missing = written.filter((id) => !seen.has(id));
    return missing.length === 0;
  }).catch((error: unknown) => {
    const text = `${(error as Error).message}: it lacks ${missing.length} of ${written.length}, such as ${missing[0]}`;
    throw new Error(text, { cause: error });
  });
};
const readerOf = (slot: string): Promise<string> =>
  psql(tools, planOf('pg1'), `select active_pid from pg_replication_slots where slot_name = '${slot}'`);

let consumer: Consumer;

test('a plan says what is decoded, and that nothing keeps it yet', { timeout: LIMIT_MS }, async () => {
  const plan = await says('adopt --dry-run', /would adopt group main/);
  expect(plan).toContain(
    `logical replication slot kept goes on, and is kept by no switchover or failover before it is named: ${NAMED}`,
  );
  expect(plan).toContain('logical replication slot theirs goes on');
  expect(plan).not.toContain("wal_level: 'logical'");
  expect(plan).toContain("wal_level: 'replica' -> 'logical' (with its restart)");
});

test(
  'while it is taken over nothing is cut off, and nothing waits for a restart',
  { timeout: LIMIT_MS },
  async () => {
    consumer = consume('pg1');
    await until({ what: 'a reader', timeoutMs: 20_000, everyMs: 100 }, async () =>
      /\d/.test(await readerOf('kept')),
    );
    const [reader, postmaster] = [await readerOf('kept'), cluster.hostOf('pg1').postmasterPid()];
    const adopted = await ctl('adopt', '--yes');
    expect(adopted).toMatchObject({ exitCode: 0, stderr: '' });
    expect(adopted.stdout).toContain(NAMED);
    await says('status', /is being adopted and not protected: .*; sentinelctl failover main ends that, and/);
    expect(cluster.hostOf('pg1').postmasterPid()).toBe(postmaster);
    expect(await readerOf('kept')).toBe(reader);
    // Where ours are reached it is not yet.
    const written = await psql(tools, planOf('pg1'), 'select id from writes');
    await hasAll(written.trim().split('\n'), consumer.seen);
    expect(consumer.isRunning()).toBe(true);
    expect(await psql(tools, planOf('pg1'), 'select name from pg_settings where pending_restart')).toBe('');
    for (const node of ['pg2', 'pg3'])
      expect(await sql(cluster.hostOf(node), 'show wal_level')).toEqual([{ wal_level: 'logical' }]);
  },
);

test(
  'a slot that is there is kept once it is named, and its consumer notices nothing',
  { timeout: LIMIT_MS },
  async () => {
    const reader = await readerOf('kept');
    expect(await ctl('settings', 'set', 'logical_slots.kept=postgres:test_decoding')).toMatchObject({
      exitCode: 0,
    });
    await says('settings get', /logical_slots\.kept: on pg1/);
    expect(await readerOf('kept')).toBe(reader);
    // PostgreSQL reads a copied slot only when it starts.
    for (const node of ['pg2', 'pg3']) {
      await says('settings get', new RegExp(`it is copied when ${node} is started again`));
      expect(await ctl('node', 'restart', node)).toMatchObject({ exitCode: 0 });
    }
    await says('settings get', /on pg1; a failover to pg2 or pg3 keeps it/);
    expect(consumer.isRunning()).toBe(true);
    expect(cluster.hostOf('pg1').postmasterPid()).toBeDefined();
  },
);

test(
  'by the switchover that one goes on, and lacks nothing; the other stays behind',
  { timeout: LIMIT_MS },
  async () => {
    expect(await ctl('failover', 'main', '--to', 'pg2', '--yes')).toMatchObject({ exitCode: 0 });
    await consumer.ended;
    const seen = await consumer.seen();
    expect((await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS)).primary).toBe('pg2');
    const next = cluster.hostOf('pg2');
    await hasAll(await readBack(next), async () => {
      const rows = await sql<{ data: string }>(
        next,
        "select data from pg_logical_slot_get_changes('kept', null, null)",
      );
      for (const id of rows.flatMap(({ data }) => idsOf(data))) seen.add(id);
      return seen;
    });
    expect((await ctl('events')).stdout).not.toMatch(/logical slot kept of group main is lost/);
    const slots = "select slot_name from pg_replication_slots where slot_type = 'logical' order by 1";
    expect(await sql(cluster.hostOf('pg2'), slots)).toEqual([{ slot_name: 'kept' }]);
    expect(await sql(cluster.hostOf('pg1'), slots)).toEqual([{ slot_name: 'kept' }, { slot_name: 'theirs' }]);
    await says('status', /pg1 .*nobody reads from and no setting names: theirs; .*pg_drop_replication_slot/);
  },
);

test(
  'decoding goes on without any slot of the settings, wherever the primary is',
  { timeout: LIMIT_MS },
  async () => {
    expect(await ctl('settings', 'unset', 'logical_slots.kept')).toMatchObject({ exitCode: 0 });
    await says('status', /group main: running/);
    await sql(cluster.hostOf('pg1'), "select pg_drop_replication_slot('theirs')");
    for (const { node } of cluster.hosts) {
      expect(await sql(cluster.hostOf(node), 'show wal_level')).toEqual([{ wal_level: 'logical' }]);
      const settings = await readFile(join(dataDirectory(planOf(node)), 'pg_sentinel.conf'), 'utf8');
      expect(settings).toContain("wal_level = 'logical'");
    }
  },
);

test('no write was lost or waited for long all the while', { timeout: LIMIT_MS }, async () => {
  expect(await harmThrough(writer, await cluster.primary(), ['pg1', 'pg2'])).toEqual([]);
  expect(longestPauseMs(writer)).toBeLessThan(LONGEST_PAUSE_MS);
});
