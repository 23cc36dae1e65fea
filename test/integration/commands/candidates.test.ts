// What owners say of their nodes, on a cluster of real processes: in the file of a host, taken over by a restart of its sentineld, and what
// becomes of it in the sync rule, in failovers and in failbacks. One cluster for all.
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Host } from '../../../harness/host.ts';
import type { GroupView, NodeView } from '../../../src/transport/types.ts';
import { sql } from '../dangers/scene.ts';
import {
  HEALTHY_TIMEOUT_MS,
  LIMIT_MS,
  type LoadedCluster,
  harmOf,
  startLoadedCluster,
} from '../raft/load.ts';
import { rolesOf, say, waitForGroup } from '../raft/nodes.ts';

let loaded: LoadedCluster;
beforeAll(async () => {
  loaded = await startLoadedCluster({ cluster: 'candidates', spareCount: 0 });
}, LIMIT_MS);
afterAll(() => loaded?.close());

const waitFor = (what: string, isWanted: (group: GroupView) => boolean): Promise<GroupView> =>
  waitForGroup(loaded, what, isWanted);
const nodeOf = (group: GroupView, node: string): NodeView | undefined =>
  group.nodes.find((found) => found.node === node);
/** Its sentineld being restarted, it leaves the rule in any case: until it is said why, and it streams again. */
const barred = (host: Host, why: RegExp, rule: string): Promise<GroupView> =>
  waitFor(`the rule ${rule}`, (group) => {
    const { notPromoted = '' } = nodeOf(group, host.node) ?? {};
    return why.test(notPromoted) && group.rule === rule && isStreaming(group, host.node);
  });
const isStreaming = (group: GroupView, node: string): boolean => nodeOf(group, node)?.state === 'streaming';

test(
  'a node with no_failover leaves the rule, is no target, and is not promoted',
  { timeout: LIMIT_MS },
  async () => {
    await loaded.cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
    const [primary, never, other] = await rolesOf(loaded);
    await say(never, { no_failover: true });
    await barred(never, /no_failover/, `1 of ${other.node}`);
    expect((await loaded.ctl(['status'])).stdout).toMatch(/- never promoted \(no_failover, or priority 0\)/);
    expect(await loaded.ctl(['failover', '--to', never.node, '-y'])).toMatchObject({
      exitCode: 1,
      stderr: expect.stringMatching(`${never.node} is never promoted`) as unknown,
    });
    const verdict = await loaded.writeWhile(async () => {
      primary.killPostmaster();
      await waitFor('the other one', (found) => found.primary === other.node);
    });
    expect(harmOf(verdict)).toEqual([]);
    await waitFor('all to stream', (found) => [primary, never].every(({ node }) => isStreaming(found, node)));
  },
);

test('where nobody else is left, nobody is promoted, and it is said', { timeout: LIMIT_MS }, async () => {
  const [primary, ...standbys] = await rolesOf(loaded);
  for (const host of standbys) await say(host, { priority: 0 });
  for (const host of standbys) await barred(host, /priority 0/, 'alone');
  const { stdout } = await loaded.ctl(['status']);
  expect(stdout.replace(/\s+/g, ' ')).toMatch(/could not fail over now: .*alone/);
  const { epoch } = await waitFor('it', () => true);
  const pid = primary.killPostmaster();
  await waitFor('it to run again', (group) => {
    const now = primary.postmasterPid();
    return group.primary === primary.node && now !== undefined && now !== pid;
  });
  expect((await waitFor('it', () => true)).epoch).toBe(epoch);
  for (const host of standbys) await say(host, { priority: 100, no_failover: false });
  await loaded.cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
});

test('a delayed replica replays late, also after a failover', { timeout: LIMIT_MS }, async () => {
  const [primary, late, other] = await rolesOf(loaded);
  const delayOf = async (): Promise<unknown> => {
    const [row] = await sql<{ delay: string }>(
      late,
      `select current_setting('recovery_min_apply_delay') as delay`,
    );
    return row?.delay;
  };
  await say(late, { apply_delay: '1h' });
  await barred(late, /a delayed replica/, `1 of ${other.node}`);
  await expect.poll(delayOf, { timeout: HEALTHY_TIMEOUT_MS }).toBe('1h');
  primary.killPostmaster();
  await waitFor('all to stream from the other one', (found) => {
    return found.primary === other.node && [primary, late].every(({ node }) => isStreaming(found, node));
  });
  await expect.poll(delayOf, { timeout: HEALTHY_TIMEOUT_MS }).toBe('1h');
  await say(late, { apply_delay: '0s' });
  await loaded.cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
});

test('sites: nobody outside the one of most voters is counted', { timeout: LIMIT_MS }, async () => {
  const [primary, near, far] = await rolesOf(loaded);
  for (const host of [primary, near, far]) await say(host, {}, { site: host === far ? 'west' : 'east' });
  await expect
    .poll(async () => (await loaded.ctl(['events', '-n', '200'])).stdout, { timeout: HEALTHY_TIMEOUT_MS })
    .toMatch(`peer ${far.peer} is in site west`);
  const set = (...words: string[]) => loaded.ctl(['settings', 'set', ...words]);
  expect(await set('site_policy=majority')).toMatchObject({ exitCode: 0 });
  await barred(far, /in site west, and most voters are in east/, `1 of ${near.node}`);
  expect(await set('site_policy=ignore')).toMatchObject({ exitCode: 0 });
  await loaded.cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
});

test('a failback takes place by itself once the node has streamed well', { timeout: LIMIT_MS }, async () => {
  const [, preferred] = await rolesOf(loaded);
  const set = (...words: string[]) => loaded.ctl(['settings', 'set', ...words]);
  expect(await set('failback=node:nobody')).toMatchObject({
    exitCode: 1,
    stderr: expect.stringMatching(/there is no node nobody in group main/) as unknown,
  });
  const verdict = await loaded.writeWhile(async () => {
    expect(await set(`failback=node:${preferred.node}`, 'failback_after=2s')).toMatchObject({ exitCode: 0 });
    await waitFor('the failback', ({ primary }) => primary === preferred.node);
  });
  expect(harmOf(verdict)).toEqual([]);
  expect((await loaded.ctl(['events', '-n', '50'])).stdout).toMatch(
    `failback of group main begins, to ${preferred.node}`,
  );
});
