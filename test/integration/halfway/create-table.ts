// The first data directory of a new group, by sentineld itself: killed at each step and started again, it completes, and takes writes.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import { INSERT, prepareClients, readBack } from '../../../harness/clients.ts';
import { startLocalCluster, type LocalCluster } from '../../../harness/local-cluster.ts';
import { openSession } from '../../../harness/session.ts';
import { createHalting } from './halting.ts';
import { LIMIT_MS, TEST_MS, TIDY_MS } from './scene.ts';
import { lastOfLogs, runsOf, type Steps, sureOf, unknownSteps } from './table.ts';
import { createTidiness, filesOfHealthy } from './tidiness.ts';

export const CREATE: Steps = {
  'make state': 'alone',
  'make state/passfile': 'alone',
  'make s': 'alone',
  'make state/postgresql': 'alone',
  'make state/local': 'alone',
  'link state/local/N.sock': 'alone',
  'propose register-node': 'alone',
  'propose create-group': 'alone',
  'applied create-group': 'alone',
  'write state/NODE.fence': 'alone',
  // Once every member is known to understand it.
  'propose declare-host': 'alone',
  'applied declare-host': 'alone',
  'write pgdata.init-*.parts': 'alone',
  'make pgdata.init-*': 'alone',
  'write pgdata.init-*.parts #2': 'alone',
  'start initdb': 'alone',
  'started initdb': 'alone',
  'ended initdb': 'alone',
  'remove pgdata.init-*.parts': 'alone',
  'rename pgdata.init-* to pgdata': 'alone',
  'write pgdata/pg_sentinel_member.json': 'whole',
  'make state/guard': 'alone',
  'write state/guard/instructions.json': 'alone',
  'start the guard': 'alone',
  'started the guard': 'alone',
  'write pgdata/pg_sentinel.conf': 'whole',
  'write pgdata/postgresql.conf': 'alone',
  'write pgdata/pg_hba.conf': 'alone',
  'start postgres': 'alone',
  'started postgres': 'both',
  'sql create role': 'alone',
  'sql do': 'alone',
  'sql grant': 'alone',
  'propose group-ready': 'alone',
  'applied group-ready': 'alone',
  // Clients are let in.
  'write pgdata/pg_hba.conf #2': 'alone',
  'SIGHUP to postgres': 'alone',
  'sql checkpoint': 'alone',
  'SIGHUP to postgres #2': 'alone',
  'write state/postgresql/NODE.database.json': 'sometimes',
};

/** A cluster of one host, from nothing; what was killed has been started again. */
async function create(
  orders: { readonly step: string; readonly whole: boolean; readonly isSure: boolean } | undefined,
  known: Steps,
  judge: (cluster: LocalCluster, steps: readonly string[]) => Promise<void>,
): Promise<boolean> {
  const halts = await mkdtemp(join(tmpdir(), 'pg-sentinel-halting-'));
  const halting = createHalting(halts);
  const cluster = await startLocalCluster({
    cluster: 'create',
    hostCount: 1,
    environment: halting.environment,
    prepare: ([plan]) => Promise.resolve(plan && halting.arm(plan, orders)),
    signal: AbortSignal.timeout(TEST_MS),
  });
  try {
    const [host] = cluster.hosts;
    if (host === undefined) throw new Error('there is no host');
    if (orders !== undefined)
      await until({ what: `the step ${orders.step}`, timeoutMs: LIMIT_MS, everyMs: 20 }, async () => {
        return halting.isHalted(host) || (await isRunning(cluster, 50));
      });
    const isKilled = orders?.isSure === true ? await halting.isHaltedLater(host) : halting.isHalted(host);
    if (isKilled) {
      halting.disarm(host);
      await host.stopSentineld();
      host.startSentineld();
    }
    await cluster.waitUntilHealthy(LIMIT_MS);
    if (orders === undefined) await halting.notedLater(host, sureOf(known));
    await judge(cluster, halting.disarm(host));
    return isKilled;
  } catch (error) {
    console.log(lastOfLogs(cluster));
    throw error;
  } finally {
    await cluster.close();
    await rm(halts, { recursive: true, force: true });
  }
}

const isRunning = (cluster: LocalCluster, timeoutMs: number): Promise<boolean> =>
  cluster.waitUntilHealthy(timeoutMs).then(
    () => true,
    () => false,
  );

/** A client is let in, its write is taken and there. */
async function takesWrites(cluster: LocalCluster): Promise<void> {
  const primary = await cluster.primary();
  const settings = { ...(await prepareClients(primary)), applicationName: 'created' };
  // The group runs before its first primary has heard so: until then that one lets nobody in.
  const session = await until({ what: 'a client to be let in', timeoutMs: LIMIT_MS, everyMs: 50 }, () =>
    openSession(primary.target, settings).catch(() => undefined),
  );
  try {
    expect(await session.insert(INSERT, 'created', LIMIT_MS)).toMatchObject({ kind: 'acked' });
    expect(await readBack(primary)).toEqual(['created']);
  } finally {
    session.destroy();
  }
}

/** `known`: steps of the whole table, where `steps` is a part of it. */
export function testCreating(steps: Steps, known: Steps = steps): void {
  let healthy: readonly string[] = [];
  let killCount = 0;
  afterAll(() => console.log(`create: ${killCount} kills`));

  test('has no step that is not in the table', { timeout: TEST_MS }, async () => {
    await create(undefined, known, async (cluster, recorded) => {
      await takesWrites(cluster);
      healthy = await filesOfHealthy(cluster);
      unknownSteps(recorded, known);
    });
  });

  test.each(runsOf(steps))('killed before: $step ($who)', { timeout: TEST_MS }, async ({ step, who }) => {
    const isKilled = await create(
      { step, whole: who === 'whole', isSure: who !== 'sometimes' },
      known,
      async (cluster) => {
        await takesWrites(cluster);
        await createTidiness(cluster, healthy).waitUntilTidy(TIDY_MS);
      },
    );
    if (isKilled) killCount += 1;
    expect(isKilled || who === 'sometimes', 'it came to that step').toBe(true);
  });
}
