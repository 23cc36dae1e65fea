// Five voters: three hosts with a node and two witnesses. Any two hosts may be lost, one after the other; here both times it is the primary's,
// so that the last node goes on alone, with the word of the witnesses.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import type { Host } from '../../../harness/host.ts';
import {
  HEALTHY_TIMEOUT_MS,
  LIMIT_MS,
  harmOf,
  startLoadedCluster,
  votersOf,
  type LoadedCluster,
} from '../raft/load.ts';

const STEP_MS = 60_000;

let loaded: LoadedCluster;
beforeAll(async () => {
  loaded = await startLoadedCluster({ cluster: 'voters', hostCount: 5, witnessCount: 2 });
}, LIMIT_MS);
afterAll(() => loaded?.close());

/** The primary's host is gone; resolves when another is primary, and its rule is that, with nothing of the lost ones in it. */
async function lose(rule: RegExp): Promise<Host> {
  const { cluster } = loaded;
  const old = await cluster.primary();
  await old.kill();
  await cluster.waitFor(
    `another primary than ${old.node}, and the rule ${rule}`,
    STEP_MS,
    (group) =>
      group.phase === 'running' &&
      group.primary !== old.node &&
      group.ruleChange === undefined &&
      rule.test(group.rule),
  );
  return old;
}

test('two hosts are lost, one after the other, without loss of a write', { timeout: LIMIT_MS }, async () => {
  const { cluster } = loaded;
  const list = await loaded.waitForPeers('a leader', ({ leader }) => leader !== undefined);
  expect(votersOf(list)).toEqual(['a', 'b', 'c', 'd', 'e']);
  const lost: Host[] = [];
  const verdict = await loaded.writeWhile(async () => {
    lost.push(await lose(/^1 of pg\d$/));
    // A primary that is lost before its standbys hold the point at which it began is waited for.
    await until({ what: 'the floor to be passed', timeoutMs: STEP_MS, everyMs: 100 }, async () => {
      const events = await cluster.admin.events(50);
      const kinds = events.map(({ kind }) => kind);
      return kinds.lastIndexOf('floor-passed') > kinds.lastIndexOf('promoted');
    });
    lost.push(await lose(/^alone$/));
  });
  expect(harmOf(verdict)).toEqual([]);
  expect(new Set(lost.map(({ node }) => node)).size).toBe(2);
  // With three of five voters and one node of three.
  expect(harmOf(await loaded.writeWhile(() => Promise.resolve()))).toEqual([]);

  const back = await loaded.writeWhile(async () => {
    for (const host of lost) host.startSentineld();
    await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
  });
  expect(harmOf(back)).toEqual([]);
});
