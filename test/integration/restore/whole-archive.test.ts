// Without a target: all that the archive holds. Killed with its PostgreSQL in the middle of the recovery; what it archives itself, and from when on;
// and the old cluster's data directory on a host of the new group.
import { execFile } from 'node:child_process';
import { readFile, readdir, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import { type LocalCluster, startLocalCluster } from '../../../harness/local-cluster.ts';
import { makeDirectory } from '../../../src/postgres/own-directories.ts';
import { sql } from '../dangers/scene.ts';
import { HEALTHY_TIMEOUT_MS, LIMIT_MS, runSentinelctl } from '../raft/load.ts';
import {
  ALLOWED,
  GO,
  archived,
  archiveOf,
  give,
  makeBackup,
  oldServer,
  scriptOf,
  writeScript,
} from './backup.ts';

const WAL = 'wal';
const stop = new AbortController();
let cluster: LocalCluster;
let peers: string;
let archivedBefore: string[];
const newArchive = (directory: string): string => join(directory, 'new-archive');
beforeAll(async () => {
  cluster = await startLocalCluster({
    cluster: 'whole',
    hostCount: 3,
    signal: stop.signal,
    settings: (directory) => ({
      bootstrap: {
        command: [scriptOf(directory)],
        // PostgreSQL gets its first file of WAL once the test has looked.
        restore_command: `case %p in *RECOVERYXLOG) while [ ! -f ${directory}/signs/${WAL} ]; do sleep 0.1; done;; esac; cp ${archiveOf(directory)}/%f %p`,
      },
    }),
    parameters: (directory) => ({
      archive_mode: 'on',
      archive_command: `test ! -f ${newArchive(directory)}/%f && cp %p ${newArchive(directory)}/%f`,
    }),
    prepare: async ([first], tools) => {
      const directory = dirname(first?.directory ?? '');
      await makeDirectory(tools.user, newArchive(directory));
      await writeScript(directory);
      await makeBackup(tools, directory);
      archivedBefore = await archived(directory);
      for (const sign of [ALLOWED, GO]) await give(directory, sign);
    },
  });
  peers = cluster.hosts.map(({ address }) => address).join(',');
}, LIMIT_MS);
afterAll(async () => {
  stop.abort(new Error('the test is over'));
  await cluster?.close();
});

const ctl = (...args: string[]) => runSentinelctl(['--peers', peers, ...args]);
const ROWS = 'select count(*)::int as count, min(id) as min, max(id) as max from kept';
const inArchive = async (): Promise<string[]> =>
  (await readdir(newArchive(cluster.directory))).filter((name) => /^[0-9A-F]{8}/.test(name)).sort();

test(
  'killed with its PostgreSQL in the middle of the recovery, it goes on',
  { timeout: LIMIT_MS },
  async () => {
    const host = cluster.hostOf('pg1');
    await until({ what: 'the recovery to begin', timeoutMs: 120_000, everyMs: 100 }, () =>
      host.postmasterPid() === undefined ? undefined : true,
    );
    const marker = await readFile(join(host.dataDirectory, 'pg_sentinel_restoring'), 'utf8');
    expect(JSON.parse(marker)).toMatchObject({ isStarted: true });
    await host.kill();
    await give(cluster.directory, WAL);
    host.startSentineld();
    const { primary, nodes } = await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
    expect(primary).toBe('pg1');
    expect(nodes.map(({ timeline }) => timeline)).toEqual([2, 2, 2]);
    expect(await sql(host, ROWS)).toEqual([{ count: 41, min: 61, max: 1000 }]);
    const names = await readdir(dirname(host.dataDirectory));
    expect(names.filter((name) => name.startsWith('pgdata'))).toEqual(['pgdata']);
    expect(await readdir(host.dataDirectory)).not.toContain('pg_sentinel_restoring');
    // The old server's was higher, and its standbys would not start with ours.
    expect(await sql(host, 'show max_wal_senders')).toEqual([{ max_wal_senders: '16' }]);
  },
);

test(
  'from its first write on it archives, on its own timeline and to its own place, and so does whoever takes over',
  { timeout: LIMIT_MS },
  async () => {
    const switched = async (node: string): Promise<string> => {
      const host = cluster.hostOf(node);
      await sql(host, 'insert into kept values (2000)');
      const [row] = await sql<{ file: string }>(host, 'select pg_walfile_name(pg_current_wal_lsn()) as file');
      await sql(host, 'select pg_switch_wal()');
      const file = row?.file ?? '';
      await until({ what: `${file} in the archive`, timeoutMs: 120_000, everyMs: 200 }, async () =>
        (await inArchive()).includes(file),
      );
      return file;
    };
    expect(await switched('pg1')).toMatch(/^00000002/);
    expect(await inArchive()).toContain('00000002.history');
    expect((await ctl('failover', '--to', 'pg2', '--yes')).exitCode).toBe(0);
    await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
    expect(await switched('pg2')).toMatch(/^00000003/);
    for (const { dataDirectory } of cluster.hosts)
      expect(await readFile(join(dataDirectory, 'postgresql.auto.conf'), 'utf8')).not.toMatch(
        /^[^#]*archiv/m,
      );
    // Nothing was written where the old cluster archives, though a file that its configuration includes says so.
    expect(await archived(cluster.directory)).toEqual(archivedBefore);
  },
);

test(
  'a data directory of the old cluster is not touched, though it has the same system identifier',
  { timeout: LIMIT_MS },
  async () => {
    const host = cluster.hostOf('pg3');
    await host.kill();
    await rename(host.dataDirectory, `${host.dataDirectory}-aside`);
    const old = oldServer(cluster.directory);
    await promisify(execFile)('/bin/cp', ['-a', old, host.dataDirectory]);
    const control = await readFile(join(old, 'global', 'pg_control'));
    host.startSentineld();
    const what = { what: 'the refusal to be told', timeoutMs: 120_000, everyMs: 300 };
    await until(what, async () =>
      (await ctl('status')).stdout
        .replaceAll(/\s+/g, ' ')
        .includes('holds a database that is not of this group'),
    );
    expect(await readFile(join(host.dataDirectory, 'global', 'pg_control'))).toEqual(control);
    expect(
      (await readdir(dirname(host.dataDirectory))).filter((name) => /diverged|clone|replaced/.test(name)),
    ).toEqual([]);
    const reinit = await ctl('node', 'reinit', 'pg3', '--yes');
    expect(reinit, reinit.stderr).toMatchObject({ exitCode: 0 });
    await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
  },
);
