// `sentinelctl node unregister`, `drop`, `register` and `follow` on a cluster of real processes. One cluster for all: each test leaves it
// healthy.
import { access } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import type { Host } from '../../../harness/host.ts';
import type { StatusView } from '../../../src/transport/types.ts';
import { sql } from '../dangers/scene.ts';
import {
  HEALTHY_TIMEOUT_MS,
  LIMIT_MS,
  type LoadedCluster,
  harmOf,
  startLoadedCluster,
} from '../raft/load.ts';

let loaded: LoadedCluster;
beforeAll(async () => {
  loaded = await startLoadedCluster({ cluster: 'membership', spareCount: 0 });
}, LIMIT_MS);
afterAll(() => loaded?.close());

const healthy = () => loaded.cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
const ctl = (line: string, hosts?: readonly Host[]) => loaded.ctl(line.split(' '), hosts);
const ok = (stdout: RegExp) => ({ exitCode: 0, stdout: expect.stringMatching(stdout) as unknown });
const failed = (stderr: RegExp) => ({ exitCode: 1, stderr: expect.stringMatching(stderr) as unknown });
const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );
const aStandby = async (): Promise<Host> => {
  const { primary } = await healthy();
  const host = loaded.cluster.hosts.find(({ node }) => node !== primary);
  if (host === undefined) throw new Error('no standby');
  return host;
};
const nodesNow = async (): Promise<string[]> => {
  const { groups } = await loaded.cluster.admin.status();
  return (groups[0]?.nodes ?? []).map(({ node }) => node).sort();
};
const others = (host: Host): string[] =>
  loaded.cluster.hosts
    .filter((other) => other !== host)
    .map(({ node }) => node)
    .sort();
const waitForStatus = (what: string, isSo: (status: StatusView) => boolean) =>
  until({ what, timeoutMs: HEALTHY_TIMEOUT_MS, everyMs: 100 }, async () =>
    isSo(await loaded.cluster.admin.status()),
  );
/** Its agent has read the log and says that it was removed. */
const waitUntilItSays = (host: Host, text: RegExp) =>
  waitForStatus(`${host.node} to say ${text}`, ({ warnings }) =>
    warnings.some((warning) => warning.startsWith(`${host.node} (peer`) && text.test(warning)),
  );
const slotsOfMember = (of: Host, node: string) =>
  sql(of, `select slot_name from pg_replication_slots where slot_name like '${node}\\_%'`);

test(
  'unregister: it runs on, cut off, and its sentineld does not bring it back by itself',
  { timeout: LIMIT_MS },
  async () => {
    const standby = await aStandby();
    const { primary = '', epoch } = await healthy();
    const primaryHost = await loaded.cluster.primary();
    expect(await ctl(`node drop ${primary} -y`)).toMatchObject(failed(/is the primary of group main/));
    expect(await ctl(`node unregister ${standby.node}`)).toMatchObject({ exitCode: 2 });
    const pid = standby.postmasterPid();
    const verdict = await loaded.writeWhile(async () => {
      expect(await ctl(`node unregister ${standby.node} --dry-run`)).toMatchObject(
        ok(/nothing was changed; then: pg\d leaves the sync rule/),
      );
      expect(await nodesNow()).toHaveLength(3);
      expect(await ctl(`node unregister ${standby.node} -y`)).toMatchObject(ok(/is removed from group main/));
    });
    expect(harmOf(verdict)).toEqual([]);
    expect(await nodesNow()).toEqual(others(standby));
    await waitUntilItSays(standby, /sentinelctl node register/);
    const [row] = await sql(
      standby,
      'select pg_is_in_recovery() as standby, (select count(*)::int from pg_stat_wal_receiver) as receivers',
    );
    expect(row).toEqual({ standby: true, receivers: 0 });
    expect(standby.postmasterPid()).toBe(pid);
    await until({ what: 'its slot to be dropped', timeoutMs: HEALTHY_TIMEOUT_MS, everyMs: 100 }, async () => {
      return (await slotsOfMember(primaryHost, standby.node)).length === 0;
    });
    await standby.stopSentineld('SIGKILL');
    await waitForStatus('its report to be past', ({ warnings }) =>
      warnings.every((warning) => !warning.startsWith(`${standby.node} (peer`)),
    );
    standby.startSentineld();
    await waitUntilItSays(standby, /removed from group main/);
    expect(await nodesNow()).toEqual(others(standby));
    expect(await ctl(`node follow ${standby.node}`)).toMatchObject(failed(/there is no node/));
    expect(await ctl(`node register ${standby.node}`)).toMatchObject(ok(/registered in group main again/));
    expect(await healthy()).toMatchObject({ epoch, primary });
    expect(await ctl(`node follow ${standby.node}`)).toMatchObject(ok(/follows pg\d, the primary/));
  },
);

test(
  'follow: done only once it streams, and else it says what the upstream answers',
  { timeout: LIMIT_MS },
  async () => {
    const standby = await aStandby();
    const primary = await loaded.cluster.primary();
    await healthy();
    await sql(primary, 'alter role sentinel_replication nologin');
    await sql(
      primary,
      `select pg_terminate_backend(pid) from pg_stat_replication where application_name like '${standby.node}\\_%'`,
    );
    await waitForStatus('it to stream no longer', ({ groups }) =>
      (groups[0]?.nodes ?? []).some(({ node, state }) => node === standby.node && state !== 'streaming'),
    );
    expect(await ctl(`node follow ${standby.node}`)).toMatchObject(
      failed(/does not stream after 30 s \(.*not permitted to log in.*\)/s),
    );
    await sql(primary, 'alter role sentinel_replication login');
    expect(await ctl(`node follow ${standby.node}`)).toMatchObject(ok(/follows pg\d, the primary/));
    await healthy();
  },
);

test(
  'drop --destroy, broken off wherever it may be, is completed by the next run',
  { timeout: LIMIT_MS },
  async () => {
    const standby = await aStandby();
    const { primary = '' } = await healthy();
    const asked = loaded.cluster.hosts.find((host) => host !== standby && host.node !== primary) ?? standby;
    const line = `node drop ${standby.node} --destroy -y`;
    const verdict = await loaded.writeWhile(async () => {
      // The peer that is asked is killed once the node is aside.
      const first = ctl(line, [asked]);
      const isBegun = ({ groups }: StatusView): boolean => {
        const nodes = groups[0]?.nodes ?? [];
        const seen = nodes.find(({ node }) => node === standby.node);
        return seen === undefined || seen.paused !== undefined;
      };
      await waitForStatus('it to be aside', isBegun);
      await asked.stopSentineld('SIGKILL');
      await first;
      asked.startSentineld();
      // The agent is gone before it was told.
      await standby.stopSentineld('SIGKILL');
      const rest = loaded.cluster.hosts.filter((host) => host !== standby && host !== asked);
      expect(await ctl(line, rest)).toMatchObject(
        ok(/is not known yet: its agent \(peer .\) does not report/),
      );
      expect(await exists(standby.dataDirectory)).toBe(true);
      standby.startSentineld();
      expect(await ctl(line)).toMatchObject(ok(/is stopped and its data directory removed/));
    });
    expect(harmOf(verdict)).toEqual([]);
    expect(standby.postmasterPid()).toBeUndefined();
    expect(await exists(standby.dataDirectory)).toBe(false);
    await standby.stopSentineld('SIGKILL');
    standby.startSentineld();
    await waitUntilItSays(standby, /its data directory was removed/);
    expect([await nodesNow(), await exists(standby.dataDirectory)]).toEqual([others(standby), false]);
    expect(await ctl(`node register ${standby.node}`)).toMatchObject(ok(/joins it/));
    await healthy();
  },
);

test('drop: a person is told when nobody can take over any more', { timeout: LIMIT_MS }, async () => {
  const standby = await aStandby();
  const { primary = '' } = await healthy();
  const last = loaded.cluster.hosts.find(({ node }) => node !== standby.node && node !== primary) ?? standby;
  expect(await ctl(`node drop ${standby.node} -y`)).toMatchObject(ok(/its PostgreSQL is stopped/));
  expect(standby.postmasterPid()).toBeUndefined();
  expect(await exists(standby.dataDirectory)).toBe(true);
  expect(await ctl(`node drop ${last.node} --dry-run`)).toMatchObject(ok(/nobody can take over/));
  expect(await ctl(`node register ${standby.node}`)).toMatchObject(ok(/joins it/));
  await healthy();
});
