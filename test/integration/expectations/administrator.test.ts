// What an administrator does to PostgreSQL itself, with its own tools, under write load: nothing that was acknowledged is lost, nobody else
// acknowledges, and the cluster is whole again by itself.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import { signalProcess } from '../../../src/postgres/processes.ts';
import { type Scene, LIMIT_MS, TEST_MS, openScene, sql } from '../dangers/scene.ts';

let scene: Scene;
beforeAll(async () => {
  scene = await openScene();
}, 4 * LIMIT_MS);
afterAll(() => scene?.close());

test(
  'a standby that is promoted by hand acknowledges nothing, is stopped, and comes back',
  { timeout: TEST_MS },
  async () => {
    const { primaries, why, acks } = await scene.underLoad(async (load) => {
      const [standby] = load.standbys;
      await sql(standby, 'select pg_promote(false)');
      await load.waitFor('it to be said', ({ nodes }) =>
        nodes.some(({ node, message = '' }) => node === standby.node && /ran as a primary/.test(message)),
      );
      await load.moreAcks(50, [load.primary]);
    });
    expect(primaries, why).toHaveLength(1);
    expect(new Set(acks.map(({ node }) => node)).size).toBe(1);
  },
);

test(
  'and a crash of the primary right after leads to one primary with all of it',
  { timeout: TEST_MS },
  async () => {
    const { primaries, why } = await scene.underLoad(async (load) => {
      const [standby] = load.standbys;
      await sql(standby, 'select pg_promote(false)');
      const { epoch } = await load.waitFor('the group', () => true);
      const pid = load.primary.killPostmaster();
      // The other standby alone proves nothing: the primary comes back, or the promoted one has become a standby in time.
      await load.waitFor('it to run again', (group) => {
        const now = load.primary.postmasterPid();
        return group.phase === 'running' && (group.epoch > epoch || (now !== undefined && now !== pid));
      });
    });
    expect(primaries.length, why).toBeGreaterThan(0);
    const later = await scene.underLoad(async (load) => {
      load.primary.killPostmaster();
      await load.event('promoted');
    });
    expect(later.primaries, later.why).toHaveLength(2);
  },
);

test('the primary is shut down by hand and not started again', { timeout: TEST_MS }, async () => {
  const { primaries, why } = await scene.underLoad(async (load) => {
    const pid = load.primary.postmasterPid() ?? 0;
    signalProcess(pid, 'SIGINT');
    await until({ what: 'PostgreSQL to run somewhere', timeoutMs: LIMIT_MS, everyMs: 50 }, () => {
      const now = load.primary.postmasterPid();
      return now !== undefined && now !== pid;
    });
    await load.waitFor('it to be said', ({ nodes }) =>
      nodes.some(
        ({ node, message = '' }) => node === load.primary.node && /shut down by somebody else/.test(message),
      ),
    );
  });
  expect(primaries.length, why).toBeGreaterThan(0);
});

test('replication slots and walsenders of members are taken away', { timeout: TEST_MS }, async () => {
  const { primaries, why } = await scene.underLoad(async (load) => {
    for (let count = 0; count < 5; count += 1)
      await sql(
        load.primary,
        `select pg_terminate_backend(pid) from pg_stat_replication;
         select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active`,
      ).catch(() => undefined);
    await load.moreAcks(50, [load.primary]);
  });
  expect(primaries, why).toHaveLength(1);
});
