// A PostgreSQL server that pg-sentinel does not manage, made by hand in a folder of the cluster: what is only watched.
import { appendFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { psqlOf } from '../../../harness/client-program.ts';
import { GROUP, SUPERUSER } from '../../../harness/cluster-config.ts';
import type { LocalCluster } from '../../../harness/local-cluster.ts';
import { until } from '../../../src/base/clock.ts';
import { findOsUser, giveTo, runProgram } from '../../../src/postgres/os-user.ts';
import { makeDirectory } from '../../../src/postgres/own-directories.ts';
import { findPostmaster, signalProcess } from '../../../src/postgres/processes.ts';
import { freePort } from '../../../src/transport/testing/free-ports.ts';

export interface ForeignServer {
  readonly port: number;
  start(): Promise<void>;
  kill(): void;
  /** Stops it; from its next start on it is a standby, that never finds a primary. */
  makeStandby(): Promise<void>;
  sql(text: string): Promise<string>;
}

/** Lets everybody in without a password; there is no role `sentinel_probe` yet, nor any table of ours. */
export async function makeForeignServer(cluster: LocalCluster): Promise<ForeignServer> {
  const user = await findOsUser({ configured: undefined });
  const directory = join(cluster.directory, 'foreign');
  const port = await freePort();
  await makeDirectory(user, directory, 0o700);
  const run = async (program: string, args: readonly string[]): Promise<string> => {
    const { exitCode, output } = await runProgram({
      user,
      program:
        program === 'psql' ? psqlOf(cluster.postgres.directory) : join(cluster.postgres.directory, program),
      arguments: args,
      cwd: '/',
      timeoutMs: 60_000,
    });
    if (exitCode !== 0) throw new Error(`${program} ${args.join(' ')}: ${output}`);
    return output.trim();
  };
  await run('initdb', ['-D', directory, '-U', SUPERUSER, '--locale=C', '-E', 'UTF8', '--auth=trust', '-N']);
  const settings = {
    ...{ port, listen_addresses: `'127.0.0.1'`, unix_socket_directories: `'${directory}'` },
    ...{ shared_buffers: '16MB', dynamic_shared_memory_type: 'mmap' },
  };
  const lines = Object.entries(settings).map(([name, value]) => `${name} = ${value}\n`);
  await appendFile(join(directory, 'postgresql.conf'), lines.join(''));
  return {
    port,
    // What a killed postmaster leaves behind holds its shared memory for a moment yet.
    start: async () => {
      const start = ['start', '-w', '-D', directory, '-l', join(directory, 'log')];
      await until({ what: 'the foreign server to start', timeoutMs: 60_000, everyMs: 200 }, () =>
        run('pg_ctl', start).then(
          () => true,
          () => undefined,
        ),
      );
    },
    kill() {
      const pid = findPostmaster(directory)?.pid;
      if (pid === undefined) throw new Error(`the foreign server of ${GROUP} does not run`);
      signalProcess(pid, 'SIGKILL');
    },
    async makeStandby() {
      await run('pg_ctl', ['stop', '-m', 'fast', '-D', directory]);
      await rm(join(directory, 'postmaster.pid'), { force: true });
      const file = join(directory, 'standby.signal');
      await writeFile(file, '', { mode: 0o600 });
      await giveTo(user, file);
    },
    sql: (text) =>
      run('psql', [
        '-XAtq',
        '-h',
        directory,
        '-p',
        String(port),
        '-U',
        SUPERUSER,
        '-d',
        'postgres',
        '-c',
        text,
      ]),
  };
}
