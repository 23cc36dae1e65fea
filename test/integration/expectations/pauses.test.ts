// What a DBA who is about to work on a cluster expects of `pause` and `maintenance`: nobody acts behind their back, nothing that was
// acknowledged is lost, and it ends by itself. One cluster for all: each test leaves it healthy.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import { signalProcess } from '../../../src/postgres/processes.ts';
import type { Host } from '../../../harness/host.ts';
import {
  HEALTHY_TIMEOUT_MS,
  LIMIT_MS,
  type LoadedCluster,
  harmOf,
  startLoadedCluster,
} from '../raft/load.ts';

let loaded: LoadedCluster;
beforeAll(async () => {
  loaded = await startLoadedCluster({ cluster: 'pauses', spareCount: 0 });
}, LIMIT_MS);
afterAll(() => loaded?.close());

const healthy = () => loaded.cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
const ok = (stdout: RegExp) => ({ exitCode: 0, stdout: expect.stringMatching(stdout) as unknown });
const failed = (stderr: RegExp) => ({ exitCode: 1, stderr: expect.stringMatching(stderr) as unknown });
const ctl = (line: string) => loaded.ctl(line.split(' '));
const aStandby = async (): Promise<Host> => {
  const { primary } = await healthy();
  const host = loaded.cluster.hosts.find(({ node }) => node !== primary);
  if (host === undefined) throw new Error('no standby');
  return host;
};
const nodeState = (host: Host, state: string) =>
  loaded.cluster.waitFor(`${host.node} to be ${state}`, HEALTHY_TIMEOUT_MS, ({ nodes }) =>
    nodes.some((found) => found.node === host.node && found.state === state),
  );
const eventTexts = async (): Promise<string> =>
  (await loaded.cluster.admin.events(200)).map(({ text }) => text).join('\n');
/** `pg_ctl stop -m fast`. */
const shutDown = async (host: Host): Promise<void> => {
  signalProcess(host.postmasterPid() ?? 0, 'SIGINT');
  await until({ what: 'PostgreSQL to end', timeoutMs: HEALTHY_TIMEOUT_MS, everyMs: 50 }, () => {
    return host.postmasterPid() === undefined;
  });
};

test(
  'a standby in maintenance may be stopped under load, and stays so until it is over',
  { timeout: LIMIT_MS },
  async () => {
    const standby = await aStandby();
    const { node } = standby;
    const verdict = await loaded.writeWhile(async () => {
      expect(await ctl(`maintenance on ${node} --dry-run`)).toMatchObject(ok(/nothing was changed/));
      expect(await ctl(`maintenance on ${node}`)).toMatchObject(ok(/may be stopped/));
      expect((await loaded.cluster.admin.status()).groups[0]?.rule).not.toContain(node);
      await shutDown(standby);
      await nodeState(standby, 'maintenance');
    });
    expect(harmOf(verdict)).toEqual([]);
    // Its agent, restarted, has read the log and reported again: it would have started it.
    await standby.stopSentineld('SIGKILL');
    await nodeState(standby, 'unknown');
    standby.startSentineld();
    await nodeState(standby, 'maintenance');
    expect(standby.postmasterPid()).toBeUndefined();
    expect(await ctl(`maintenance on ${node}`)).toMatchObject(ok(/already/));
    expect(await ctl(`failover --to ${node} -y`)).toMatchObject(
      failed(/in maintenance; sentinelctl maintenance off /),
    );
    expect((await ctl('status --exit-code')).exitCode).toBe(1);
    expect((await ctl('status')).stdout.replaceAll(/\s+/g, ' ')).toMatch(`${node} is in maintenance`);
    expect(await ctl(`maintenance off ${node}`)).toMatchObject(ok(/no longer in maintenance/));
    await healthy();
    expect(await ctl(`maintenance off ${node}`)).toMatchObject(ok(/is not paused or in maintenance/));
  },
);

test(
  'a primary is switched over first; its maintenance ends by the time',
  { timeout: LIMIT_MS },
  async () => {
    const { primary = '' } = await healthy();
    const { node: to } = await aStandby();
    const verdict = await loaded.writeWhile(async () => {
      expect(await ctl(`maintenance on ${primary} --to ${to} --for 5s -y`)).toMatchObject(
        ok(/is in maintenance until/),
      );
    });
    expect(harmOf(verdict)).toEqual([]);
    await loaded.cluster.waitFor('the end of it', HEALTHY_TIMEOUT_MS, ({ nodes }) =>
      nodes.every(({ paused }) => paused === undefined),
    );
    expect((await healthy()).primary).toBe(to);
    expect(await eventTexts()).toMatch(
      `${primary} is no longer paused or in maintenance, its time being over`,
    );
  },
);

test(
  'a paused group does not fail over by itself: a primary that crashes is started again',
  { timeout: LIMIT_MS },
  async () => {
    const { primary, epoch } = await healthy();
    expect(await ctl('pause --for 1h')).toMatchObject(ok(/is paused until/));
    const host = await loaded.cluster.primary();
    const pid = host.killPostmaster();
    await loaded.cluster.waitFor('it to be started in place', HEALTHY_TIMEOUT_MS, ({ nodes }) => {
      const now = host.postmasterPid();
      return now !== undefined && now !== pid && nodes.some(({ role }) => role === 'primary');
    });
    const group = await loaded.cluster.waitFor(
      'the standbys',
      HEALTHY_TIMEOUT_MS,
      ({ nodes }) => nodes.filter(({ state }) => state === 'streaming').length === 2,
    );
    expect(group).toMatchObject({ epoch, primary });
    expect(await ctl('resume')).toMatchObject(ok(/fails over by itself again/));
    await healthy();
  },
);

test(
  'a paused primary that is shut down by hand stays so; once it is resumed the group goes on',
  { timeout: LIMIT_MS },
  async () => {
    const { primary = '', epoch } = await healthy();
    expect(await ctl(`pause --node ${primary}`)).toMatchObject(ok(/is paused/));
    const host = await loaded.cluster.primary();
    await shutDown(host);
    await loaded.cluster.waitFor('it to be said', HEALTHY_TIMEOUT_MS, ({ nodes }) =>
      nodes.some(({ node, message = '' }) => node === primary && /left so while it is paused/.test(message)),
    );
    expect(host.postmasterPid()).toBeUndefined();
    expect((await loaded.cluster.admin.status()).groups[0]).toMatchObject({ epoch, primary });
    expect(await ctl(`resume --node ${primary}`)).toMatchObject(ok(/no longer paused/));
    await healthy();
  },
);

test('a person switches a paused group over', { timeout: LIMIT_MS }, async () => {
  const { node: to } = await aStandby();
  expect(await ctl('pause')).toMatchObject(ok(/is paused/));
  expect(await ctl(`failover --to ${to} -y`)).toMatchObject(ok(/is the primary of main/));
  expect(await ctl('resume main')).toMatchObject(ok(/fails over by itself again/));
  expect((await healthy()).primary).toBe(to);
});
