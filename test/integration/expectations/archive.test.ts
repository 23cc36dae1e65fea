// A directory as an archive, through crash failovers and a switchover under load: no hole, no two contents under one name, and a backup from
// before all that is restored from it to the end, with every acknowledged row.
import { spawn } from 'node:child_process';
import { appendFile, chmod, cp, mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { asSuperuser } from '../../../harness/superuser.ts';
import { readBack } from '../../../harness/clients.ts';
import type { Host } from '../../../harness/host.ts';
import { delay, until } from '../../../src/base/clock.ts';
import { readControlData } from '../../../src/postgres/control-data.ts';
import { findOsUser, giveTo, spawnIds } from '../../../src/postgres/os-user.ts';
import { makeDirectory } from '../../../src/postgres/own-directories.ts';
import { parseLsn } from '../../../src/base/lsn.ts';
import { reservedBySlots } from '../../../src/postgres/slot-files.ts';
import { readHistory } from '../../../src/postgres/timelines.ts';
import { freePort } from '../../../src/transport/testing/free-ports.ts';
import {
  HEALTHY_TIMEOUT_MS,
  LIMIT_MS,
  harmOf,
  startLoadedCluster,
  type LoadedCluster,
} from '../raft/load.ts';
import { sql } from '../dangers/scene.ts';

/**
 * Called with the path and the name. Fails while there is a file `broken`, notes who archives what, and refuses to replace: another content
 * under one name is noted as a clash.
 */
const ARCHIVER = (root: string): string => `#!/bin/sh
if [ -e ${root}/broken ]; then echo "the store does not answer" >&2; exit 1; fi
if [ -e "${root}/files/$2" ]; then
  cmp -s "$1" "${root}/files/$2" && exit 0
  echo "$PWD $2" >> ${root}/clashes
  exit 1
fi
cp "$1" "${root}/files/$2.new.$$" && mv "${root}/files/$2.new.$$" "${root}/files/$2" && echo "$PWD $2" >> ${root}/log
`;

let loaded: LoadedCluster;
let root: string;
let backup: string;
beforeAll(async () => {
  loaded = await startLoadedCluster({
    cluster: 'archive',
    parameters: (directory) => ({
      archive_mode: true,
      archive_command: `${directory}/archive/archiver %p %f`,
      max_prepared_transactions: 5,
    }),
  });
  root = join(loaded.cluster.directory, 'archive');
  const user = await findOsUser({ configured: undefined });
  for (const path of [root, join(root, 'files')]) await makeDirectory(user, path, 0o755);
  await writeFile(join(root, 'archiver'), ARCHIVER(root));
  await chmod(join(root, 'archiver'), 0o755);
  const primary = await loaded.cluster.primary();
  backup = join(loaded.cluster.directory, 'backup');
  await takeBackup(primary, backup);
}, LIMIT_MS);
afterAll(() => loaded?.close());

const healthy = () => loaded.cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
const archived = () => readdir(join(root, 'files'));

/** By hand, as backup programs do: there may be no pg_basebackup here. */
async function takeBackup(primary: Host, to: string): Promise<void> {
  const isOld = loaded.cluster.postgres.version < 15;
  await asSuperuser(primary, async (client) => {
    await client.query(
      isOld ? "select pg_start_backup('b', true, false)" : "select pg_backup_start('b', true)",
    );
    await mkdir(to, { mode: 0o700 });
    await cp(primary.dataDirectory, to, {
      recursive: true,
      filter: (path) =>
        !/\/(postmaster\.pid|postmaster\.opts|pg_wal\/.+|pg_replslot\/.+|pg_dynshmem\/.+)$/.test(path),
    });
    const text = isOld
      ? 'select labelfile from pg_stop_backup(false, true)'
      : 'select labelfile from pg_backup_stop(true)';
    const { rows } = await client.query<{ labelfile: string }>(text);
    await writeFile(join(to, 'backup_label'), rows[0]?.labelfile ?? '');
  });
}

async function restore(): Promise<{ readonly host: Pick<Host, 'socketDirectory' | 'target'> }> {
  const user = await findOsUser({ configured: undefined });
  const socketDirectory = join(loaded.cluster.directory, 'r');
  await makeDirectory(user, socketDirectory, 0o700);
  await rm(join(backup, 'pg_sentinel_member.json'), { force: true });
  await writeFile(join(backup, 'recovery.signal'), '');
  const give = async (directory: string): Promise<void> => {
    await giveTo(user, directory);
    for (const entry of await readdir(directory, { withFileTypes: true, recursive: true }))
      await giveTo(user, join(entry.parentPath, entry.name));
  };
  await give(backup);
  const port = await freePort();
  const settings = {
    ...{ port, listen_addresses: '', unix_socket_directories: socketDirectory, archive_mode: 'off' },
    ...{ restore_command: `cp ${root}/files/%f %p`, recovery_target_timeline: 'latest' },
    synchronous_standby_names: '',
  };
  const log = join(loaded.cluster.directory, 'restored.log');
  const child = spawn(
    join(loaded.cluster.postgres.directory, 'postgres'),
    ['-D', backup, ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])],
    { ...spawnIds(user), cwd: backup, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  child.stdout.on('data', (text: Buffer) => void appendFile(log, text));
  child.stderr.on('data', (text: Buffer) => void appendFile(log, text));
  const host = { socketDirectory, target: { node: 'restored', host: '', port } } as Host;
  await until(
    { what: 'the restored database to be open', timeoutMs: LIMIT_MS / 2, everyMs: 100 },
    async () => {
      if (child.exitCode !== null) throw new Error(`it ended: ${await readFile(log, 'utf8')}`);
      const rows = await sql<{ open: boolean }>(host, 'select not pg_is_in_recovery() as open').catch(
        () => [],
      );
      return rows[0]?.open === true;
    },
  ).catch(async (error: unknown) => {
    throw new Error(`${(error as Error).message}: ${(await readFile(log, 'utf8')).slice(-3000)}`, {
      cause: error,
    });
  });
  return { host };
}

/** Completed by the primary and not in the archive. */
async function completeSegments(primary: Host, count: number): Promise<string[]> {
  const names: string[] = [];
  for (let at = 0; at < count; at += 1) {
    const [row] = await sql<{ name: string }>(
      primary,
      'select pg_walfile_name(pg_current_wal_lsn()) as name',
    );
    names.push(row?.name ?? '');
    await sql(primary, 'select pg_switch_wal()');
    await delay(100);
  }
  return names;
}

/** What is in the archive of a timeline beyond the point where the group left it, or of one that the group was never on. */
async function leftBehind(primary: Host, names: readonly string[]): Promise<string[]> {
  const control = await readControlData(primary.dataDirectory);
  const history = (await readHistory(primary.dataDirectory, control.checkpointTimeline)) ?? [];
  const bytes = BigInt(control.walSegmentBytes);
  return names.filter((name) => {
    const of = Number.parseInt(name.slice(0, 8), 16);
    if (!/^[0-9A-F]{24}$/.test(name) || of === control.checkpointTimeline) return false;
    const left = history.find((entry) => entry.timeline === of)?.switchLsn;
    const log = BigInt(`0x${name.slice(8, 16)}`) << 32n;
    return left === undefined || log + (BigInt(`0x${name.slice(16)}`) + 1n) * bytes > left;
  });
}

async function crash(): Promise<void> {
  const primary = await loaded.cluster.primary();
  const { epoch } = await healthy();
  primary.killPostmaster();
  await loaded.cluster.waitFor('the failover', HEALTHY_TIMEOUT_MS, (group) => {
    return group.phase === 'running' && group.epoch > epoch && group.primary !== primary.node;
  });
}

test(
  'what slots reserve is read from their files as PostgreSQL shows it',
  { timeout: LIMIT_MS },
  async () => {
    const primary = await loaded.cluster.primary();
    const [slot] = await sql<{ lsn: string }>(
      primary,
      `select lsn::text from pg_create_physical_replication_slot('reserving', true)`,
    );
    const reserved = parseLsn(slot?.lsn ?? '');
    // The files of the members' slots are written by checkpoints, and then are ahead of it.
    await until({ what: 'the least of the slots', timeoutMs: LIMIT_MS / 2, everyMs: 200 }, async () => {
      await sql(primary, 'checkpoint');
      return (await reservedBySlots(primary.dataDirectory)) === reserved;
    });
    await sql(primary, `select pg_drop_replication_slot('reserving')`);
  },
);

test(
  'what the crashed primary had not archived yet is archived before it follows',
  { timeout: LIMIT_MS },
  async () => {
    const former = await loaded.cluster.primary();
    let waiting: string[] = [];
    const verdict = await loaded.writeWhile(async () => {
      await writeFile(join(root, 'broken'), '');
      waiting = await completeSegments(former, 3);
      await crash();
      expect(await archived()).not.toEqual(expect.arrayContaining(waiting));
      await rm(join(root, 'broken'));
      await healthy();
    });
    expect(harmOf(verdict)).toEqual([]);
    await until(
      { what: `${waiting.join()} in the archive`, timeoutMs: HEALTHY_TIMEOUT_MS, everyMs: 100 },
      async () => {
        const names = new Set(await archived());
        return waiting.every((name) => names.has(name));
      },
    );
  },
);

test(
  'a switchover leaves nothing behind, also where the archive does not answer meanwhile',
  { timeout: LIMIT_MS },
  async () => {
    const former = await loaded.cluster.primary();
    let waiting: string[] = [];
    const verdict = await loaded.writeWhile(async () => {
      await writeFile(join(root, 'broken'), '');
      waiting = await completeSegments(former, 2);
      const outcome = await loaded.cluster.admin.failover({ group: undefined, to: undefined }, 60_000);
      expect(outcome).toMatchObject({ kind: 'done' });
      await rm(join(root, 'broken'));
      await healthy();
    });
    expect(harmOf(verdict)).toEqual([]);
    await until(
      { what: `${waiting.join()} in the archive`, timeoutMs: HEALTHY_TIMEOUT_MS, everyMs: 100 },
      async () => {
        const names = new Set(await archived());
        return waiting.every((name) => names.has(name));
      },
    );
  },
);

test(
  'an archive that stays broken is said once, and holds up nobody; it gets all once it works again',
  { timeout: LIMIT_MS },
  async () => {
    const former = await loaded.cluster.primary();
    // It may have been a former primary, whose archive was broken for a moment, in an earlier test.
    const before = (await readFile(former.logFile, 'utf8')).length;
    await writeFile(join(root, 'broken'), '');
    const waiting = await completeSegments(former, 2);
    await crash();
    const isSaid = (text: RegExp): Promise<unknown> =>
      loaded.cluster.waitFor(`${former.node} to say ${text.source}`, HEALTHY_TIMEOUT_MS, ({ nodes }) =>
        nodes.some(({ node, message = '' }) => node === former.node && text.test(message)),
      );
    await isSaid(/WAL files .*could not be archived.*store does not answer/);
    await healthy();
    // The agent of that node is not kept busy: it streams, and takes part in a switchover.
    expect(await loaded.cluster.admin.failover({ group: undefined, to: undefined }, 60_000)).toMatchObject({
      kind: 'done',
    });
    await healthy();
    const said = (await readFile(former.logFile, 'utf8')).slice(before);
    expect(said.split('could not be archived')).toHaveLength(2);
    expect(said).toContain(waiting[0]);
    expect(await archived()).not.toEqual(expect.arrayContaining(waiting));
    await rm(join(root, 'broken'));
    await isSaid(/are archived now/);
    expect(await archived()).toEqual(expect.arrayContaining(waiting));
  },
);

test('a backup from before all that is restored to the end', { timeout: LIMIT_MS }, async () => {
  for (const work of [
    crash,
    () => loaded.cluster.admin.failover({ group: undefined, to: undefined }, 60_000),
    crash,
  ]) {
    const verdict = await loaded.writeWhile(async () => {
      await work();
      await healthy();
    });
    expect(harmOf(verdict)).toEqual([]);
  }
  const primary = await loaded.cluster.primary();
  const [last] = await completeSegments(primary, 1);
  await until({ what: `${last} in the archive`, timeoutMs: HEALTHY_TIMEOUT_MS, everyMs: 100 }, async () =>
    (await archived()).includes(last ?? ''),
  );
  const { host } = await restore();
  const expected = await readBack(primary);
  expect(expected.length).toBeGreaterThan(100);
  expect((await readBack(host as Host)).toSorted()).toEqual(expected.toSorted());
  const names = await archived();
  expect(await leftBehind(primary, names)).toEqual([]);
  const { highest } = (
    await sql<{ highest: number }>(primary, 'select timeline_id as highest from pg_control_checkpoint()')
  )[0] ?? { highest: 0 };
  for (let timeline = 2; timeline <= highest; timeline += 1)
    expect(names).toContain(`${timeline.toString(16).toUpperCase().padStart(8, '0')}.history`);
  expect(names.filter((name) => name.endsWith('.partial')).length).toBeGreaterThan(0);
  expect(await readFile(join(root, 'clashes'), 'utf8').catch(() => '')).toBe('');
});
