// A PostgreSQL as somebody has run it before, its backup and its archive of WAL; and the script that restores it. Only with programs that every
// version here has: no psql, no pg_basebackup.
import { access, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { delay, until } from '../../../src/base/clock.ts';
import type { Binaries } from '../../../src/postgres/binaries.ts';
import { type OsUser, giveTo, runProgram } from '../../../src/postgres/os-user.ts';
import { makeDirectory } from '../../../src/postgres/own-directories.ts';

export interface Tools {
  readonly binaries: Binaries;
  readonly user: OsUser;
}

export const TARGET = 'before_the_mistake';

export const oldServer = (directory: string): string => join(directory, 'old');
export const archiveOf = (directory: string): string => join(directory, 'archive');
/** Files that a test makes to have the script go on. */
export const ALLOWED = 'allowed';
export const GO = 'go';
/** The script restores the tablespace to where this node is to have it. */
export const REMAP = 'remap';

const PORT = 5999;

/** Where recovery can stop so that there is what was there at the target. */
export interface Backup {
  readonly lsn: string;
  readonly time: string;
}

/** Its programs, and a session with it while it runs; it is stopped after the work. */
function oldCluster({ binaries, user }: Tools, directory: string) {
  const old = oldServer(directory);
  const archive = archiveOf(directory);
  const run = async (program: string, exitCodes: readonly number[], ...args: string[]): Promise<void> => {
    const { exitCode = -1, output } = await runProgram({
      ...{ user, program, arguments: args, cwd: '/', timeoutMs: 60_000 },
    });
    if (!exitCodes.includes(exitCode)) throw new Error(`${program} ${args.join(' ')}: ${output}`);
  };
  const runPostgres = (program: string, ...args: string[]): Promise<void> =>
    run(join(binaries.directory, program), [0], ...args);
  const write = async (path: string, text: string): Promise<void> => {
    await writeFile(path, text);
    await giveTo(user, path);
  };
  const whileRunning = async <T>(
    work: (ask: (text: string) => Promise<string>) => Promise<T>,
  ): Promise<T> => {
    await runPostgres('pg_ctl', 'start', '-w', '-D', old, '-l', join(archive, 'server.log'));
    const client = new pg.Client({ host: archive, port: PORT, user: 'postgres', database: 'postgres' });
    // The server is stopped below.
    client.on('error', () => undefined);
    try {
      await client.connect();
      return await work(async (text) => {
        const { rows } = await client.query<{ value: string }>(text);
        return rows[0]?.value ?? '';
      });
    } finally {
      await client.end().catch(() => undefined);
      await runPostgres('pg_ctl', 'stop', '-w', '-m', 'fast', '-D', old);
    }
  };
  /** The segment that was written to until now, once it is in the archive. */
  const archiveSegment = async (ask: (text: string) => Promise<string>): Promise<string> => {
    const last = await ask('select pg_walfile_name(pg_current_wal_lsn()) as value');
    await ask('select pg_switch_wal()::text as value');
    await until({ what: 'the archive to have all WAL', timeoutMs: 60_000, everyMs: 50 }, () =>
      access(join(archive, last)).then(
        () => true,
        () => undefined,
      ),
    );
    return last;
  };
  return { old, archive, run, runPostgres, write, whileRunning, archiveSegment };
}

/**
 * Makes the server, its backup and its archive; stops it. Rows 1 to 100 were there before the target, the others came after it. How it archives
 * stands in a file that its postgresql.conf includes. `tablespace`: a path where it has one, with the table `in_fast` of 10 rows; its files are in
 * the backup as fast.tar.
 */
export async function makeBackup(
  tools: Tools,
  directory: string,
  { tablespace }: { readonly tablespace?: string } = {},
): Promise<Backup> {
  const { binaries, user } = tools;
  const { old, archive, run, runPostgres, write, whileRunning, archiveSegment } = oldCluster(
    tools,
    directory,
  );
  const backup = join(directory, 'backup');
  for (const path of [archive, backup, old]) await makeDirectory(user, path);
  await mkdir(join(directory, 'signs'), { mode: 0o755 });
  await runPostgres('initdb', '-D', old, '-U', 'postgres', '--locale=C', '-E', 'UTF8', '-A', 'trust');
  await write(
    join(old, 'postgresql.conf'),
    `port = ${PORT}
listen_addresses = ''
unix_socket_directories = '${archive}'
shared_buffers = 16MB
max_connections = 70
max_wal_senders = 20
include 'archiving.conf'
`,
  );
  await write(
    join(old, 'archiving.conf'),
    `archive_mode = on
archive_command = 'test ! -f ${archive}/%f && cp %p ${archive}/%f'
`,
  );
  return whileRunning(async (ask) => {
    await ask('create table kept as select generate_series(1, 50) as id');
    await ask('create role of_old login');
    await ask("select pg_create_physical_replication_slot('of_a_standby', true)");
    if (tablespace !== undefined) {
      await makeDirectory(user, tablespace);
      await ask(`create tablespace fast location '${tablespace}'`);
      await ask('create table in_fast tablespace fast as select generate_series(1, 10) as id');
      await ask('checkpoint');
    }
    const [begin, end] =
      binaries.version >= 15
        ? ["pg_backup_start('test', true)", 'pg_backup_stop(false)']
        : ["pg_start_backup('test', true, false)", 'pg_stop_backup(false, false)'];
    await ask(`select ${begin}`);
    // 1: a file has changed while it was read.
    const parts = ['--exclude=./pg_wal/*', '--exclude=./postmaster.pid', '.'];
    await run('/bin/tar', [0, 1], '-cf', join(backup, 'base.tar'), '-C', old, ...parts);
    if (tablespace !== undefined)
      await run('/bin/tar', [0, 1], '-cf', join(backup, 'fast.tar'), '-C', tablespace, '.');
    await write(join(backup, 'backup_label'), await ask(`select labelfile as value from ${end}`));
    await ask('insert into kept select generate_series(51, 100)');
    await ask(`select pg_create_restore_point('${TARGET}')`);
    const lsn = await ask('select pg_current_wal_insert_lsn()::text as value');
    // Between the commits on both sides of it, by the second.
    await delay(1100);
    const time = await ask(
      `select to_char(now() at time zone 'utc', 'YYYY-MM-DD HH24:MI:SS') || '+00' as value`,
    );
    await delay(1100);
    await ask('delete from kept where id <= 60');
    await ask('insert into kept values (1000)');
    await archiveSegment(ask);
    return { lsn, time };
  });
}

/**
 * It was promoted since, to a timeline before which another one was given up: the archive has history 3 and none of 2. Inserts the rows, each
 * in a segment of its own, whose names it returns.
 */
export async function goOnPromoted(
  tools: Tools,
  directory: string,
  rows: readonly number[],
): Promise<readonly string[]> {
  const { old, runPostgres, write, whileRunning, archiveSegment } = oldCluster(tools, directory);
  await write(join(old, 'standby.signal'), '');
  return whileRunning(async (ask) => {
    await write(join(old, 'pg_wal', '00000002.history'), '');
    await runPostgres('pg_ctl', 'promote', '-w', '-D', old);
    const segments: string[] = [];
    for (const row of rows) {
      await ask(`insert into kept values (${row})`);
      segments.push(await archiveSegment(ask));
    }
    return segments;
  });
}

/** Fails until a test allows it; then restores, and waits for another sign before it ends. */
export async function writeScript(directory: string): Promise<void> {
  const text = `#!/bin/sh
set -e
echo "restoring into $PG_SENTINEL_DATA_DIRECTORY as node $PG_SENTINEL_NODE of $PG_SENTINEL_GROUP"
if [ ! -f ${directory}/signs/${ALLOWED} ]; then echo 'the backup store does not answer' >&2; exit 3; fi
tar -xf ${directory}/backup/base.tar -C "$PG_SENTINEL_DATA_DIRECTORY"
if [ -f ${directory}/signs/${REMAP} ]; then
  tar -xf ${directory}/backup/fast.tar -C "$PG_SENTINEL_TABLESPACE_fast"
  for link in "$PG_SENTINEL_DATA_DIRECTORY"/pg_tblspc/*; do ln -sfn "$PG_SENTINEL_TABLESPACE_fast" "$link"; done
fi
cp ${directory}/backup/backup_label "$PG_SENTINEL_DATA_DIRECTORY"
while [ ! -f ${directory}/signs/${GO} ]; do sleep 0.1; done
`;
  await writeFile(scriptOf(directory), text, { mode: 0o755 });
}

export const scriptOf = (directory: string): string => join(directory, 'restore.sh');
export const give = (directory: string, sign: string): Promise<void> =>
  writeFile(join(directory, 'signs', sign), '');
export const archived = async (directory: string): Promise<string[]> =>
  (await readdir(archiveOf(directory))).filter((name) => /^[0-9A-F]{8}/.test(name)).sort();
