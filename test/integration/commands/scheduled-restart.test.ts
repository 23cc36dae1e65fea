// Restarts that the log keeps and carries out at their time, on a cluster of real processes.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import {
  HEALTHY_TIMEOUT_MS,
  LIMIT_MS,
  type LoadedCluster,
  harmOf,
  startLoadedCluster,
} from '../raft/load.ts';

let loaded: LoadedCluster;
beforeAll(async () => {
  loaded = await startLoadedCluster({ cluster: 'at-night', spareCount: 0 });
}, LIMIT_MS);
afterAll(() => loaded?.close());

const healthy = () => loaded.cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
const ctl = (line: string) => loaded.ctl(line.split(' '));
const events = async (): Promise<string> => (await ctl('events')).stdout.replaceAll(/\s+/g, ' ');
const heard = (text: string) =>
  until({ what: `the event "${text}"`, timeoutMs: HEALTHY_TIMEOUT_MS, everyMs: 300 }, async () =>
    (await events()).includes(text),
  );

test(
  'a standby is restarted at its time, once, although the leader is lost meanwhile',
  { timeout: LIMIT_MS },
  async () => {
    const { primary } = await healthy();
    const host = loaded.cluster.hosts.find(({ node }) => node !== primary);
    if (host === undefined) throw new Error('no standby');
    const before = host.postmasterPid();
    const asked = await ctl(`node restart ${host.node} --in 8s`);
    expect(asked, asked.stderr).toMatchObject({ exitCode: 0 });
    expect((await ctl('status')).stdout.replaceAll(/\s+/g, ' ')).toContain(
      `${host.node}: a restart is scheduled for`,
    );
    expect(host.postmasterPid()).toBe(before);
    const { leader } = await loaded.cluster.admin.status();
    const leading = loaded.cluster.hosts.find(({ peer }) => peer === leader);
    if (leading !== undefined && leading !== host) {
      await leading.stopSentineld('SIGKILL');
      leading.startSentineld();
    }
    await heard(`the restart of ${host.node} that was scheduled for`);
    await until({ what: 'its end', timeoutMs: HEALTHY_TIMEOUT_MS, everyMs: 300 }, async () =>
      /: done[:,]/.test(await events()),
    );
    await healthy();
    const after = host.postmasterPid();
    expect(after).not.toBe(before);
    const all = await events();
    expect(all.match(/that was scheduled for \S+ begins/g)).toHaveLength(1);
    expect((await ctl('status')).stdout).not.toContain('is scheduled for');
    expect(host.postmasterPid()).toBe(after);
  },
);

test(
  'a primary needs --in-place, and one that is called off does not take place',
  { timeout: LIMIT_MS },
  async () => {
    const { primary } = await healthy();
    const refused = await ctl(`node restart ${primary} --in 1h`);
    expect(refused).toMatchObject({ exitCode: 1 });
    expect(refused.stderr).toContain('switch over first');
    expect(await ctl(`node restart ${primary} --in 1h --in-place`)).toMatchObject({ exitCode: 0 });
    expect(await ctl(`node restart ${primary} --cancel`)).toMatchObject({ exitCode: 0 });
    expect(await ctl(`node restart ${primary} --cancel`)).toMatchObject({ exitCode: 1 });
    expect(await ctl(`node restart ${primary} --at never`)).toMatchObject({ exitCode: 2 });
    expect(await ctl(`node restart ${primary} --in 1h --cancel`)).toMatchObject({ exitCode: 2 });
  },
);

test(
  'one in place of a primary takes place at its time, and nothing is lost',
  { timeout: LIMIT_MS },
  async () => {
    const { primary = '' } = await healthy();
    const host = loaded.cluster.hostOf(primary);
    const before = host.postmasterPid();
    const verdict = await loaded.writeWhile(async () => {
      expect(await ctl(`node restart ${primary} --in 3s --in-place`)).toMatchObject({ exitCode: 0 });
      await until({ what: 'another server', timeoutMs: HEALTHY_TIMEOUT_MS, everyMs: 100 }, () => {
        const pid = host.postmasterPid();
        return pid !== undefined && pid !== before;
      });
      await healthy();
    });
    expect((await healthy()).primary).toBe(primary);
    expect(harmOf(verdict)).toEqual([]);
  },
);
