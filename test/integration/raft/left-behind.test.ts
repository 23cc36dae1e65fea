// A recovery declared somebody lost who was only cut off: on first contact it stops its PostgreSQL, takes no part any more, and
// says so until it is added again.
import { rename, rm } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { delay, until } from '../../../src/base/clock.ts';
import { harmOf, HEALTHY_TIMEOUT_MS, LIMIT_MS, startLoadedCluster, type LoadedCluster } from './load.ts';

let loaded: LoadedCluster;
beforeAll(async () => {
  loaded = await startLoadedCluster({ cluster: 'behind' });
}, LIMIT_MS);
afterAll(() => loaded?.close());

test(
  'a peer of an earlier incarnation stops its PostgreSQL and waits to be added again',
  { timeout: LIMIT_MS },
  async () => {
    const { cluster, ctl } = loaded;
    const primary = await cluster.primary();
    const [survivor, other] = cluster.hosts.filter(({ node }) => node !== primary.node);
    if (survivor === undefined || other === undefined) throw new Error('two standbys are needed');
    const verdict = await loaded.writeWhile(async () => {
      for (const host of [primary, other]) await host.stopSentineld('SIGKILL');
      cluster.admin.setAddresses([survivor.address]);
      await delay(3000);
      const names = `${primary.peer},${other.peer}`;
      expect(await ctl(['peer', 'recover', '--lost', names, '--yes'], [survivor])).toMatchObject({
        exitCode: 0,
      });

      // Both come back with the log they had: together they are a majority of the earlier incarnation.
      for (const host of [primary, other]) host.startSentineld();
      await until({ what: 'both to stop their PostgreSQL', timeoutMs: 60_000, everyMs: 100 }, () =>
        [primary, other].every((host) => host.postmasterPid() === undefined),
      );
      for (const host of [primary, other]) {
        const { stdout } = await ctl(['status'], [host]);
        expect(stdout.replaceAll(/\s+/g, ' ')).toContain(
          `the cluster was recovered without peer ${host.peer}: ${survivor.peer} is at incarnation 2`,
        );
        expect(host.sentineldPid).toBeDefined();
      }

      // A restart changes nothing: the first contact stops it again, and nothing is started before.
      await primary.stopSentineld('SIGTERM');
      primary.startSentineld();
      await delay(5000);
      expect(primary.postmasterPid()).toBeUndefined();

      for (const host of [primary, other]) {
        await host.stopSentineld('SIGTERM');
        await rename(host.raftDirectory, `${host.raftDirectory}.old`);
        await cluster.makeJoining(host);
        host.startSentineld();
        expect(await ctl(['peer', 'add', host.peer, host.address], [survivor])).toMatchObject({
          exitCode: 0,
        });
        await rm(`${host.raftDirectory}.old`, { recursive: true });
      }
      cluster.admin.setAddresses(cluster.hosts.map(({ address }) => address));
      await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
    });
    expect(harmOf(verdict)).toEqual([]);
  },
);
