// Cascading standbys on a cluster of real processes: pg3 streams from the standby that its file names, from the primary while that is lost,
// and from nobody but the new primary after a failover. One cluster for all.
import { readFile } from 'node:fs/promises';
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
let primary: Host;
let near: Host;
let far: Host;
beforeAll(async () => {
  loaded = await startLoadedCluster({ cluster: 'cascade', spareCount: 0 });
  [primary, near, far] = await rolesOf(loaded);
}, LIMIT_MS);
afterAll(() => loaded?.close());

const waitFor = (what: string, isWanted: (group: GroupView) => boolean): Promise<GroupView> =>
  waitForGroup(loaded, what, isWanted);
const nodeOf = (group: GroupView, host: Host): NodeView | undefined =>
  group.nodes.find(({ node }) => node === host.node);
const uses = (group: GroupView, host: Host, isUsed: boolean): boolean => {
  const node = nodeOf(group, host);
  return node?.state === 'streaming' && node.upstreamUsed === isUsed;
};

/** By PostgreSQL's own word: the port that the walreceiver is connected to, once it streams. */
async function streamsFrom(host: Host, upstream: Host): Promise<void> {
  const asked = async (): Promise<number | undefined> => {
    const [row] = await sql<{ port: number }>(
      host,
      `select sender_port as port from pg_stat_wal_receiver where status = 'streaming'`,
    ).catch(() => []);
    return row?.port;
  };
  await expect.poll(asked, { timeout: HEALTHY_TIMEOUT_MS }).toBe(upstream.target.port);
}

test('it streams from its upstream, and no commit waits for it', { timeout: LIMIT_MS }, async () => {
  await say(far, { upstream: near.node });
  await waitFor('it to use its upstream', (group) => uses(group, far, true));
  await streamsFrom(far, near);
  const group = await waitFor('the rule', ({ rule }) => rule === `1 of ${near.node}`);
  expect(nodeOf(group, far)).toMatchObject({ upstream: near.node, counted: false });
  const shown = (await loaded.ctl(['status'])).stdout;
  expect(shown).toContain(`- streams from ${near.node}`);
  expect(shown).toMatch(/a cascading standby \(upstream/);
  expect(await loaded.ctl(['node', 'check', far.node])).toMatchObject({ exitCode: 0 });
  const verdict = await loaded.writeWhile(() => streamsFrom(far, near));
  expect(harmOf(verdict)).toEqual([]);
});

test(
  'its upstream being lost it follows the primary, and goes back later',
  { timeout: LIMIT_MS },
  async () => {
    const verdict = await loaded.writeWhile(async () => {
      await near.stopSentineld();
      near.killPostmaster();
      await waitFor('it to follow the primary', (group) => uses(group, far, false));
      await streamsFrom(far, primary);
      near.startSentineld();
      await waitFor('it to go back', (group) => uses(group, far, true));
      await streamsFrom(far, near);
    });
    expect(harmOf(verdict)).toEqual([]);
  },
);

test('an upstream that would lead back to it is refused', { timeout: LIMIT_MS }, async () => {
  await say(near, { upstream: far.node });
  const refused = async (): Promise<string> => (await loaded.ctl(['events', '-n', '20'])).stdout;
  await expect
    .poll(refused, { timeout: HEALTHY_TIMEOUT_MS })
    .toContain(`the upstream of ${near.node} leads back to it`);
  await say(near, { upstream: undefined });
  await waitFor('the rule', (group) => group.rule === `1 of ${near.node}` && uses(group, far, true));
});

test(
  'after a failover it follows the new primary, which is its upstream, and nothing is lost',
  { timeout: LIMIT_MS },
  async () => {
    const verdict = await loaded.writeWhile(async () => {
      // The whole host: PostgreSQL alone might be started again before a standby can be reached.
      await primary.kill();
      await waitFor('a new primary', (group) => group.primary === near.node);
      primary.startSentineld();
      await waitFor('all to follow the new primary', (group) => {
        const others = [primary, far].every((host) => nodeOf(group, host)?.state === 'streaming');
        return group.primary === near.node && others;
      });
      await streamsFrom(far, near);
    });
    expect(harmOf(verdict)).toEqual([]);
    const group = await waitFor('the rule', ({ rule }) => rule === `1 of ${primary.node}`);
    expect(nodeOf(group, far)).toMatchObject({ upstreamUsed: false, counted: false });
  },
);

test('a clone is taken from the upstream', { timeout: LIMIT_MS }, async () => {
  await loaded.ctl(['failover', '--to', primary.node, '-y']);
  await waitFor(
    'it to use its upstream again',
    (group) => group.primary === primary.node && uses(group, far, true),
  );
  const { member } = nodeOf(await waitFor('it', () => true), far) ?? {};
  const asked = await loaded.ctl(['node', 'reinit', far.node, '-y']);
  expect(asked).toMatchObject({ exitCode: 0 });
  await waitFor(
    'its clone to stream',
    (group) => uses(group, far, true) && nodeOf(group, far)?.member !== member,
  );
  expect(await readFile(far.logFile, 'utf8')).toContain(`"from":"${near.node}","msg":"cloning"`);
});
