// `sentinelctl node` on a cluster of real processes. One cluster for all: each test leaves it healthy.
import { access, appendFile, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import type { Host } from '../../../harness/host.ts';
import { signalProcess } from '../../../src/postgres/processes.ts';
import { sql } from '../dangers/scene.ts';
import {
  type Ended,
  HEALTHY_TIMEOUT_MS,
  LIMIT_MS,
  type LoadedCluster,
  harmOf,
  startLoadedCluster,
} from '../raft/load.ts';

let loaded: LoadedCluster;
let broken: string;
beforeAll(async () => {
  loaded = await startLoadedCluster({
    cluster: 'node',
    spareCount: 0,
    // A clone takes a few seconds, so that whoever waits sees it.
    settings: () => ({ clone: { max_rate: '20MB' } }),
    parameters: (directory) => ({
      archive_mode: true,
      log_replication_commands: true,
      archive_command: `test ! -e ${directory}/archive-broken`,
    }),
  });
  broken = join(loaded.cluster.directory, 'archive-broken');
}, LIMIT_MS);
afterAll(() => loaded?.close());

const healthy = () => loaded.cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
const ctl = (line: string) => loaded.ctl(line.split(' '));
const aStandby = async (): Promise<Host> => {
  const { primary } = await healthy();
  const host = loaded.cluster.hosts.find(({ node }) => node !== primary);
  if (host === undefined) throw new Error('no standby');
  return host;
};

const ok = (stdout: RegExp) => ({ exitCode: 0, stdout: expect.stringMatching(stdout) as unknown });
const failed = (stderr: RegExp) => ({ exitCode: 1, stderr: expect.stringMatching(stderr) as unknown });
const viewOf = async (host: Host) => {
  const { groups } = await loaded.cluster.admin.status();
  return groups[0]?.nodes.find(({ node }) => node === host.node);
};

// First: what agents announce for a while about what is done to their PostgreSQL is a warning.
describe('check', () => {
  /** Figures come every ten seconds. */
  const waitForCheck = async (line: string, exitCode: number, text: RegExp): Promise<Ended> => {
    let last: Ended | undefined;
    const isSo = async (): Promise<boolean> => {
      last = await ctl(`node check ${line}`);
      return last.exitCode === exitCode && text.test(last.stdout);
    };
    await until({ what: `node check ${line}`, timeoutMs: HEALTHY_TIMEOUT_MS, everyMs: 250 }, isSo).catch(
      (error: unknown) => {
        throw new Error(`${(error as Error).message}; it said ${JSON.stringify(last)}`, { cause: error });
      },
    );
    return last ?? { exitCode: null, stdout: '', stderr: '' };
  };
  // The disk of whoever runs this may be nearly full.
  const LIMITS = '--warning-free 0 --critical-free 0';

  test('a healthy cluster is OK, with figures of every node', { timeout: LIMIT_MS }, async () => {
    const { primary } = await healthy();
    const { stdout } = await waitForCheck(LIMITS, 0, /./);
    const lines = stdout.trim().split('\n');
    expect(lines).toHaveLength(3);
    for (const line of lines) expect(line).toMatch(/^OK - pg\d: .* \| .*data_free=[\d.]+%;0:;0:;0;100 /);
    expect(lines.filter((line) => line.includes(`streams from ${primary ?? ''}`))).toHaveLength(2);
    expect(stdout).toMatch(new RegExp(`${primary ?? ''}_archive_ready=\\d+;`));
    expect(stdout).not.toContain('wal_free');
    expect(await ctl(`node check --warning-free 100 --critical-free 0`)).toMatchObject({ exitCode: 1 });
    expect((await ctl('node check --critical-free 100 --warning-free 100')).stdout).toMatch(/^CRITICAL - pg/);
  });

  test(
    'an archive that fails, a slot that keeps WAL, a setting that waits',
    { timeout: LIMIT_MS },
    async () => {
      const host = await loaded.cluster.primary();
      await writeFile(broken, '');
      await sql(host, `select pg_create_physical_replication_slot('forgotten', true)`);
      await sql(host, 'create table if not exists much as select generate_series(1, 100000)');
      await sql(host, 'alter system set shared_buffers = 4711');
      await sql(host, 'select pg_switch_wal(), pg_reload_conf()');
      const options = `${host.node} ${LIMITS} --warning-kept 1MB --warning-ready 0`;
      // Each figure is read by itself.
      const said = [
        /slot forgotten keeps [\d.]+ MB of WAL/,
        /its last WAL was not archived/,
        /\d+ files of WAL wait to be archived/,
        /it needs a restart for shared_buffers/,
      ];
      const all = new RegExp(said.map(({ source }) => `(?=.*${source})`).join(''));
      await waitForCheck(options, 1, all);
      await rm(broken);
      await sql(host, `select pg_drop_replication_slot('forgotten')`);
      await sql(host, 'alter system reset shared_buffers');
      await sql(host, 'select pg_reload_conf()');
      await waitForCheck(`${host.node} ${LIMITS}`, 0, /^OK/);
    },
  );

  test('a standby in maintenance, and one that is gone', { timeout: LIMIT_MS }, async () => {
    const standby = await aStandby();
    await ctl(`maintenance on ${standby.node}`);
    await waitForCheck(`${standby.node} ${LIMITS}`, 1, /^WARNING - .*it is in maintenance/);
    await ctl(`maintenance off ${standby.node}`);
    await healthy();
    await standby.stopAll();
    const isGone =
      /^CRITICAL - .*it is held for down \(.*its agent does not report|^CRITICAL - .*its agent does not report/;
    await waitForCheck(`${standby.node} ${LIMITS}`, 2, isGone);
    standby.startSentineld();
    await healthy();
    await waitForCheck(LIMITS, 0, /./);
    expect(await ctl('node check nobody')).toMatchObject({
      exitCode: 3,
      stdout: expect.stringMatching(/^UNKNOWN - there is no node nobody; there are pg1/) as unknown,
    });
  });
});

describe('restart', () => {
  test('a standby, under load: no write waits for it', { timeout: LIMIT_MS }, async () => {
    const standby = await aStandby();
    const { epoch } = await healthy();
    const pid = standby.postmasterPid();
    const member = (await viewOf(standby))?.member;
    const verdict = await loaded.writeWhile(async () => {
      expect(await ctl(`node restart ${standby.node} --dry-run`)).toMatchObject(ok(/nothing was changed/));
      expect(standby.postmasterPid()).toBe(pid);
      // Whichever peer is asked.
      for (const host of loaded.cluster.hosts) {
        const before = standby.postmasterPid();
        const ended = await loaded.ctl(['node', 'restart', standby.node], [host]);
        expect(ended).toMatchObject(ok(/was restarted and streams again/));
        expect(standby.postmasterPid()).not.toBe(before);
      }
    });
    expect(harmOf(verdict)).toEqual([]);
    expect(await healthy()).toMatchObject({ epoch });
    expect(await viewOf(standby)).toMatchObject({ member, counted: true, paused: undefined });
  });

  test('a standby in maintenance is left to whoever asked for that', { timeout: LIMIT_MS }, async () => {
    const standby = await aStandby();
    const pid = standby.postmasterPid();
    expect(await ctl(`maintenance on ${standby.node}`)).toMatchObject(ok(/./));
    for (const action of ['restart', 'reinit -y'])
      expect(await ctl(`node ${action} ${standby.node}`)).toMatchObject(failed(/is in maintenance/));
    expect(standby.postmasterPid()).toBe(pid);
    expect(await ctl(`maintenance off ${standby.node}`)).toMatchObject(ok(/./));
    await healthy();
  });

  test('a primary in place, under load: nobody takes over', { timeout: LIMIT_MS }, async () => {
    const { epoch, primary } = await healthy();
    const host = await loaded.cluster.primary();
    const pid = host.postmasterPid();
    const verdict = await loaded.writeWhile(async () => {
      expect(await ctl(`node restart ${host.node}`)).toMatchObject(failed(/switch over first.*--in-place/));
      expect(host.postmasterPid()).toBe(pid);
      expect(await ctl(`node restart ${host.node} --in-place -y`)).toMatchObject(ok(/restarted in place/));
    });
    expect(harmOf(verdict)).toEqual([]);
    expect(host.postmasterPid()).not.toBe(pid);
    const group = await healthy();
    expect(group).toMatchObject({ epoch, primary });
    expect(group.paused).toBeUndefined();
  });
});

test(
  'reload: settings are read again, and what is wrong or needs a restart is said',
  { timeout: LIMIT_MS },
  async () => {
    const standby = await aStandby();
    const setting = 'log_min_duration_statement';
    const path = join(standby.dataDirectory, 'postgresql.auto.conf');
    const before = await readFile(path, 'utf8');
    await appendFile(path, `${setting} = 12345\nshared_buffers = 4711\n`);
    const { stdout, exitCode } = await ctl(`node reload ${standby.node}`);
    expect([exitCode, stdout]).toEqual([0, expect.stringMatching(/a restart is needed for shared_buffers/)]);
    expect(await sql(standby, `show ${setting}`)).toEqual([{ [setting]: '12345ms' }]);
    await writeFile(path, `${before}nonsense here\n`);
    expect(await ctl(`node reload ${standby.node}`)).toMatchObject(
      failed(/does not take all of its settings: nonsense \(unrecognized/),
    );
    await writeFile(path, before);
    expect((await ctl(`node reload ${standby.node}`)).stdout).toMatch(/reads its settings again\n$/);
    await healthy();
  },
);

describe('reinit', () => {
  test('a standby becomes another member, under load', { timeout: LIMIT_MS }, async () => {
    const standby = await aStandby();
    const { primary = '', epoch } = await healthy();
    expect(await ctl(`node reinit ${primary} -y`)).toMatchObject(failed(/it is the primary of group main/));
    const member = (await viewOf(standby))?.member;
    const kept = join(standby.dataDirectory, 'kept-by-nobody');
    await writeFile(kept, '');
    const verdict = await loaded.writeWhile(async () => {
      expect(await ctl(`node reinit ${standby.node} --dry-run`)).toMatchObject(ok(/nothing was changed/));
      expect(await ctl(`node reinit ${standby.node} -y`)).toMatchObject(ok(/replaced by a clone of/));
      // What was asked for stands on its disk.
      await standby.stopSentineld('SIGKILL');
      standby.startSentineld();
      await loaded.cluster.waitFor('the clone', HEALTHY_TIMEOUT_MS, ({ nodes }) =>
        nodes.some(
          ({ node, state, counted, member: now }) =>
            node === standby.node && state === 'streaming' && counted === true && now !== member,
        ),
      );
    });
    expect(harmOf(verdict)).toEqual([]);
    await expect(access(kept)).rejects.toThrow('ENOENT');
    expect(await healthy()).toMatchObject({ epoch, primary });
  });

  test('waits until it streams, held to the rate of the configuration', { timeout: LIMIT_MS }, async () => {
    const standby = await aStandby();
    const source = await loaded.cluster.primary();
    const ended = await ctl(`node reinit ${standby.node} -y --wait 90s`);
    expect(ended).toMatchObject({ exitCode: 0, stderr: expect.stringMatching(/streams, after /) as unknown });
    expect(ended.stderr).toMatch(/cloning from pg\d/);
    const asked = await readFile(source.postgresLogFile, 'utf8');
    expect(asked).toMatch(/received replication command: BASE_BACKUP.*MAX_RATE '?20480\b/);
    await healthy();
  });

  test('refused without a primary to clone from', { timeout: LIMIT_MS }, async () => {
    const standby = await aStandby();
    const host = await loaded.cluster.primary();
    expect(await ctl('pause --for 5min')).toMatchObject(ok(/./));
    signalProcess(host.postmasterPid() ?? 0, 'SIGINT');
    await until({ what: 'the primary to end', timeoutMs: HEALTHY_TIMEOUT_MS, everyMs: 50 }, () => {
      return host.postmasterPid() === undefined;
    });
    const isRefused = async (): Promise<boolean> =>
      /nothing to clone from/.test((await ctl(`node reinit ${standby.node} -y`)).stderr);
    await until({ what: 'it to be refused', timeoutMs: HEALTHY_TIMEOUT_MS, everyMs: 100 }, isRefused);
    expect(standby.postmasterPid()).toBeDefined();
    expect(await ctl('resume')).toMatchObject(ok(/./));
    await healthy();
  });
});

test('rejoin and promote', { timeout: LIMIT_MS }, async () => {
  const standby = await aStandby();
  const { primary = '' } = await healthy();
  expect(await ctl(`node rejoin ${standby.node}`)).toMatchObject(ok(/streams already/));
  expect(await ctl(`node rejoin ${primary}`)).toMatchObject(failed(/it has nothing to join/));
  expect(await ctl(`node promote ${standby.node} --dry-run`)).toMatchObject({ exitCode: 0 });
  expect(await ctl(`node promote ${standby.node} -y`)).toMatchObject({ exitCode: 0 });
  expect(await healthy()).toMatchObject({ primary: standby.node });
});
