// Rules for pg_hba.conf in the log, on a cluster of real processes: in force on every node, never before our own, and taken back where
// PostgreSQL does not take them. Nor does a parameter that PostgreSQL cannot start with keep a node down.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Host } from '../../../harness/host.ts';
import { until } from '../../../src/base/clock.ts';
import { sql } from '../dangers/scene.ts';
import { HEALTHY_TIMEOUT_MS, LIMIT_MS, type LoadedCluster, startLoadedCluster } from '../raft/load.ts';

const REJECT = 'host all tenant 127.0.0.1/32 reject';

let loaded: LoadedCluster;
beforeAll(async () => {
  loaded = await startLoadedCluster({ cluster: 'hba', spareCount: 0 });
}, LIMIT_MS);
afterAll(() => loaded?.close());

const ctl = (...args: string[]) => loaded.ctl(['settings', ...args]);
const nodes = () => loaded.cluster.hosts;
const eventually = (what: string, condition: () => Promise<boolean> | boolean): Promise<unknown> =>
  until({ what, timeoutMs: HEALTHY_TIMEOUT_MS, everyMs: 200 }, condition);
const healthy = () => loaded.cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
const fileOf = (host: Host): string => readFileSync(join(host.dataDirectory, 'pg_hba.conf'), 'utf8');
const standby = async (): Promise<Host> => {
  const { primary } = await healthy();
  const found = nodes().find(({ node }) => node !== primary);
  if (found === undefined) throw new Error('a standby is needed');
  return found;
};
const view = async () =>
  JSON.parse((await ctl('get', '--json')).stdout) as {
    hba: string[];
    hbaPending: Record<string, string>;
    pendingRestart: Record<string, string[]>;
  };
const inForce = () => eventually('the rules on every node', async () => isEmpty((await view()).hbaPending));
const isEmpty = (record: object): boolean => Object.keys(record).length === 0;
/** What a login as `tenant` by TCP comes to: `in`, or the reason. */
const login = async ({ target }: Host): Promise<string> => {
  const client = new pg.Client({
    ...{ host: target.host, port: target.port, user: 'tenant', password: 'rent', database: 'postgres' },
    connectionTimeoutMillis: 5000,
  });
  try {
    await client.connect();
    return 'in';
  } catch (error) {
    return (error as Error).message;
  } finally {
    await client.end().catch(() => undefined);
  }
};
const everywhere = (what: RegExp) =>
  eventually(`logins to end with ${what.source}`, async () => {
    const ends = await Promise.all(nodes().map(login));
    return ends.every((end) => what.test(end));
  });

describe('rules for pg_hba.conf', () => {
  test('are in force on every node, before those of its own file', { timeout: LIMIT_MS }, async () => {
    const { primary } = await healthy();
    await sql(loaded.cluster.hostOf(primary ?? ''), "create role tenant login password 'rent'");
    await everywhere(/^in$/);
    expect(await ctl('set', `hba=${REJECT}`)).toMatchObject({
      exitCode: 0,
      stdout: 'done: group main: hba: 1 rule\n',
    });
    await everywhere(/pg_hba\.conf rejects connection/);
    await inForce();
    expect((await ctl('get', 'hba')).stdout).toBe(`${REJECT}\n`);
    expect((await ctl('history')).stdout).toContain(`hba: (not set) -> ${REJECT}`);
  });

  test('are there on a standby that is cloned', { timeout: LIMIT_MS }, async () => {
    const host = await standby();
    expect(await loaded.ctl(['node', 'reinit', host.node, '-y'])).toMatchObject({ exitCode: 0 });
    await healthy();
    expect(fileOf(host)).toContain(REJECT);
    expect(await login(host)).toMatch(/pg_hba\.conf rejects connection/);
  });

  test('shadow none of ours: replication and probes go on', { timeout: LIMIT_MS }, async () => {
    const all = ['local all all reject', 'host all,replication all all reject'];
    expect(await ctl('set', `hba=${all.join('\n')}`)).toMatchObject({ exitCode: 0 });
    await inForce();
    await everywhere(/pg_hba\.conf rejects connection/);
    const host = await standby();
    const { epoch } = await healthy();
    // New connections: of the walreceiver, of every probe, of our own session.
    expect(await loaded.ctl(['node', 'restart', host.node, '-y'])).toMatchObject({ exitCode: 0 });
    expect(await healthy()).toMatchObject({ epoch });
    expect(await ctl('unset', 'hba')).toMatchObject({ exitCode: 0 });
    await everywhere(/^in$/);
  });

  test('are refused by line and field, and nothing changes', { timeout: LIMIT_MS }, async () => {
    expect(await ctl('set', `hba=${REJECT}\nhost all all 10.0.0.0/99 md5`)).toMatchObject({
      exitCode: 2,
      stderr: expect.stringMatching(/hba line 2, address: "10\.0\.0\.0\/99" is given/) as unknown,
    });
    expect((await view()).hba).toEqual([]);
  });

  test(
    'that PostgreSQL does not take are announced, and the file is as it was before',
    { timeout: LIMIT_MS },
    async () => {
      await ctl('set', `hba=${REJECT}`);
      await everywhere(/pg_hba\.conf rejects connection/);
      await inForce();
      const before = nodes().map(fileOf);
      // PostgreSQL has this option, but not for this method.
      const wrong = 'host all all 127.0.0.1/32 scram-sha-256 map=people';
      expect(await ctl('set', `hba=${REJECT}\n${wrong}`)).toMatchObject({ exitCode: 0 });
      await eventually('every node to say why', async () => {
        const reasons = Object.values((await view()).hbaPending);
        return reasons.length === 3 && reasons.every((reason) => /^hba line 2: .*"map"/.test(reason));
      });
      expect(nodes().map(fileOf)).toEqual(before);
      expect((await ctl('get')).stdout).toMatch(/^hba: not in force on \S+: hba line 2: /m);
      expect((await loaded.ctl(['status'])).stdout).toMatch(/does not take the rules for pg_hba\.conf/);
      // Nor is a start made with them.
      const host = await standby();
      expect(await loaded.ctl(['node', 'restart', host.node, '-y'])).toMatchObject({ exitCode: 0 });
      await healthy();
      expect(await login(host)).toMatch(/pg_hba\.conf rejects connection/);
      expect(await ctl('unset', 'hba')).toMatchObject({ exitCode: 0 });
      await everywhere(/^in$/);
      await inForce();
    },
  );
});

test(
  'a library that is not there keeps no node down: it runs with what was there before, and says so',
  { timeout: LIMIT_MS },
  async () => {
    const host = await standby();
    expect(await ctl('set', 'postgresql.work_mem=7MB')).toMatchObject({ exitCode: 0 });
    expect(await ctl('set', 'postgresql.shared_preload_libraries=nothing_here')).toMatchObject({
      exitCode: 0,
    });
    await eventually(
      'all to wait for a restart',
      async () => (await view()).pendingRestart['shared_preload_libraries']?.length === 3,
    );
    await loaded.ctl(['node', 'restart', host.node, '-y']);
    await healthy();
    const [row] = await sql(
      host,
      "select current_setting('shared_preload_libraries') as libraries, current_setting('work_mem') as memory",
    );
    expect(row).toMatchObject({ libraries: '', memory: '7MB' });
    expect(readFileSync(host.logFile, 'utf8')).toMatch(
      /does not start with the parameters postgresql\.shared_preload_libraries .*nothing_here/,
    );
    expect((await loaded.ctl(['status'])).stdout).toMatch(/pending restart: .*shared_preload_libraries/);
    expect(await ctl('unset', 'postgresql.shared_preload_libraries')).toMatchObject({ exitCode: 0 });
    await eventually('nothing to wait for', async () => isEmpty((await view()).pendingRestart));
    for (const { logFile } of nodes())
      expect(readFileSync(logFile, 'utf8')).not.toMatch(/put right, somebody had changed them/);
  },
);
