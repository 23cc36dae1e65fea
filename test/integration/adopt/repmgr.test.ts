// `sentinelctl adopt` with a pair that repmgr looks after, made by its own commands, under a writer that runs through all of it.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import type { HostPlan } from '../../../harness/cluster-config.ts';
import { type LocalCluster, startLocalCluster } from '../../../harness/local-cluster.ts';
import type { Writer } from '../../../harness/writer.ts';
import { sql } from '../dangers/scene.ts';
import { HEALTHY_TIMEOUT_MS, LIMIT_MS } from '../raft/load.ts';
import { makeRepmgrPair, repmgr, startRepmgrd, whyNoRepmgr } from './repmgr.ts';
import { adoptScene, startWriterThrough, harmThrough, LONGEST_PAUSE_MS } from './scene.ts';
import type { Tools } from './servers.ts';

/** Of a switchover or a crash, on a busy machine. */
const LONGEST_OUTAGE_MS = 30_000;
const REPMGR_SLOT = 'repmgr_slot_2';
const whyNot = whyNoRepmgr();
if (whyNot !== undefined) console.log(`skipped: a pair of repmgr is not adopted: ${whyNot}`);

describe.skipIf(whyNot !== undefined)('a pair of repmgr', () => {
  const stop = new AbortController();
  let cluster: LocalCluster;
  let tools: Tools;
  let plans: readonly HostPlan[];
  let writer: Writer;
  beforeAll(async () => {
    cluster = await startLocalCluster({
      cluster: 'repmgrs',
      hostCount: 3,
      witnessCount: 1,
      signal: stop.signal,
      prepare: async (hosts, given) => {
        [plans, tools] = [hosts, given];
        await makeRepmgrPair(tools, planOf('pg1'), planOf('pg2'));
      },
    });
    writer = await startWriterThrough([cluster.hostOf('pg1'), cluster.hostOf('pg2')], 5);
  }, LIMIT_MS);
  afterAll(async () => {
    await writer?.stop();
    stop.abort(new Error('the test is over'));
    await cluster?.close();
  });

  const { planOf, ctl, says } = adoptScene({ plans: () => plans, cluster: () => cluster });
  /** Of writes, since `fromMs`; each that is too long, with what was done then. */
  const pauses = (fromMs: number, limitMs: number): string[] => {
    const acks = writer.attempts.filter(({ outcome, endMs }) => outcome === 'acked' && endMs >= fromMs);
    return acks.flatMap(({ endMs }, at) => {
      const beginMs = acks[at - 1]?.endMs ?? fromMs;
      const during = steps.findLast(({ atMs }) => atMs <= endMs)?.name ?? 'the beginning';
      return endMs - beginMs < limitMs ? [] : [`${Math.round(endMs - beginMs)} ms: ${during}`];
    });
  };
  const steps: { readonly name: string; readonly atMs: number }[] = [];
  beforeEach(({ task }) => void steps.push({ name: task.name, atMs: performance.now() }));
  const slotsOf = (node: string) =>
    sql(cluster.hostOf(node), `select active from pg_replication_slots where slot_name = '${REPMGR_SLOT}'`);

  test('a repmgrd that runs stands in its way, on each host by itself', { timeout: LIMIT_MS }, async () => {
    const [first, second] = [
      await startRepmgrd(tools, planOf('pg1')),
      await startRepmgrd(tools, planOf('pg2')),
    ];
    const ofEach = [
      new RegExp(`pg1: repmgrd \\(process ${first.pid}\\) runs on this host.*promote a standby.*stop it`),
      new RegExp(`pg2: repmgrd \\(process ${second.pid}\\) runs on this host.*promote a standby.*stop it`),
    ];
    for (const pattern of ofEach) await says('adopt --dry-run', pattern);
    expect(await ctl('adopt --yes')).toMatchObject({ exitCode: 1, stdout: '' });
    expect((await ctl('status -o json')).stdout).toContain('"groups": []');
    await first.stop();
    const rest = await says('adopt --dry-run', /is not adopted: - pg2: repmgrd/);
    expect(rest).not.toContain('pg1: repmgrd');
    await second.stop();
    await says('adopt --dry-run', /would adopt/);
  });

  test('the plan says what stays of it', { timeout: LIMIT_MS }, async () => {
    const plan = await says('adopt --dry-run', /would adopt group main/);
    expect(plan).toContain("shared_preload_libraries = 'repmgr'");
    expect(plan).toContain('host repmgr repmgr 127.0.0.1/32 trust');
    expect(plan).toContain(
      "left out of pg_hba.conf, pg-sentinel's accounts replicate: host replication repmgr 127.0.0.1/32 trust",
    );
    expect(plan).toContain(`replication slot ${REPMGR_SLOT} keeps WAL`);
  });

  test('writes go on while the standby becomes ours', { timeout: LIMIT_MS }, async () => {
    const before = ['pg1', 'pg2'].map((node) => cluster.hostOf(node).postmasterPid());
    const [fromMs, countBefore] = [performance.now(), writer.attempts.length];
    expect(await ctl('adopt main --yes')).toMatchObject({ exitCode: 0 });
    await says('status', /is being adopted and not protected: .*; sentinelctl failover main ends that, and/);
    const standby = cluster.hostOf('pg2');
    expect(cluster.hostOf('pg1').postmasterPid()).toBe(before[0]);
    expect(standby.postmasterPid()).not.toBe(before[1]);
    expect(await sql(standby, 'select sender_port::int, slot_name from pg_stat_wal_receiver')).toEqual([
      {
        sender_port: planOf('pg1').nodePort,
        slot_name: expect.stringMatching(/^pg2_[0-9a-f]{8}$/) as unknown,
      },
    ]);
    expect(await sql(standby, 'show shared_preload_libraries')).toEqual([
      { shared_preload_libraries: 'repmgr' },
    ]);
    const during = writer.attempts.slice(countBefore);
    expect(during.length).toBeGreaterThan(20);
    expect(during.filter(({ outcome }) => outcome !== 'acked')).toEqual([]);
    expect(pauses(fromMs, LONGEST_PAUSE_MS)).toEqual([]);
    // It goes by the application name: for it nobody is attached to the primary.
    expect(await repmgr(tools, planOf('pg1'), 'cluster', 'show')).toMatch(/pg2 +\| standby \| +running/);
  });

  test('a repmgrd that is started after that is told of', { timeout: LIMIT_MS }, async () => {
    const late = await startRepmgrd(tools, planOf('pg2'));
    try {
      await says('status', new RegExp(`repmgrd \\(process ${late.pid}\\) looks after this node too`));
    } finally {
      await late.stop();
    }
  });

  test('after the switchover its slot is there to be dropped', { timeout: LIMIT_MS }, async () => {
    expect(await ctl('failover main --to pg2 --yes')).toMatchObject({ exitCode: 0 });
    const { primary } = await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
    expect(primary).toBe('pg2');
    expect(await slotsOf('pg1')).toEqual([{ active: false }]);
    expect(await slotsOf('pg2')).toEqual([]);
    await sql(cluster.hostOf('pg1'), `select pg_drop_replication_slot('${REPMGR_SLOT}')`);
  });

  test('its library and its database are taken off', { timeout: LIMIT_MS }, async () => {
    expect(await ctl('settings set postgresql.shared_preload_libraries=')).toMatchObject({ exitCode: 0 });
    const restarted = await ctl('node restart pg1 --yes');
    expect(restarted).toMatchObject({ exitCode: 0 });
    await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
    expect(await sql(cluster.hostOf('pg1'), 'show shared_preload_libraries')).toEqual([
      { shared_preload_libraries: '' },
    ]);
    const primary = cluster.hostOf('pg2');
    await sql(primary, 'drop database repmgr with (force)');
    await sql(primary, 'drop role repmgr');
  });

  test('then a crash is failed over, and nothing was lost all the while', { timeout: LIMIT_MS }, async () => {
    cluster.hostOf('pg2').killPostmaster();
    await cluster.waitFor(
      'another primary',
      60_000,
      ({ primary, phase }) => primary === 'pg1' && phase === 'running',
    );
    await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
    const { length } = writer.attempts;
    await until({ what: 'writes on pg1', timeoutMs: 30_000, everyMs: 50 }, () =>
      writer.attempts.slice(length).some(({ outcome, node }) => outcome === 'acked' && node === 'pg1'),
    );
    expect(await harmThrough(writer, cluster.hostOf('pg1'), ['pg1', 'pg2', 'pg1'])).toEqual([]);
    expect(pauses(writer.attempts[0]?.startMs ?? 0, LONGEST_OUTAGE_MS)).toEqual([]);
  });
});
