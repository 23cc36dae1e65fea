// A PostgreSQL as somebody has run it before, its backup by pg_basebackup and its archive of WAL; and the script that restores it.
import { access, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { until } from '../../../src/base/clock.ts';
import type { Binaries } from '../../../src/postgres/binaries.ts';
import { type OsUser, giveTo, makeDirectory, runProgram } from '../../../src/postgres/os-user.ts';

export interface Tools {
  readonly binaries: Binaries;
  readonly user: OsUser;
}

export const TARGET = 'before_the_mistake';

export const archiveOf = (directory: string): string => join(directory, 'archive');
/** Files that a test makes to have the script go on. */
export const ALLOWED = 'allowed';
export const GO = 'go';

/** Makes the server, its backup and its archive; stops it. Rows 1 to 100 were there before the target, the others came after it. */
export async function makeBackup({ binaries, user }: Tools, directory: string): Promise<void> {
  const old = join(directory, 'old');
  const archive = archiveOf(directory);
  const backup = join(directory, 'backup');
  for (const path of [archive, backup, old]) await makeDirectory(user, path);
  await mkdir(join(directory, 'signs'), { mode: 0o755 });
  const run = async (program: string, ...args: readonly string[]): Promise<string> => {
    const { exitCode, output } = await runProgram({
      user,
      program: join(binaries.directory, program),
      arguments: args,
      cwd: '/',
      timeoutMs: 60_000,
    });
    if (exitCode !== 0) throw new Error(`${program} ${args.join(' ')}: ${output}`);
    return output;
  };
  const psql = (text: string): Promise<string> =>
    run('psql', '-XAtq', '-h', archive, '-p', '5999', '-U', 'postgres', '-d', 'postgres', '-c', text);
  await run('initdb', '-D', old, '-U', 'postgres', '--locale=C', '-E', 'UTF8', '-A', 'trust');
  await writeFile(
    join(old, 'postgresql.conf'),
    `port = 5999
listen_addresses = ''
unix_socket_directories = '${archive}'
shared_buffers = 16MB
max_connections = 70
archive_mode = on
archive_command = 'test ! -f ${archive}/%f && cp %p ${archive}/%f'
`,
  );
  await giveTo(user, join(old, 'postgresql.conf'));
  await run('pg_ctl', 'start', '-w', '-D', old, '-l', join(archive, 'server.log'));
  try {
    await psql('create table kept as select generate_series(1, 50) as id; create role of_old login');
    await psql("select pg_create_physical_replication_slot('of_a_standby', true)");
    await run(
      'pg_basebackup',
      '-h',
      archive,
      '-p',
      '5999',
      '-U',
      'postgres',
      '-D',
      backup,
      '-Ft',
      '-X',
      'none',
    );
    await psql('insert into kept select generate_series(51, 100)');
    await psql(`select pg_create_restore_point('${TARGET}')`);
    await psql('delete from kept where id <= 60; insert into kept values (1000)');
    const last = (await psql('select pg_walfile_name(pg_current_wal_lsn())')).trim();
    await psql('select pg_switch_wal()');
    await until({ what: 'the archive to have all WAL', timeoutMs: 60_000, everyMs: 50 }, () =>
      access(join(archive, last)).then(
        () => true,
        () => undefined,
      ),
    );
  } finally {
    await run('pg_ctl', 'stop', '-w', '-m', 'fast', '-D', old);
  }
}

/** Fails until a test allows it; then restores, and waits for another sign before it ends. */
export async function writeScript(directory: string): Promise<void> {
  const text = `#!/bin/sh
set -e
echo "restoring into $PG_SENTINEL_DATA_DIRECTORY as node $PG_SENTINEL_NODE of $PG_SENTINEL_GROUP"
if [ ! -f ${directory}/signs/${ALLOWED} ]; then echo 'the backup store does not answer' >&2; exit 3; fi
tar -xf ${directory}/backup/base.tar -C "$PG_SENTINEL_DATA_DIRECTORY"
while [ ! -f ${directory}/signs/${GO} ]; do sleep 0.1; done
`;
  await writeFile(scriptOf(directory), text, { mode: 0o755 });
}

export const scriptOf = (directory: string): string => join(directory, 'restore.sh');
export const give = (directory: string, sign: string): Promise<void> =>
  writeFile(join(directory, 'signs', sign), '');
export const archived = async (directory: string): Promise<string[]> =>
  (await readdir(archiveOf(directory))).filter((name) => /^[0-9A-F]{8}/.test(name)).sort();
