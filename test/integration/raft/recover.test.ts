// The Raft directories of two of three peers are gone, and the third goes on alone, while clients write.
import { rm } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { delay } from '../../../src/base/clock.ts';
import {
  harmOf,
  HEALTHY_TIMEOUT_MS,
  LIMIT_MS,
  startLoadedCluster,
  votersOf,
  type LoadedCluster,
} from './load.ts';

let loaded: LoadedCluster;
beforeAll(async () => {
  loaded = await startLoadedCluster({ cluster: 'recover' });
}, LIMIT_MS);
afterAll(() => loaded?.close());

test(
  'two of three disks gone: one peer goes on, and nothing acknowledged is lost',
  { timeout: LIMIT_MS },
  async () => {
    const { cluster, ctl } = loaded;
    const primary = await cluster.primary();
    const survivor = cluster.hosts.find(({ node }) => node !== primary.node);
    if (survivor === undefined) throw new Error('no standby');
    const lost = cluster.hosts.filter((host) => host !== survivor);
    const names = lost.map(({ peer }) => peer).join(',');

    const early = await ctl(['peer', 'recover', '--lost', names, '--yes'], [survivor]);
    expect(early).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('can be reached from') });

    const verdict = await loaded.writeWhile(async () => {
      for (const host of lost) {
        await host.stopSentineld('SIGKILL');
        await rm(host.raftDirectory, { recursive: true });
      }
      cluster.admin.setAddresses([survivor.address]);
      // It must have noticed that nobody is there.
      await delay(3000);
      const half = await ctl(['peer', 'recover', '--lost', lost[0]?.peer ?? '', '--yes'], [survivor]);
      expect(half).toMatchObject({
        exitCode: 1,
        stderr: expect.stringContaining('cannot be reached either'),
      });
      const recovered = await ctl(['peer', 'recover', '--lost', names, '--yes'], [survivor]);
      expect(recovered).toMatchObject({
        exitCode: 0,
        stdout: expect.stringContaining(`${survivor.peer} is the only voter, incarnation 2`),
      });

      const held = await cluster.waitFor('the group to be held', 30_000, ({ phase }) => phase === 'fencing');
      await delay(2000);
      expect(await cluster.admin.status()).toMatchObject({
        incarnation: 2,
        leader: survivor.peer,
        groups: [{ phase: 'fencing', epoch: held.epoch }],
      });

      for (const host of lost) {
        await cluster.makeJoining(host);
        host.startSentineld();
        const added = await ctl(['peer', 'add', host.peer, host.address], [survivor]);
        expect(added).toMatchObject({ exitCode: 0, stdout: `done: ${host.peer} is a voter\n` });
      }
      cluster.admin.setAddresses(cluster.hosts.map(({ address }) => address));
      const group = await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
      expect(group.epoch).toBeGreaterThanOrEqual(held.epoch);
    });
    expect(harmOf(verdict)).toEqual([]);
    const list = await loaded.waitForPeers('three voters', ({ peers }) => peers.length === 3);
    expect(votersOf(list)).toEqual(['a', 'b', 'c']);
    expect(list.incarnation).toBe(2);
  },
);
