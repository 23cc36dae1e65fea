// A primary whose disk is full, read-only or hangs: it answers, but cannot write. It must be replaced, and lose nothing.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { nodeId } from '../../../src/base/ids.ts';
import { until } from '../../../src/base/clock.ts';
import { GROUP } from '../../../harness/cluster-config.ts';
import type { Host } from '../../../harness/host.ts';
import { isHealthy } from '../../../harness/local-cluster.ts';
import { LIMIT_MS, openScene, sql, TEST_MS, type Load, type Judged, type Scene } from '../dangers/scene.ts';
import { diskObstacle, moveOntoDisk, type Disk } from './disk.ts';

const obstacle = diskObstacle();

describe.skipIf(obstacle !== undefined)(`the disk of the primary (${obstacle ?? 'a loop mount'})`, () => {
  let scene: Scene;

  beforeAll(async () => {
    scene = await openScene();
  }, TEST_MS);
  afterAll(async () => {
    await scene?.close();
  });

  /** Makes a standby primary on a disk of its own, then lets `fault` happen under load; the node is cloned anew in the end. */
  async function onDisk(fault: (load: Load, disk: Disk) => Promise<void>): Promise<Judged> {
    const { cluster } = scene;
    const group = await cluster.waitUntilHealthy(LIMIT_MS);
    const name = group.nodes.map(({ node }) => node).find((node) => node !== group.primary);
    const host = cluster.hostOf(name ?? expect.fail('no standby'));
    await host.stopAll();
    const disk = await moveOntoDisk(host);
    try {
      host.startSentineld();
      await cluster.waitUntilHealthy(LIMIT_MS);
      const outcome = await cluster.admin.failover({ group: GROUP, to: nodeId(host.node) }, LIMIT_MS);
      expect(outcome.kind).toBe('done');
      await cluster.waitFor('the switchover', LIMIT_MS, ({ primary }) => primary === host.node);
      return await scene.underLoad(async (load) => {
        load.undo(async () => {
          await disk.remove();
          host.startSentineld();
        });
        await fault(load, disk);
      });
    } finally {
      await disk.remove();
      if (host.sentineldPid === undefined) host.startSentineld();
    }
  }

  /** Until the next segment of WAL would have to be made, which ends PostgreSQL. */
  async function useUpWal(host: Host): Promise<void> {
    const use = "select pg_logical_emit_message(false, 'pg_sentinel', 'use'), pg_switch_wal()";
    const ended = async (): Promise<boolean> => (await sql(host, use).catch(() => undefined)) === undefined;
    await until({ what: 'the end of WAL', timeoutMs: LIMIT_MS, everyMs: 1 }, ended);
  }

  test(
    'is full',
    async () => {
      const judged = await onDisk(async (load, disk) => {
        disk.fill();
        await load.event('subjective-down', /writes fail/);
        await load.event('promoted');
        await load.moreAcks(50, load.standbys);
      });
      expect(judged.primaries, judged.why).toHaveLength(2);
    },
    TEST_MS,
  );

  test(
    'is full, and WAL finds no room either',
    async () => {
      const judged = await onDisk(async (load, disk) => {
        disk.fill();
        await useUpWal(load.primary);
        await load.event('promoted');
        await load.moreAcks(50, load.standbys);
      });
      expect(judged.primaries, judged.why).toHaveLength(2);
    },
    TEST_MS,
  );

  test(
    'becomes read-only',
    async () => {
      const judged = await onDisk(async (load, disk) => {
        await disk.makeReadOnly();
        await load.event('promoted');
        await load.moreAcks(50, load.standbys);
      });
      expect(judged.primaries, judged.why).toHaveLength(2);
    },
    TEST_MS,
  );

  test(
    'hangs, so that no write and no fsync returns; when it goes on, the old primary follows',
    async () => {
      const judged = await onDisk(async (load, disk) => {
        await disk.freeze();
        await load.event('subjective-down', /no answer|writes fail/);
        await load.event('promoted');
        await load.moreAcks(50, load.standbys);
        await disk.unfreeze();
        await load.waitFor('the old primary to follow', (group) => isHealthy(group, 3));
      });
      expect(judged.primaries, judged.why).toHaveLength(2);
    },
    TEST_MS,
  );
});
