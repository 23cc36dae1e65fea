// What a person can do wrong to a cluster that runs: a failover that cannot be, signals and restarts of sentineld, another
// database in a node's data directory, a node's name given twice. Writes go on through all of it, and nothing is changed.
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import { allGone } from '../../../src/postgres/processes.ts';
import type { StatusView } from '../../../src/transport/types.ts';
import { INSERT, prepareClients, readBack } from '../../../harness/clients.ts';
import type { Host } from '../../../harness/host.ts';
import { startLocalCluster, type LocalCluster } from '../../../harness/local-cluster.ts';
import { startWriter, type Writer } from '../../../harness/writer.ts';
import {
  findPrograms,
  LIMIT_MS,
  makeDatabase,
  openPlace,
  pictureOf,
  runSentinelctl,
  type Place,
} from './place.ts';

let place: Place;
let cluster: LocalCluster;
let writer: Writer;
let epoch: number;
const abandon = new AbortController();

beforeAll(async () => {
  place = await openPlace();
  cluster = await startLocalCluster({ cluster: 'shop', hostCount: 3, signal: abandon.signal });
  epoch = (await cluster.waitUntilHealthy(2 * LIMIT_MS)).epoch;
  const client = await prepareClients(await cluster.primary());
  const targets = cluster.hosts.map((host) => host.target);
  writer = startWriter({
    name: 'w',
    client,
    insert: INSERT,
    statementTimeoutMs: 10_000,
    retryMs: 10,
    paceMs: 2,
    targets,
  });
  await writer.connected(LIMIT_MS);
});
afterAll(async () => {
  abandon.abort();
  await writer?.stop();
  await cluster?.close();
  await place?.close();
});

const config = (host: Host): string => join(host.directory, 'sentineld.yaml');
const hostOf = (peer: string): Host =>
  cluster.hosts.find((host) => host.peer === peer) ?? expect.fail(`no host ${peer}`);

/** Every write so far was acknowledged, by one primary, and more are to come. */
async function expectWritesGoOn(): Promise<void> {
  expect(writer.attempts.filter(({ outcome }) => outcome !== 'acked')).toEqual([]);
  expect(new Set(writer.attempts.map(({ node }) => node)).size).toBe(1);
  const count = writer.attempts.length;
  await until(
    { what: 'further writes', timeoutMs: LIMIT_MS, everyMs: 5 },
    () => writer.attempts.length > count + 20 || undefined,
  );
  expect((await cluster.admin.status()).groups[0]).toMatchObject({ epoch, phase: 'running' });
}

async function statusWhere(what: string, condition: (status: StatusView) => boolean): Promise<StatusView> {
  let last: StatusView | undefined;
  return until({ what, timeoutMs: LIMIT_MS, everyMs: 50 }, async () => {
    last = await cluster.admin.status().catch(() => undefined);
    return last !== undefined && condition(last) ? last : undefined;
  }).catch((error: unknown) => {
    throw new Error(`${(error as Error).message}; last: ${JSON.stringify(last)}`);
  });
}

/** The others may not yet have noticed that a host was away: it is asked itself. */
async function healthyBy(host: Host): Promise<void> {
  const what = `peer ${host.peer} to be back and find the cluster healthy`;
  await until({ what, timeoutMs: LIMIT_MS, everyMs: 50 }, async () => {
    const { exitCode } = await runSentinelctl('--peers', host.address, 'status', '--exit-code');
    return exitCode === 0 || undefined;
  });
}

describe('sentinelctl failover', () => {
  test.each([
    [
      ['--to', 'pg9', '--yes'],
      1,
      'sentinelctl: there is no node "pg9" in group main; there are: pg1, pg2, pg3\n',
    ],
    [
      ['--to', 'PG2', '--yes'],
      2,
      'sentinelctl: --to: "PG2" is not the name of a node: expected a lower-case letter',
    ],
    [['mian', '--yes'], 1, 'sentinelctl: there is no group "mian" in shop; there are: main\n'],
    [
      ['--to', 'pg2'],
      2,
      'sentinelctl: nothing was changed: standard input is no terminal to ask on; pass --yes to fail over without being asked\n',
    ],
  ])('%j exits with %i', async (args, code, message) => {
    const { exitCode, stdout, stderr } = await runSentinelctl(
      '--config',
      config(hostOf('b')),
      'failover',
      ...args,
    );
    expect(stderr).toContain(message);
    expect([exitCode, stdout]).toEqual([code, '']);
    await expectWritesGoOn();
  });
});

test('SIGHUP changes nothing', async () => {
  const host = hostOf('a');
  const { sentineldPid } = host;
  process.kill(sentineldPid ?? expect.fail('no sentineld'), 'SIGHUP');
  const log = (): boolean =>
    readFileSync(host.logFile, 'utf8').includes('SIGHUP: the configuration is read at the next start');
  await until({ what: 'a word about SIGHUP', timeoutMs: LIMIT_MS, everyMs: 10 }, () => log() || undefined);
  expect(host.sentineldPid).toBe(sentineldPid);
  await expectWritesGoOn();
});

test('SIGTERM of each sentineld in turn leaves its PostgreSQL running; the next one takes it over without a write lost', async () => {
  for (const host of cluster.hosts) {
    const postmaster = host.postmasterPid();
    await host.stopSentineld('SIGTERM');
    expect(readFileSync(host.logFile, 'utf8')).toContain(
      '"signal":"SIGTERM","msg":"ending; PostgreSQL goes on"',
    );
    await expectWritesGoOn();
    expect(host.postmasterPid()).toBe(postmaster);
    host.startSentineld();
    await healthyBy(host);
    expect(host.postmasterPid()).toBe(postmaster);
    await expectWritesGoOn();
  }
});

test("another database in a standby's data directory is not touched, and said; moved away, it stays where it was moved", async () => {
  const host = hostOf('c');
  await stopAll(host);
  const own = `${host.dataDirectory}.old`;
  renameSync(host.dataDirectory, own);
  await makeDatabase(place, await findPrograms(place), host.dataDirectory);
  const before = pictureOf(host.dataDirectory);
  const ownBefore = pictureOf(own);
  host.startSentineld();
  const status = await statusWhere('the other database to be said', ({ groups }) =>
    /another database/.test(message(groups, 'pg3') ?? ''),
  );
  expect(message(status.groups, 'pg3')).toMatch(
    /^cannot make a standby: \S+pgdata holds another database \(system identifier \d+, the group has \d+\); move it away, or have node\.data_directory name another place$/,
  );
  expect(status.warnings).toContainEqual(
    expect.stringMatching(/^pg3: cannot make a standby: \S+ holds another database/),
  );
  await expectWritesGoOn();
  expect(pictureOf(host.dataDirectory)).toEqual(before);

  renameSync(host.dataDirectory, `${host.dataDirectory}.other`);
  await cluster.waitUntilHealthy(LIMIT_MS);
  expect(existsSync(join(host.dataDirectory, 'standby.signal'))).toBe(true);
  expect(contents(pictureOf(`${host.dataDirectory}.other`))).toEqual(contents(before));
  expect(pictureOf(own)).toEqual(ownBefore);
  await expectWritesGoOn();
});

test('a node name given twice: the second host carries out nothing, and both say so', async () => {
  const host = hostOf('c');
  await stopAll(host);
  const before = pictureOf(host.dataDirectory);
  const good = readFileSync(config(host), 'utf8');
  writeFileSync(config(host), good.replace('name: pg3', 'name: pg1'));
  host.startSentineld();
  const wanted = 'node pg1 is managed by peer a, not c';
  const status = await statusWhere('the name to be said', ({ warnings }) =>
    warnings.some((warning) => warning.includes(wanted)),
  );
  expect(status.warnings).toContainEqual(expect.stringContaining(`peer c: ${wanted}`));
  expect(readFileSync(host.logFile, 'utf8')).toContain(`the log refused register-node: ${wanted}`);
  expect(status.groups[0]?.nodes.find(({ node }) => node === 'pg1')).toMatchObject({
    peer: 'a',
    role: 'primary',
    state: 'running',
  });
  expect(host.postmasterPid()).toBeUndefined();
  expect(pictureOf(host.dataDirectory)).toEqual(before);
  await expectWritesGoOn();
  await host.stopSentineld();
  writeFileSync(config(host), good);
  host.startSentineld();
  await healthyBy(host);
});

test('no acknowledged write is missing at the end', async () => {
  await expectWritesGoOn();
  await writer.stop();
  const found = new Set(await readBack(await cluster.primary()));
  const acked = writer.attempts.filter(({ outcome }) => outcome === 'acked').map(({ id }) => id);
  expect(acked.filter((id) => !found.has(id))).toEqual([]);
  expect(acked.length).toBeGreaterThan(100);
});

const message = (groups: StatusView['groups'], node: string): string | undefined =>
  groups.flatMap((group) => group.nodes).find((each) => each.node === node)?.message;

/** What the files hold, without their paths. */
const contents = (picture: Record<string, string>): string[] => Object.values(picture).toSorted();

/** The standby's sentineld and PostgreSQL, the latter as an administrator would: fast. */
async function stopAll(host: Host): Promise<void> {
  await host.stopSentineld('SIGTERM');
  const pid = host.postmasterPid();
  if (pid !== undefined) process.kill(pid, 'SIGINT');
  const gone = (): true | undefined =>
    allGone({ dataDirectory: host.dataDirectory, sharedMemoryId: undefined }).gone ? true : undefined;
  await until({ what: `the end of PostgreSQL ${host.node}`, timeoutMs: LIMIT_MS, everyMs: 20 }, gone);
}
