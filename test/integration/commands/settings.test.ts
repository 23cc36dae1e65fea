// PostgreSQL parameters in the log, on a cluster of real processes: on every node, before its own file; never in an order in which a standby
// cannot be started.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Host } from '../../../harness/host.ts';
import { until } from '../../../src/base/clock.ts';
import { parseSettings } from '../../../src/postgres/settings.ts';
import { signalProcess } from '../../../src/postgres/processes.ts';
import { sql } from '../dangers/scene.ts';
import { HEALTHY_TIMEOUT_MS, LIMIT_MS, type LoadedCluster, startLoadedCluster } from '../raft/load.ts';

const RAISED = 90;

let loaded: LoadedCluster;
beforeAll(async () => {
  loaded = await startLoadedCluster({ cluster: 'settings', spareCount: 0 });
}, LIMIT_MS);
afterAll(() => loaded?.close());

const ctl = (...args: string[]) => loaded.ctl(['settings', ...args]);
const nodes = () => loaded.cluster.hosts;
const eventually = (what: string, condition: () => Promise<boolean> | boolean): Promise<unknown> =>
  until({ what, timeoutMs: HEALTHY_TIMEOUT_MS, everyMs: 200 }, condition);
const show = async (host: Host, name: string): Promise<string> => {
  const [row] = await sql(host, `select current_setting('${name}') as value`);
  return String((row as { value: string }).value);
};
const fileSays = (host: Host, name: string): string | undefined =>
  parseSettings(readFileSync(join(host.dataDirectory, 'pg_sentinel.conf'), 'utf8')).get(name);
const pending = async (): Promise<Record<string, string[]>> => {
  const { stdout } = await ctl('get', '--json');
  return (JSON.parse(stdout) as { pendingRestart: Record<string, string[]> }).pendingRestart;
};
/** `pg_ctl restart`, as far as the stop is concerned: the agent starts it again. */
const restart = async (host: Host): Promise<void> => {
  const before = host.postmasterPid() ?? 0;
  signalProcess(before, 'SIGINT');
  await eventually(`${host.node} to run again`, async () => {
    const now = host.postmasterPid();
    return now !== undefined && now !== before && (await show(host, 'port').catch(() => '')) !== '';
  });
  await loaded.cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
};
/** As a person does it who was told that a restart is needed. */
const restartByCommand = async (host: Host, ...options: string[]): Promise<void> => {
  expect(await loaded.ctl(['node', 'restart', host.node, ...options])).toMatchObject({ exitCode: 0 });
  await loaded.cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
};
const placed = async () => {
  const { primary } = await loaded.cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
  const standbys = nodes().filter(({ node }) => node !== primary);
  const [one, two] = standbys;
  if (one === undefined || two === undefined) throw new Error('two standbys are needed');
  return { primary: loaded.cluster.hostOf(primary ?? ''), one, two };
};

describe('a parameter that a reload changes', () => {
  test('is in force on every node, and no longer once it is unset', { timeout: LIMIT_MS }, async () => {
    await placed();
    expect(await ctl('set', 'postgresql.work_mem=7MB')).toMatchObject({
      exitCode: 0,
      stdout: 'done: group main: work_mem = 7MB\n',
    });
    for (const host of nodes()) await eventually('7MB', async () => (await show(host, 'work_mem')) === '7MB');
    expect(await ctl('unset', 'postgresql.work_mem')).toMatchObject({ exitCode: 0 });
    for (const host of nodes())
      await eventually('the default', async () => (await show(host, 'work_mem')) === '4MB');
    expect((await ctl('history')).stdout).toMatch(/postgresql\.work_mem: 7MB -> \(not set\)/);
  });

  test('is refused where PostgreSQL would not take it, or it is ours', { timeout: LIMIT_MS }, async () => {
    const refused = async (setting: string, reason: RegExp) =>
      expect(await ctl('set', setting)).toMatchObject({
        exitCode: 1,
        stderr: expect.stringMatching(reason) as unknown,
      });
    await refused(
      'postgresql.work_mem=lots',
      /postgresql\.work_mem: "lots" is given; expected a whole number/,
    );
    await refused('postgresql.work_memm=1MB', /there is no such parameter/);
    await refused('postgresql.fsync=off', /pg-sentinel sets fsync itself/);
  });
});

describe('max_connections', () => {
  test('is raised on the standbys first, each at its restart', { timeout: LIMIT_MS }, async () => {
    const { primary, one, two } = await placed();
    const before = Number(await show(primary, 'max_connections'));
    expect(before).toBeLessThan(RAISED);
    const { stdout } = await ctl('set', `postgresql.max_connections=${RAISED}`);
    expect(stdout).toMatch(/at its next start.*restart the standbys first/);
    await eventually(
      'all to wait for a restart',
      async () => (await pending())['max_connections']?.length === 3,
    );
    expect((await loaded.ctl(['status'])).stdout).toMatch(/pending restart: max_connections/);
    await eventually('the files of the standbys', () =>
      [one, two].every((host) => fileSays(host, 'max_connections') === String(RAISED)),
    );

    // A restart of the primary alone, whatever it is for, leaves it as it is.
    await restartByCommand(primary, '--in-place', '-y');
    expect(await show(primary, 'max_connections')).toBe(String(before));
    await restartByCommand(one);
    expect(await show(one, 'max_connections')).toBe(String(RAISED));
    // One standby has less still: the primary's file is not raised, whatever it is restarted for.
    expect(fileSays(primary, 'max_connections')).toBe(String(before));
    await restart(two);
    await eventually("the primary's file", () => fileSays(primary, 'max_connections') === String(RAISED));
    await eventually('only the primary to wait', async () => {
      const waiting = (await pending())['max_connections'];
      return waiting?.length === 1 && waiting[0] === primary.node;
    });
    const { epoch } = await loaded.cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
    await restartByCommand(primary, '--in-place', '-y');
    const now = await placed();
    expect(await loaded.cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS)).toMatchObject({ epoch });
    await eventually('the new value everywhere', async () => {
      const values = await Promise.all(nodes().map((host) => show(host, 'max_connections')));
      return values.every((value) => value === String(RAISED));
    });
    await eventually('nothing to wait for', async () => Object.keys(await pending()).length === 0);
    expect(now.primary.postmasterPid()).toBeDefined();
    for (const { logFile } of nodes())
      expect(readFileSync(logFile, 'utf8')).not.toMatch(/put right, somebody had changed them/);
  });

  test(
    'is lowered on the primary first; a standby that is restarted before keeps it',
    { timeout: LIMIT_MS },
    async () => {
      const { primary, one } = await placed();
      expect(await ctl('unset', 'postgresql.max_connections')).toMatchObject({ exitCode: 0 });
      const own = '60';
      await eventually(
        'all to wait for a restart again',
        async () => (await pending())['max_connections']?.length === 3,
      );
      expect((await ctl('get')).stdout).toMatch(
        /^postgresql\.max_connections: not set for the group; pending restart: pg1, pg2, pg3$/m,
      );
      await eventually("the primary's file", () => fileSays(primary, 'max_connections') === own);
      await restart(one);
      expect(await show(one, 'max_connections')).toBe(String(RAISED));
      await restart(primary);
      const { primary: after } = await placed();
      await eventually('the primary to have less', async () => {
        if (after === primary) return (await show(after, 'max_connections')) === own;
        return fileSays(after, 'max_connections') === own;
      });
    },
  );
});
