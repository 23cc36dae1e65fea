// What is neither dead nor well: hosts and processes that stand still, sentineld without PostgreSQL and the reverse, a full disk, clocks.
import { expect, test } from 'vitest';
import { delay, until } from '../../../src/base/clock.ts';
import { cutReported, fillDiskOf, lead, statusOf } from './faults.ts';
import { scene } from './scene.ts';

/** Longer than any timeout that sentineld has for a peer. */
const LONG_MS = 6000;

test(
  'the host of the primary is frozen and resumed',
  scene(async ({ workload, primary }) => {
    await primary.freeze();
    await workload.acknowledged({ notBy: primary });
    await delay(3000);
    await primary.thaw();
    await delay(3000);
  }),
);

test(
  'sentineld alone is killed beside the primary: no failover',
  scene(async ({ workload, primary }) => {
    await primary.setHeld(true);
    await primary.signalSentineld('KILL');
    expect(await workload.acknowledged()).toBe(primary.node);
    await delay(LONG_MS);
    expect(await workload.acknowledged()).toBe(primary.node);
  }),
);

test(
  'sentineld alone is frozen beside the primary: no failover',
  scene(async ({ workload, primary }) => {
    await primary.signalSentineld('STOP');
    await delay(LONG_MS);
    expect(await workload.acknowledged()).toBe(primary.node);
    await primary.signalSentineld('CONT');
    await delay(3000);
    expect(await workload.acknowledged()).toBe(primary.node);
  }),
);

test(
  'the Raft majority is lost: writes go on',
  scene(async ({ workload, primary, standbys }) => {
    await Promise.all(
      standbys.map(async (standby) => {
        await standby.setHeld(true);
        await standby.signalSentineld('KILL');
      }),
    );
    await delay(LONG_MS);
    expect(await workload.acknowledged()).toBe(primary.node);
  }),
);

test(
  'every sentineld is restarted at once: writes go on',
  scene(async ({ cluster, workload, primary }) => {
    await Promise.all(cluster.hosts.map((host) => host.signalSentineld('KILL')));
    expect(await workload.acknowledged()).toBe(primary.node);
    await cluster.converged(120_000);
    expect(await workload.acknowledged()).toBe(primary.node);
  }),
);

test(
  'the postmaster of the primary hangs',
  scene(async ({ workload, primary }) => {
    await primary.signalPostmaster('STOP');
    await workload.acknowledged({ notBy: primary });
    await delay(3000);
  }),
);

test(
  'the postmaster of the primary hangs and so does its sentineld: the cut alone fences it',
  scene(async ({ workload, primary }) => {
    // Sessions that are open go on, and so do the WAL streams: nobody on that host can stop them.
    await primary.signalSentineld('STOP');
    await primary.signalPostmaster('STOP');
    await workload.acknowledged({ notBy: primary });
    const sinceMs = performance.now();
    await delay(LONG_MS);
    expect(workload.wasAcknowledgedBy(primary, sinceMs)).toBe(false);
  }),
);

test(
  'nobody stops the old primary, and replay stands still on the standby that is not promoted: the cut alone fences it',
  scene(async ({ cluster, workload, primary, standbys: [chosen, other] }) => {
    await lead(cluster, chosen);
    // The other one lags, so it is not promoted, and is told late, so that there is time to hold up its replay when it has reported. From
    // then on it cannot turn to another upstream: whatever it still confirmed would be the old primary's.
    await cluster.links.spoil(primary.number, other.number, { latencyMs: 400, jitterMs: 0 }, ['node']);
    await cluster.links.spoil(chosen.number, other.number, { latencyMs: 200, jitterMs: 0 }, ['raft']);
    await cutReported(cluster, other, async () => {
      await primary.signalSentineld('STOP');
      await primary.signalPostmaster('STOP');
    });
    await other.freezeReplay();
    await workload.acknowledged({ notBy: primary });
    await delay(LONG_MS);
  }),
);

test(
  'the disk of the primary is full',
  scene(async ({ workload, primary }) => {
    await fillDiskOf(primary);
    await workload.acknowledged({ notBy: primary });
  }),
);

test(
  'the wall clock of one sentineld jumps back and forth: no failover',
  scene(async ({ cluster, workload, primary }) => {
    await primary.startWithOwnClock();
    // Nothing else shows that it is up: the others and every node go on without it.
    await until({ what: `sentineld of ${primary.node}`, timeoutMs: 60_000, everyMs: 200 }, () =>
      statusOf(primary).catch(() => undefined),
    );
    await cluster.converged(120_000);
    for (const offsetS of [3600, -3600, 86_400, -30, 0]) {
      await primary.setClock(offsetS);
      await delay(2000);
      expect(await workload.acknowledged()).toBe(primary.node);
      const { atMs } = await statusOf(primary);
      expect(Math.abs(atMs - Date.now() - offsetS * 1000)).toBeLessThan(20_000);
    }
  }),
);
