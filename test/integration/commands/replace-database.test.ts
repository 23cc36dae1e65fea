// `sentinelctl node replace-database` on a cluster of real processes: another database, of the same version, stands in for one that pg_upgrade has
// made (that one is in test/integration/walks). The tests follow one another.
import { execFile } from 'node:child_process';
import { existsSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import { join } from 'node:path';
import { runProgram } from '../../../src/postgres/os-user.ts';
import { findBinaries } from '../../../src/postgres/binaries.ts';
import { signalProcess } from '../../../src/postgres/processes.ts';
import type { Host } from '../../../harness/host.ts';
import { type LocalCluster, startLocalCluster } from '../../../harness/local-cluster.ts';
import { compiled } from '../../../harness/programs.ts';
import { type Ended, LIMIT_MS, type Place, makeDatabase, openPlace } from '../bad-input/place.ts';
import { sql } from '../dangers/scene.ts';

const HEALTHY_MS = 4 * LIMIT_MS;
let place: Place;
let cluster: LocalCluster;
let primary: Host;
let before: string | undefined;
const abandon = new AbortController();

beforeAll(async () => {
  place = await openPlace();
  cluster = await startLocalCluster({ cluster: 'replaced', hostCount: 3, signal: abandon.signal });
  await cluster.waitUntilHealthy(HEALTHY_MS);
  primary = await cluster.primary();
  before = await systemOf(primary);
  await sql(primary, 'create table kept (id int)');
  await sql(primary, 'insert into kept values (1)');
}, 2 * HEALTHY_MS);
afterAll(async () => {
  abandon.abort();
  await cluster?.close();
  await place?.close();
});

/** As a user runs it, with nothing to ask on. A switchover may take long on a busy machine. */
const ctl = (line: string): Promise<Ended> =>
  new Promise((resolve, reject) => {
    const peers = cluster.hosts.map(({ address }) => address).join(',');
    const args = [compiled('src/cli/sentinelctl.js'), ...line.split(' '), '--peers', peers];
    const child = execFile(
      process.execPath,
      args,
      { timeout: HEALTHY_MS, killSignal: 'SIGKILL' },
      (_error, stdout, stderr) => {
        if (child.exitCode === null) reject(new Error(`${line} did not end: ${stdout}${stderr}`));
        else resolve({ exitCode: child.exitCode, stdout, stderr });
      },
    );
    child.stdin?.end();
  });
/** Of a switchover that the cluster calls off, the events say why. */
async function failOverTo(node: string): Promise<void> {
  const { exitCode, stderr } = await ctl(`failover --to ${node} --yes`);
  if (exitCode !== 0) expect.fail(`failover --to ${node}: ${stderr}${(await ctl('events')).stdout}`);
}
const refused = (reason: RegExp) => ({ exitCode: 1, stderr: expect.stringMatching(reason) as unknown });
const others = (): readonly Host[] => cluster.hosts.filter((host) => host !== primary);
const waitFor = (what: string, isSo: () => boolean | Promise<boolean>): Promise<void> =>
  until({ what, timeoutMs: HEALTHY_MS, everyMs: 50 }, async () => (await isSo()) || undefined).then(
    () => undefined,
  );

async function systemOf(host: Host): Promise<string | undefined> {
  const [row] = await sql<{ id: string }>(
    host,
    'select system_identifier::text as id from pg_control_system()',
  );
  return row?.id;
}

/** As `pg_ctl stop -m fast`. */
async function shutDown(host: Host): Promise<void> {
  signalProcess(host.postmasterPid() ?? expect.fail(`${host.node} does not run`), 'SIGINT');
  await waitFor(`${host.node} to end`, () => host.postmasterPid() === undefined);
}

/** Its sentineld and its PostgreSQL end in order; the directory changes hands; sentineld starts. */
async function exchange(host: Host, aside: string, make?: () => Promise<void>): Promise<void> {
  await host.stopSentineld('SIGTERM');
  await shutDown(host);
  const other = `${host.dataDirectory}.${aside === 'old' ? 'new' : 'old'}`;
  renameSync(host.dataDirectory, `${host.dataDirectory}.${aside}`);
  if (make !== undefined) await make();
  else renameSync(other, host.dataDirectory);
  host.startSentineld();
}

async function makeAnother(): Promise<void> {
  const binaries = await findBinaries({
    ...{ user: place.user, binDirectory: cluster.postgres.directory, dataDirectory: undefined },
    privateDirectory: undefined,
  });
  await makeDatabase(place, binaries, primary.dataDirectory);
  // It goes on from the transactions of the one before, as what pg_upgrade makes does.
  const { exitCode, output } = await runProgram({
    user: place.user,
    program: join(binaries.directory, 'pg_resetwal'),
    arguments: ['-x', '20000', primary.dataDirectory],
    cwd: '/',
    timeoutMs: LIMIT_MS,
  });
  if (exitCode !== 0) expect.fail(`pg_resetwal: ${output}`);
}

/** What the agent answers once it is up again. */
async function answered(line: string): Promise<Ended> {
  let last: Ended | undefined;
  await waitFor(`an answer to ${line}`, async () => {
    last = await ctl(line);
    return !/not up yet|no answer from|cannot be reached/.test(last.stderr);
  });
  return last ?? expect.fail();
}

test(
  'refused while it is not prepared, with what is missing; nothing is changed',
  async () => {
    const standby = others()[0]?.node ?? '';
    const replace = 'node replace-database';
    expect(await ctl(`${replace} ${primary.node}`)).toMatchObject({ exitCode: 2 });
    expect(await ctl(`${replace} ${primary.node} --yes`)).toMatchObject(
      refused(/is not paused.*sentinelctl pause main/),
    );
    expect(await ctl(`${replace} ${standby} --yes`)).toMatchObject(refused(/is the primary of group main/));
    expect(await ctl('pause')).toMatchObject({ exitCode: 0 });
    expect(await ctl(`${replace} ${primary.node} --yes`)).toMatchObject(
      refused(/PostgreSQL runs in \S+: stop it first/),
    );
    expect(await systemOf(primary)).toBe(before);
  },
  HEALTHY_MS,
);

test(
  'a sentineld that finds another database says so, and what to do, and starts nothing',
  async () => {
    await exchange(primary, 'old', makeAnother);
    await cluster.waitFor('the other database to be said', HEALTHY_MS, ({ nodes }) =>
      /another database .*sentinelctl node replace-database pg\d$/.test(
        nodes.find(({ node }) => node === primary.node)?.message ?? '',
      ),
    );
    expect(primary.postmasterPid()).toBeUndefined();
    const planned = await answered(`node replace-database ${primary.node} --dry-run`);
    expect(planned).toMatchObject({
      exitCode: 0,
      stdout: expect.stringMatching(/nothing was changed; .*begins anew with pg\d alone/) as unknown,
    });
    expect(existsSync(`${primary.dataDirectory}/pg_sentinel.conf`)).toBe(false);
  },
  2 * HEALTHY_MS,
);

test(
  'the group goes on with it, also where sentineld is killed at once; nobody else begins it',
  async () => {
    const asked = ctl(`node replace-database ${primary.node} --yes`);
    await cluster.waitFor('the group to begin anew', HEALTHY_MS, ({ epoch }, status) => {
      const [group] = status.groups;
      return (
        group?.phase === 'creating' || (group?.phase === 'running' && epoch > 1 && group.nodes.length > 0)
      );
    });
    await primary.stopSentineld('SIGKILL');
    await asked;
    primary.startSentineld();
    await answered(`node replace-database ${primary.node} --yes`);
    await cluster.waitFor('the group to run', HEALTHY_MS, ({ phase }) => phase === 'running');
    await waitFor('the new database', async () => {
      const system = await systemOf(primary).catch(() => undefined);
      return system !== undefined && system !== before;
    });
    await sql(primary, 'create table made (id int)');
  },
  2 * HEALTHY_MS,
);

test(
  'whoever holds the database before does not count, and joins once it is moved away',
  async () => {
    await cluster.waitFor(
      'the standbys to say it',
      HEALTHY_MS,
      ({ nodes }) =>
        nodes.filter(({ message }) => /cannot make a standby: .*another database/.test(message ?? ''))
          .length === 2,
    );
    expect(await ctl(`failover --to ${others()[0]?.node} --yes`)).toMatchObject({ exitCode: 1 });
    const promoted = others()[0] ?? expect.fail();
    for (const host of others())
      await waitFor(`${host.node} to be cut off`, async () => {
        const [row] = await sql<{ conninfo: string }>(
          host,
          "select current_setting('primary_conninfo') as conninfo",
        );
        return row?.conninfo === '';
      });
    // By hand: it would take writes that nobody has.
    await sql(promoted, 'select pg_promote(false)').catch(() => undefined);
    await waitFor('it to be stopped', () => promoted.postmasterPid() === undefined);
    for (const host of others()) {
      await host.stopSentineld('SIGTERM');
      if (host !== promoted) await shutDown(host);
      renameSync(host.dataDirectory, `${host.dataDirectory}.old`);
      host.startSentineld();
    }
    await cluster.waitUntilHealthy(HEALTHY_MS);
    for (const host of others()) await waitFor('the new table there', () => has(host, 'made'));
  },
  2 * HEALTHY_MS,
);

const has = async (host: Host, table: string): Promise<boolean> => {
  const [row] = await sql<{ there: boolean }>(host, `select to_regclass('${table}') is not null as there`);
  return row?.there === true;
};

test(
  'it fails over, and the group is one like any other',
  async () => {
    const to = others()[0]?.node ?? '';
    await failOverTo(to);
    await cluster.waitUntilHealthy(HEALTHY_MS);
    await failOverTo(primary.node);
    await cluster.waitUntilHealthy(HEALTHY_MS);
  },
  2 * HEALTHY_MS,
);

test(
  'back to the database before, with what it held',
  async () => {
    expect(await ctl('pause')).toMatchObject({ exitCode: 0 });
    await exchange(primary, 'new');
    // As if the files of a tablespace had been removed with the other database's.
    const link = join(primary.dataDirectory, 'pg_tblspc', '16999');
    symlinkSync(join(primary.dataDirectory, '..', 'fast'), link);
    expect(await answered(`node replace-database ${primary.node} --yes`)).toMatchObject(
      refused(/has a tablespace at \S+fast, and there is no PG_\d+_\d+, .*put that back/),
    );
    expect(primary.postmasterPid()).toBeUndefined();
    rmSync(link);
    expect(await answered(`node replace-database ${primary.node} --yes`)).toMatchObject({
      exitCode: 0,
      stdout: expect.stringMatching(/^done: group main goes on with the database of/) as unknown,
    });
    for (const host of others()) await exchange(host, 'new');
    await cluster.waitUntilHealthy(HEALTHY_MS);
    for (const host of cluster.hosts) {
      expect(await systemOf(host)).toBe(before);
      expect([await has(host, 'kept'), await has(host, 'made')]).toEqual([true, false]);
    }
    const to = others()[0]?.node ?? '';
    await failOverTo(to);
    await cluster.waitUntilHealthy(HEALTHY_MS);
  },
  3 * HEALTHY_MS,
);

test(
  'a data directory that is gone is not made anew, and nobody else begins the group',
  async () => {
    const to = await cluster.primary();
    expect(await ctl('pause')).toMatchObject({ exitCode: 0 });
    await to.stopSentineld('SIGTERM');
    await shutDown(to);
    renameSync(to.dataDirectory, `${to.dataDirectory}.old`);
    to.startSentineld();
    expect(await answered(`node replace-database ${to.node} --yes`)).toMatchObject(
      refused(/there is no data directory/),
    );
    expect(existsSync(to.dataDirectory)).toBe(false);
    await to.stopSentineld('SIGTERM');
    renameSync(`${to.dataDirectory}.old`, to.dataDirectory);
    to.startSentineld();
    await waitFor('it to run', () => to.postmasterPid() !== undefined);
    expect((await answered('resume')).exitCode).toBe(0);
    await cluster.waitUntilHealthy(HEALTHY_MS);
  },
  3 * HEALTHY_MS,
);
