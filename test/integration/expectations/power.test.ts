// Power that goes everywhere at once, and what is left when PostgreSQL crashes while most peers are away; and that less durability than is
// wanted is said.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { delay, until } from '../../../src/base/clock.ts';
import {
  HEALTHY_TIMEOUT_MS,
  LIMIT_MS,
  harmOf,
  startLoadedCluster,
  type LoadedCluster,
} from '../raft/load.ts';

let loaded: LoadedCluster;
beforeAll(async () => {
  loaded = await startLoadedCluster({ cluster: 'power' });
}, LIMIT_MS);
afterAll(() => loaded?.close());

const healthy = () => loaded.cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);

test(
  'after a loss of power everywhere all that was acknowledged is there',
  { timeout: LIMIT_MS },
  async () => {
    await healthy();
    const verdict = await loaded.writeWhile(async () => {
      await Promise.all(loaded.cluster.hosts.map((host) => host.kill()));
      for (const host of loaded.cluster.hosts) expect(host.postmasterPid()).toBeUndefined();
      for (const host of loaded.cluster.hosts) host.startSentineld();
      await healthy();
    });
    expect(harmOf(verdict)).toEqual([]);
  },
);

test(
  'a loss of power in the middle of a failover ends in one primary with all of it',
  { timeout: LIMIT_MS },
  async () => {
    await healthy();
    const primary = await loaded.cluster.primary();
    const verdict = await loaded.writeWhile(async () => {
      const { epoch } = await healthy();
      primary.killPostmaster();
      await loaded.cluster.waitFor(
        'the failover to begin',
        HEALTHY_TIMEOUT_MS,
        (group) => group.epoch > epoch,
      );
      await Promise.all(loaded.cluster.hosts.map((host) => host.kill()));
      // The old primary's host alone starts nothing: who is primary is for the log to say.
      primary.startSentineld();
      await until(
        { what: 'it to wait for the log', timeoutMs: HEALTHY_TIMEOUT_MS, everyMs: 100 },
        async () => {
          const client = await loaded.adminOf(primary).catch(() => undefined);
          const status = await client?.status().catch(() => undefined);
          client?.close();
          return status?.warnings.some((text) => /no Raft leader/.test(text));
        },
      );
      await delay(1000);
      expect(primary.postmasterPid()).toBeUndefined();
      for (const host of loaded.cluster.hosts) if (host !== primary) host.startSentineld();
      await healthy();
    });
    expect(harmOf(verdict)).toEqual([]);
  },
);

test(
  'a majority of the peers is lost, PostgreSQL goes on, and comes back after a crash',
  { timeout: LIMIT_MS },
  async () => {
    await healthy();
    const primary = await loaded.cluster.primary();
    const others = loaded.cluster.hosts.filter((host) => host !== primary);
    const verdict = await loaded.writeWhile(async () => {
      for (const host of others) await host.stopSentineld();
      const pid = primary.killPostmaster();
      await until({ what: 'PostgreSQL to run again', timeoutMs: HEALTHY_TIMEOUT_MS, everyMs: 50 }, () => {
        const now = primary.postmasterPid();
        return now !== undefined && now !== pid;
      });
      for (const host of others) host.startSentineld();
      await healthy();
    });
    expect(harmOf(verdict)).toEqual([]);
  },
);

test('a primary that runs alone is said at once, and until it does not', { timeout: LIMIT_MS }, async () => {
  await healthy();
  const primary = await loaded.cluster.primary();
  const others = loaded.cluster.hosts.filter((host) => host !== primary);
  for (const { node } of others) await loaded.ctl(['fence', node, '-y']);
  const warned = (isSaid: boolean) =>
    until({ what: `degraded: ${isSaid}`, timeoutMs: HEALTHY_TIMEOUT_MS, everyMs: 100 }, async () => {
      const { warnings } = await loaded.cluster.admin.status();
      return (
        warnings.some((text) => /durability is degraded: commits are on pg\d alone/.test(text)) === isSaid
      );
    });
  await warned(true);
  const { stdout } = await loaded.ctl(['events']);
  expect(stdout).toMatch(/durability is degraded: synchronous commit is changing to alone/);
  // Both the status for people and the check for monitoring show it.
  expect((await loaded.ctl(['status'])).stdout).toMatch(/durability is degraded/);
  for (const { node } of others) await loaded.ctl(['unfence', node]);
  await healthy();
  await warned(false);
});
