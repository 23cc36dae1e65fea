// What dies at once: PostgreSQL, hosts, one after the other and all together.
import { expect, test } from 'vitest';
import { delay } from '../../../src/base/clock.ts';
import { killDuringPromotion, ruleIs, statusWhere } from './faults.ts';
import { scene } from './scene.ts';

const CONVERGE_MS = 120_000;

test(
  'the postmaster of the primary is killed',
  scene(async ({ workload, primary }) => {
    await primary.signalPostmaster('KILL');
    await workload.acknowledged({ notBy: primary });
  }),
);

test(
  'the host of the primary is killed and comes back',
  scene(async ({ cluster, workload, primary }) => {
    await primary.kill();
    await workload.acknowledged({ notBy: primary });
    await primary.start();
    await cluster.converged(CONVERGE_MS);
  }),
);

test(
  'a standby is lost, then the primary while it is alone: nobody takes its place',
  scene(async ({ cluster, workload, primary, standbys: [lost, hung] }) => {
    await lost.kill();
    await hung.signalPostgres('STOP');
    await statusWhere(cluster, 'the primary to go on alone', 60_000, ruleIs('alone'));
    expect(await workload.acknowledged()).toBe(primary.node);
    await primary.kill();
    await hung.signalPostgres('CONT');
    await lost.start();
    const sinceMs = performance.now();
    await statusWhere(cluster, 'a leader without the primary', 60_000, ({ leader }) => leader !== undefined);
    await delay(5000);
    const others = workload
      .operations()
      .filter(({ outcome, startMs }) => outcome === 'acked' && startMs > sinceMs);
    expect(others).toEqual([]);
    await primary.start();
    expect(await workload.acknowledged()).toBe(primary.node);
  }),
);

test(
  'the new primary is killed during its promotion',
  scene(async ({ cluster, workload, primary }) => {
    const killed = await killDuringPromotion(cluster, primary);
    await workload.acknowledged({ notBy: killed });
  }),
);

test(
  'the whole cluster is killed and started',
  scene(async ({ cluster, workload }) => {
    await Promise.all(cluster.hosts.map((host) => host.kill()));
    await Promise.all(cluster.hosts.map((host) => host.start()));
    await workload.acknowledged({ timeoutMs: CONVERGE_MS });
  }),
);

test(
  'the hosts are restarted one by one',
  scene(async ({ cluster, workload }) => {
    for (const host of cluster.hosts) {
      await host.stop();
      await host.start();
      await cluster.converged(CONVERGE_MS);
      await workload.acknowledged();
    }
  }),
);
