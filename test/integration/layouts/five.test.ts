// Five nodes of one group on three voters and two learners: the primary may be on a host whose sentineld is no voter, and fails over from it
// like from any other. One cluster for all: each test leaves it healthy.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { GROUP } from '../../../harness/cluster-config.ts';
import type { Host } from '../../../harness/host.ts';
import { until } from '../../../src/base/clock.ts';
import {
  HEALTHY_TIMEOUT_MS,
  LIMIT_MS,
  harmOf,
  startLoadedCluster,
  votersOf,
  type LoadedCluster,
} from '../raft/load.ts';
import { addLearners } from '../raft/nodes.ts';

const STEP_MS = 60_000;

let loaded: LoadedCluster;
beforeAll(async () => {
  loaded = await startLoadedCluster({ cluster: 'five', spareCount: 2 });
}, LIMIT_MS);
afterAll(() => loaded?.close());

const anotherPrimary = (old: Host) =>
  loaded.cluster.waitFor(
    'another primary',
    STEP_MS,
    ({ phase, primary }) => phase === 'running' && primary !== old.node,
  );

async function onLearner(): Promise<Host> {
  const { cluster, ctl } = loaded;
  const [, , , learner] = cluster.hosts;
  if (learner === undefined) throw new Error('there is no learner');
  // On a busy machine a switchover may be called off, which leaves all as it was.
  const what = `${learner.node} to be the primary`;
  await until({ what, timeoutMs: HEALTHY_TIMEOUT_MS, everyMs: 100 }, async () => {
    const { primary } = await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
    return (
      primary === learner.node || (await ctl(['failover', '--to', learner.node, '--yes'])).exitCode === 0
    );
  });
  await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
  return learner;
}

test('three nodes: a primary that crashes is replaced, without loss', { timeout: LIMIT_MS }, async () => {
  const verdict = await loaded.writeWhile(async () => {
    const old = await loaded.cluster.primary();
    old.killPostmaster();
    await anotherPrimary(old);
    await loaded.cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
  });
  expect(harmOf(verdict)).toEqual([]);
});

test(
  'five nodes: a primary on a learner that crashes is replaced, without loss',
  { timeout: LIMIT_MS },
  async () => {
    const { cluster } = loaded;
    await addLearners(loaded, 2);
    const learner = await onLearner();
    const verdict = await loaded.writeWhile(async () => {
      learner.killPostmaster();
      await anotherPrimary(learner);
      await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
    });
    expect(harmOf(verdict)).toEqual([]);
  },
);

test(
  'the host of a primary on a learner is lost and comes back, without loss',
  { timeout: LIMIT_MS },
  async () => {
    const { cluster } = loaded;
    const learner = await onLearner();
    const verdict = await loaded.writeWhile(async () => {
      await learner.kill();
      await anotherPrimary(learner);
      learner.startSentineld();
      await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
    });
    expect(harmOf(verdict)).toEqual([]);
    const list = await loaded.waitForPeers('the peers', ({ peers }) => peers.length === 5);
    expect(votersOf(list)).toEqual(['a', 'b', 'c']);
    expect((await cluster.admin.status()).groups.map(({ group, nodes }) => [group, nodes.length])).toEqual([
      [GROUP, 5],
    ]);
  },
);
