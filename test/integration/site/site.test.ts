// A cluster that is a standby of another site: it follows a primary there through that site's own failover and the loss of its site leader,
// opens nothing by itself, and takes writes once a person has promoted it. One cluster for all, and two servers by hand as the other site.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { HostPlan } from '../../../harness/cluster-config.ts';
import type { Host } from '../../../harness/host.ts';
import type { LocalCluster } from '../../../harness/local-cluster.ts';
import { until } from '../../../src/base/clock.ts';
import { signalProcess } from '../../../src/postgres/processes.ts';
import type { EventView, GroupView, NodeView } from '../../../src/transport/types.ts';
import { sql } from '../dangers/scene.ts';
import { HEALTHY_TIMEOUT_MS, LIMIT_MS } from '../raft/load.ts';
import { LEFT, type Second, bothStream, promoteByHand, startSecond } from './second.ts';
import type { Source } from './source.ts';

const SLOT = 'second_site';

let second: Second;
let source: Source;
let cluster: LocalCluster;
let plan: HostPlan;
beforeAll(async () => {
  second = await startSecond({ slot: SLOT });
  ({ source, cluster, plan } = second);
}, LIMIT_MS);
afterAll(() => second?.close());

const ctl: Second['ctl'] = (line) => second.ctl(line);
const waitFor: Second['waitFor'] = (what, isWanted) => second.waitFor(what, isWanted);
const nodeOf = (group: GroupView, name: string): NodeView | undefined =>
  group.nodes.find(({ node }) => node === name);
const leader = async (): Promise<Host> => cluster.primary();
const others = async (): Promise<Host[]> => {
  const present = await leader();
  return cluster.hosts.filter((host) => host !== present && !host.isWitness);
};
const rowsOf = async (host: Host): Promise<string[]> =>
  (await sql<{ id: string }>(host, 'select id from public.writes order by id').catch(() => [])).map(
    ({ id }) => id,
  );

const written: string[] = [];
/** Written at the other site, and to be seen on those nodes. */
async function writeThere(at: 0 | 1, id: string, seenBy: readonly Host[]): Promise<void> {
  await source.sql(source.servers[at], `insert into public.writes values ('${id}')`);
  written.push(id);
  for (const host of seenBy)
    await until(
      { what: `${host.node} to show ${id}`, timeoutMs: HEALTHY_TIMEOUT_MS, everyMs: 100 },
      async () => (await rowsOf(host)).includes(id),
    );
}
/** As a person would who reads what the nodes say: what is to be copied anew is, until both stream. */
async function repair(): Promise<void> {
  await until(
    { what: 'both nodes to stream again', timeoutMs: HEALTHY_TIMEOUT_MS, everyMs: 1000 },
    async () => {
      const group = await waitFor('an answer', () => true);
      if (bothStream(group)) return true;
      for (const { node, message = '' } of group.nodes)
        if (/sentinelctl node reinit pg/.test(message)) await ctl(`node reinit ${node} --yes`);
      return false;
    },
  );
}
/** What no group that follows another site may ever do by itself. */
async function opened(): Promise<readonly EventView[]> {
  const events = await cluster.admin.events(1000);
  const kinds = ['create-group', 'begin-failover', 'promote', 'promoted', 'promote-site'];
  return events.filter(({ kind, refused }) => kinds.includes(kind) && refused === undefined);
}

test('one node streams from the primary there, the other from that one', { timeout: LIMIT_MS }, async () => {
  await waitFor('both nodes to stream', bothStream);
  const [first, [second]] = [await leader(), await others()];
  if (second === undefined) throw new Error('no other node');
  await writeThere(0, 'r1', [first, second]);
  const [row] = await sql<{ port: number; slot: string }>(
    first,
    'select sender_port as port, slot_name as slot from pg_stat_wal_receiver',
  );
  expect(row).toEqual({ port: source.servers[0].nodePort, slot: SLOT });
  const [inner] = await sql<{ port: number }>(second, 'select sender_port as port from pg_stat_wal_receiver');
  expect(inner?.port).toBe(first.target.port);
  const shown = (await ctl('status')).stdout.replaceAll(/\s+/g, ' ');
  expect(shown).toContain('group main: following');
  expect(shown).toContain(`${first.node} streams from 127.0.0.1:${source.servers[0].nodePort},127.0.0.1:`);
  expect(
    nodeOf(await waitFor('the lag', (group) => nodeOf(group, first.node)?.lagBytes === 0), first.node),
  ).toBeDefined();
  expect(await ctl('status --exit-code')).toMatchObject({ exitCode: 0 });
  // Right after it was cloned some figures are yet to come.
  await until({ what: 'a check that finds it well', timeoutMs: HEALTHY_TIMEOUT_MS, everyMs: 500 }, async () =>
    /OK/.test((await ctl(`node check ${first.node}`)).stdout),
  );
});

test('nothing in it takes writes, and a failover says what can be done', { timeout: LIMIT_MS }, async () => {
  for (const host of [await leader(), ...(await others())])
    await expect(sql(host, "insert into public.writes values ('here')")).rejects.toThrow(/read-only/);
  for (const line of ['failover -y', 'failover --accept-data-loss -y']) {
    const { exitCode, stderr } = await ctl(line);
    expect(exitCode).not.toBe(0);
    expect(stderr).toContain('sentinelctl site promote main');
  }
  expect(await opened()).toEqual([]);
});

test('a failover of the other site is followed', { timeout: LIMIT_MS }, async () => {
  const [, there] = source.servers;
  await source.kill(source.servers[0]);
  await source.sql(there, 'select pg_promote()');
  await writeThere(1, 'r2', [await leader(), ...(await others())]);
  const active = `select count(*) from pg_replication_slots where slot_name = '${SLOT}' and active`;
  // It may have been set up once more in between.
  await until(
    { what: 'the slot there to be in use', timeoutMs: HEALTHY_TIMEOUT_MS, everyMs: 100 },
    async () => (await source.sql(there, active)).includes('1'),
  );
});

test(
  'a timeline of the same number that began elsewhere is not followed, and goes unnoticed by no new connection',
  { timeout: LIMIT_MS },
  async () => {
    const first = await leader();
    const file = join(first.dataDirectory, 'pg_wal/00000002.history');
    const history = await readFile(file, 'utf8');
    await writeFile(file, history.replace(/\t\S+\t/, '\t0/1000028\t'));
    const [receiver] = await sql<{ pid: number }>(first, 'select pid from pg_stat_wal_receiver');
    if (receiver === undefined) throw new Error('it does not stream');
    signalProcess(receiver.pid, 'SIGTERM');
    const stray = await waitFor('it to be cut off', (group) =>
      /timeline 2 is another one.*sentinelctl node reinit/.test(nodeOf(group, first.node)?.message ?? ''),
    );
    expect(nodeOf(stray, first.node)?.state).not.toBe('streaming');
    expect(await sql(first, 'select pid from pg_stat_wal_receiver')).toEqual([]);
    await writeFile(file, history);
    await waitFor('both nodes to stream again', bothStream);
    await writeThere(1, 'r2b', [first, ...(await others())]);
  },
);

test('the site leader being lost another node streams from there', { timeout: LIMIT_MS }, async () => {
  const [first, [second]] = [await leader(), await others()];
  if (second === undefined) throw new Error('no other node');
  await first.stopAll();
  await waitFor('another site leader', (group) => group.primary === second.node);
  await writeThere(1, 'r3', [second]);
  first.startSentineld();
  await waitFor('both nodes to stream', bothStream);
  await writeThere(1, 'r4', [first, second]);
  const [row] = await sql<{ port: number }>(first, 'select sender_port as port from pg_stat_wal_receiver');
  expect(row?.port).toBe(second.target.port);
  expect(await opened()).toEqual([]);
});

test('a person moves the site leader', { timeout: LIMIT_MS }, async () => {
  const [first, [second]] = [await leader(), await others()];
  if (second === undefined) throw new Error('no other node');
  expect(await ctl(`site lead ${second.node}`)).toMatchObject({ exitCode: 0 });
  await waitFor('both nodes to stream', (group) => group.primary === second.node && bothStream(group));
  await writeThere(1, 'r5', [first, second]);
});

test(
  'a node that somebody promotes is stopped, and left as it is until a person says otherwise',
  { timeout: LIMIT_MS },
  async () => {
    const [first, [second]] = [await leader(), await others()];
    if (second === undefined) throw new Error('no other node');
    for (const host of [second, first]) {
      const { member } = nodeOf(await waitFor('both nodes to stream', bothStream), host.node) ?? {};
      await promoteByHand(host);
      const stopped = await waitFor('it to be left', (group) =>
        LEFT.test(nodeOf(group, host.node)?.message ?? ''),
      );
      expect(nodeOf(stopped, host.node)).toMatchObject({ state: 'failed', member });
      expect(host.postmasterPid()).toBeUndefined();
      await repair();
    }
    await writeThere(1, 'r6', [first, second]);
    expect(await opened()).toEqual([]);
  },
);

test(
  'the other site being lost, every sentineld and PostgreSQL too, nothing opens',
  { timeout: LIMIT_MS },
  async () => {
    await source.kill(source.servers[1]);
    const nodes = [await leader(), ...(await others())];
    for (const host of cluster.hosts) await host.stopAll();
    for (const host of cluster.hosts) host.startSentineld();
    await waitFor('both to run again', (group) =>
      nodes.every(({ node }) => nodeOf(group, node)?.role === 'standby'),
    );
    const shown = await waitFor('the reason', (group) =>
      /no server of the other site/.test(nodeOf(group, group.primary ?? '')?.message ?? ''),
    );
    expect(shown.phase).toBe('following');
    expect(await opened()).toEqual([]);
    for (const host of nodes) expect(await rowsOf(host)).toEqual(written);
  },
);

test('another database at the address of the other site is refused', { timeout: LIMIT_MS }, async () => {
  const stranger = await source.startStranger(plan);
  await waitFor('it to be refused', (group) =>
    /it holds another database/.test(nodeOf(group, group.primary ?? '')?.message ?? ''),
  );
  await source.kill(stranger);
});

test('promoted, it takes writes and has all that it had received', { timeout: LIMIT_MS }, async () => {
  const [first, [second]] = [await leader(), await others()];
  if (second === undefined) throw new Error('no other node');
  // On a timeline of its own, that is above all others, it must not be taken for the one that holds the most.
  await promoteByHand(second);
  await waitFor('it to be left', (left) => LEFT.test(nodeOf(left, second.node)?.message ?? ''));
  expect((await ctl('site promote --dry-run')).stdout).toContain(
    'WARNING: nothing here stops the other site',
  );
  expect(await opened()).toEqual([]);
  // Nobody is asked, nobody has said yes.
  expect((await ctl('site promote')).exitCode).not.toBe(0);
  expect(await opened()).toEqual([]);
  const done = await ctl('site promote --yes');
  expect(done).toMatchObject({ exitCode: 0 });
  expect(done.stdout).toContain('is the primary of group main');
  const group = await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
  expect(group.primary).toBe(first.node);
  const primary = cluster.hostOf(group.primary ?? '');
  const [on] = await sql<{ timeline: number }>(
    primary,
    "select ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int as timeline",
  );
  expect(on?.timeline).toBeGreaterThan(16);
  expect(await rowsOf(primary)).toEqual(written);
  await sql(primary, "insert into public.writes values ('r7')");
  for (const host of await others())
    await expect.poll(() => rowsOf(host), { timeout: HEALTHY_TIMEOUT_MS }).toEqual([...written, 'r7']);
  const again = await ctl('site promote --yes');
  expect(again.exitCode).not.toBe(0);
  expect(again.stderr).toContain('does not follow another site');
});

test('from then on it is a group as any other', { timeout: LIMIT_MS }, async () => {
  const before = await leader();
  before.killPostmaster();
  await waitFor('a failover', (group) => group.phase === 'running' && group.primary !== before.node);
  await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
  expect(await rowsOf(await leader())).toEqual([...written, 'r7']);
});
