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
  'two standbys that are scheduled for the same time are restarted one after the other',
  { timeout: LIMIT_MS },
  async () => {
    const { primary } = await healthy();
    const standbys = loaded.cluster.hosts.filter(({ node }) => node !== primary);
    const before = standbys.map((host) => host.postmasterPid());
    for (const { node } of standbys)
      expect(await ctl(`node restart ${node} --in 5s`)).toMatchObject({ exitCode: 0 });
    await until({ what: 'both to be restarted', timeoutMs: HEALTHY_TIMEOUT_MS, everyMs: 300 }, () =>
      standbys.every((host, at) => ![before[at], undefined].includes(host.postmasterPid()))
        ? true
        : undefined,
    );
    await until({ what: 'the end of both', timeoutMs: HEALTHY_TIMEOUT_MS, everyMs: 300 }, async () =>
      (await ctl('status')).stdout.includes('restart') ? undefined : true,
    );
    const all = await events();
    const steps = standbys.flatMap(({ node }) =>
      ['begins', 'done'].map((what) => {
        const found = [
          ...all.matchAll(new RegExp(`the restart of ${node} that was scheduled for \\S+ ${what}`, 'g')),
        ];
        return { node, at: found.at(-1)?.index ?? -1 };
      }),
    );
    expect(steps.every(({ at }) => at >= 0)).toBe(true);
    const order = steps.toSorted((a, b) => a.at - b.at).map(({ node }) => node);
    // Begun and ended, then the other: nothing of one between the steps of the other.
    expect(order[0]).toBe(order[1]);
    expect(order[2]).toBe(order[3]);
    await healthy();
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
    expect(await ctl(`node restart ${primary} --in 1h --in-place --yes`)).toMatchObject({ exitCode: 0 });
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
      expect(await ctl(`node restart ${primary} --in 3s --in-place --yes`)).toMatchObject({ exitCode: 0 });
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
