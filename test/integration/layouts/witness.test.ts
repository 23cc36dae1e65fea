// Two nodes and a witness; a second group beside them, of two hosts whose sentineld is no voter; and a server that is only watched. One cluster
// for all: each test leaves it healthy.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { GROUP } from '../../../harness/cluster-config.ts';
import type { Host } from '../../../harness/host.ts';
import { until } from '../../../src/base/clock.ts';
import type { EventView, StatusView, WatchedView } from '../../../src/transport/types.ts';
import {
  HEALTHY_TIMEOUT_MS,
  LIMIT_MS,
  harmOf,
  startLoadedCluster,
  votersOf,
  type LoadedCluster,
} from '../raft/load.ts';
import { addLearners, reconfigure } from '../raft/nodes.ts';
import { makeForeignServer } from './watched.ts';

const ORDERS = 'orders';
const STEP_MS = 60_000;

let loaded: LoadedCluster;
beforeAll(async () => {
  loaded = await startLoadedCluster({
    cluster: 'layouts',
    witnessCount: 1,
    spareCount: 2,
    groupOf: (peer) => (peer > 'c' ? ORDERS : GROUP),
    node: ({ group }) => (group === ORDERS ? { formation: 'abroad' } : {}),
  });
}, LIMIT_MS);
afterAll(() => loaded?.close());

const statusOf = (): Promise<StatusView> => loaded.cluster.admin.status();
const epochOf = async (name: string): Promise<number | undefined> =>
  (await statusOf()).groups.find(({ group }) => group === name)?.epoch;

/** Kills the primary's postmaster, and waits until another node is primary and the old one follows. */
async function crash(group: string): Promise<Host> {
  const { cluster } = loaded;
  const old = await cluster.primary(group);
  old.killPostmaster();
  const isOver = ({ phase, primary }: StatusView['groups'][number]): boolean =>
    phase === 'running' && primary !== old.node;
  await cluster.waitFor(`another primary of ${group}`, STEP_MS, isOver, group);
  await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS, group);
  return old;
}

async function event(what: string, isIt: (found: EventView) => boolean): Promise<EventView> {
  return until({ what, timeoutMs: STEP_MS, everyMs: 100 }, async () =>
    (await loaded.cluster.admin.events(300)).findLast(isIt),
  );
}

test(
  'two nodes and a witness: a primary that crashes is replaced, without loss',
  { timeout: LIMIT_MS },
  async () => {
    const verdict = await loaded.writeWhile(async () => void (await crash(GROUP)));
    expect(harmOf(verdict)).toEqual([]);
    const { stdout } = await loaded.ctl(['status']);
    expect(stdout).toMatch(/\n {2}c +\S+ +(answered|ok) .*witness/);
  },
);

test(
  'a second group on hosts whose sentineld is no voter fails over by itself, and the first does not notice',
  { timeout: LIMIT_MS },
  async () => {
    const { cluster } = loaded;
    await addLearners(loaded, 2);
    await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS, ORDERS);
    const before = await epochOf(GROUP);
    await crash(ORDERS);
    expect(await epochOf(GROUP)).toBe(before);
    const orders = await epochOf(ORDERS);
    const verdict = await loaded.writeWhile(async () => void (await crash(GROUP)));
    expect(harmOf(verdict)).toEqual([]);
    expect(await epochOf(ORDERS)).toBe(orders);
    // Nothing makes a voter of a learner but a person.
    expect(votersOf(await loaded.waitForPeers('the peers', ({ leader }) => leader !== undefined))).toEqual([
      'a',
      'b',
      'c',
    ]);
  },
);

test(
  'with two groups, commands say which are there, or find out by the node',
  { timeout: LIMIT_MS },
  async () => {
    const { cluster, ctl } = loaded;
    const learner = cluster.hosts.slice(3);
    expect(await ctl(['pause'])).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining('name the group: main, orders'),
    });
    expect(await ctl(['failover', '--yes'])).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining('there are: main, orders'),
    });
    expect(await ctl(['uri'])).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining('--group; there are: main, orders'),
    });
    expect((await ctl(['uri', '--group', ORDERS])).stdout).toMatch(
      /^postgres:\/\/(127\.0\.0\.1:\d+,?){2}\/postgres/,
    );
    expect(await ctl(['status', '--group', 'order'])).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining('there are: main, orders'),
    });
    // Asked of a learner, which hands it on.
    expect(await ctl(['pause', '--group', ORDERS], learner)).toMatchObject({ exitCode: 0 });
    expect(await ctl(['resume', ORDERS], learner)).toMatchObject({ exitCode: 0 });
    const primary = await cluster.primary(ORDERS);
    const standby = cluster.hosts.find(({ group, node }) => group === ORDERS && node !== primary.node);
    const to = standby?.node ?? '';
    expect(await ctl(['failover', '--to', to, '--dry-run'], learner)).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining(`group orders: from ${primary.node} to ${to}`),
    });
    const { stdout } = await ctl(['status', '--formation', 'abroad']);
    expect(stdout).toMatch(/group orders: running.*formation abroad/);
    expect(stdout).not.toContain('group main');
    const { stdout: events } = await ctl(['events', '--group', ORDERS, '-n', '100', '-o', 'json']);
    expect(new Set((JSON.parse(events) as EventView[]).map(({ group }) => group))).toEqual(new Set([ORDERS]));
  },
);

test(
  'a server that is only watched: told of when it goes, comes back and changes its role',
  { timeout: LIMIT_MS },
  async () => {
    const { cluster, ctl } = loaded;
    const foreign = await makeForeignServer(cluster);
    await foreign.start();
    const [host] = cluster.hosts.filter(({ isWitness }) => isWitness);
    if (host === undefined) throw new Error('no witness');
    const watch = [{ name: 'far', address: `127.0.0.1:${foreign.port}`, formation: 'abroad' }];
    await reconfigure(host, (file) => void (file['watch'] = watch));
    const seen = async (what: string, isIt: (server: WatchedView) => boolean): Promise<WatchedView> =>
      until({ what, timeoutMs: STEP_MS, everyMs: 100 }, async () => {
        const server = (await statusOf()).watched?.find((each) => each.server === 'far');
        return server !== undefined && isIt(server) ? server : undefined;
      });
    // It lets nobody of ours in: that it is up is all that can be said.
    await seen('it to be up, in an unknown role', ({ state, role }) => state === 'up' && role === 'none');
    expect(await ctl(['node', 'check', 'far'])).toMatchObject({
      exitCode: 3,
      stdout: expect.stringContaining('its role is not known'),
    });
    await foreign.sql('create role sentinel_probe login');
    expect(await seen('its role', ({ role }) => role === 'primary')).toMatchObject({
      timeline: 1,
      formation: 'abroad',
    });
    expect(await ctl(['node', 'check', 'far'])).toMatchObject({
      exitCode: 0,
      stdout: expect.stringContaining('OK - far: primary, only watched'),
    });

    foreign.kill();
    await event('it to be told down', ({ text }) => text.startsWith('watched server far is down: '));
    const down = await ctl(['status', '--exit-code']);
    expect(down).toMatchObject({
      exitCode: 1,
      stdout: expect.stringContaining('far, which is only watched, is down'),
    });
    expect(await ctl(['node', 'check', 'far'])).toMatchObject({
      exitCode: 2,
      stdout: expect.stringMatching(/^CRITICAL - far: it is down \(a: /),
    });
    await foreign.start();
    await event(
      'it to be told up',
      ({ text }) => text === 'watched server far is up: a primary on timeline 1',
    );

    await foreign.makeStandby();
    await foreign.start();
    const change =
      /watched server far (changed its role: it was a primary, and is a standby|is up: a standby) on timeline 1/;
    await event('its change of role', ({ text }) => change.test(text));
    expect(await seen('it to be a standby', ({ role }) => role === 'standby')).toMatchObject({
      state: 'up',
      lagBytes: 0,
    });
    // Nothing was done to it.
    expect(await foreign.sql("select count(*) from pg_namespace where nspname = 'pg_sentinel'")).toBe('0');

    await reconfigure(host, (file) => void delete file['watch']);
    await until(
      { what: 'it to be watched no more', timeoutMs: STEP_MS, everyMs: 100 },
      async () => ((await statusOf()).watched ?? []).length === 0,
    );
  },
);
