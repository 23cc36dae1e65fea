// The worst that people do on the day on which the first site is gone: they open the nodes here by hand, one after the other. None of them is taken
// for what the other site has written any more, and a person who knows which one to go on with says so by its name.
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { LocalCluster } from '../../../harness/local-cluster.ts';
import { sql } from '../dangers/scene.ts';
import { HEALTHY_TIMEOUT_MS, LIMIT_MS } from '../raft/load.ts';
import type { Source } from './source.ts';
import { LEFT, type Second, bothStream, promoteByHand, startSecond } from './second.ts';

let second: Second;
let source: Source;
let cluster: LocalCluster;
beforeAll(async () => {
  second = await startSecond();
  ({ source, cluster } = second);
}, LIMIT_MS);
afterAll(() => second?.close());

const ctl: Second['ctl'] = (line) => second.ctl(line);
const waitFor: Second['waitFor'] = (what, isWanted) => second.waitFor(what, isWanted);

test('every node is opened by hand, and one of them by its name at last', { timeout: LIMIT_MS }, async () => {
  const following = await waitFor('both nodes to stream', bothStream);
  const there = source.servers[0];
  await source.sql(there, "insert into public.writes values ('there')");
  const nodes = following.nodes.map(({ node }) => cluster.hostOf(node));
  const rowsOf = async (host: (typeof nodes)[number]) =>
    (await sql<{ id: string }>(host, 'select id from public.writes').catch(() => [])).map(({ id }) => id);
  for (const host of nodes)
    await expect.poll(() => rowsOf(host), { timeout: HEALTHY_TIMEOUT_MS }).toEqual(['there']);
  for (const server of source.servers) await source.kill(server);

  for (const host of nodes) {
    // One may have gone along with the other, and be left for that.
    await promoteByHand(host);
    await waitFor('it to be left', (group) =>
      LEFT.test(group.nodes.find(({ node }) => node === host.node)?.message ?? ''),
    );
  }
  const [first] = nodes;
  if (first === undefined) throw new Error('no node');
  const refused = await ctl('site promote --yes');
  expect(refused.exitCode).not.toBe(0);
  for (const { node } of nodes)
    expect(refused.stderr).toContain(`sentinelctl site promote main --to ${node} --accept-data-loss`);
  expect((await ctl(`site promote --to ${first.node} --yes`)).stderr).toContain('--accept-data-loss');
  expect((await waitFor('an answer', () => true)).phase).toBe('following');

  const done = await ctl(`site promote --to ${first.node} --accept-data-loss --yes`);
  expect(done).toMatchObject({ exitCode: 0 });
  expect(done.stdout).toContain(`${first.node} is the primary of group main`);
  await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
  await sql(first, "insert into public.writes values ('here')");
  for (const host of nodes)
    await expect
      .poll(() => rowsOf(host), { timeout: HEALTHY_TIMEOUT_MS })
      .toEqual(expect.arrayContaining(['there', 'here']));
  // It is a group as any other, also with the node that went through all of that.
  first.killPostmaster();
  await waitFor('a failover', ({ phase, primary }) => phase === 'running' && primary !== first.node);
  await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
});
