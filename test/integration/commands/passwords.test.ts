// Passwords of the service's users are changed on a cluster under load: nobody is refused for good, nothing waits, and no password is where
// everybody could read it.
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { until } from '../../../src/base/clock.ts';
import { verifies } from '../../../src/postgres/sql.ts';
import { sql } from '../dangers/scene.ts';
import { HEALTHY_TIMEOUT_MS, LIMIT_MS, type LoadedCluster, startLoadedCluster } from '../raft/load.ts';

const USERS = { replication: 'sentinel_replication', probe: 'sentinel_probe' } as const;
type User = keyof typeof USERS;
const BOTH: readonly User[] = ['replication', 'probe'];
const secret = (user: User, generation: number): string => `${user}-secret-${generation}`;

let loaded: LoadedCluster;
let folder: string;
const fileOf = (user: User): string => join(folder, `${user}.password`);
const write = (...generations: number[]): void => {
  for (const user of BOTH)
    writeFileSync(fileOf(user), generations.map((each) => `${secret(user, each)}\n`).join(''), {
      mode: 0o600,
    });
};

beforeAll(async () => {
  loaded = await startLoadedCluster({
    cluster: 'passwords',
    spareCount: 0,
    settings: (directory) => {
      folder = directory;
      write(1);
      const account = (user: User) => ({ name: USERS[user], password_file: fileOf(user) });
      return {
        users: {
          superuser: { name: 'postgres' },
          replication: account('replication'),
          probe: account('probe'),
        },
      };
    },
  });
}, LIMIT_MS);
afterAll(() => loaded?.close());

const eventually = (what: string, condition: () => Promise<boolean> | boolean): Promise<unknown> =>
  until({ what, timeoutMs: HEALTHY_TIMEOUT_MS, everyMs: 200 }, condition);
const healthy = () => loaded.cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
const timesRead = (): number[] =>
  loaded.cluster.hosts.map(({ logFile }) => readFileSync(logFile, 'utf8').split('was read again').length - 1);
/** All hosts have read both files again. */
const writeAndWait = async (...generations: number[]): Promise<void> => {
  const before = timesRead();
  write(...generations);
  await eventually('the files to be read', () =>
    timesRead().every((count, at) => count >= (before[at] ?? 0) + 2),
  );
};
const hasPassword = async (user: User, generation: number): Promise<boolean> => {
  const { primary } = await healthy();
  const [row] = await sql(
    loaded.cluster.hostOf(primary ?? ''),
    `select rolpassword as verifier from pg_authid where rolname = '${USERS[user]}'`,
  );
  return verifies((row as { verifier: string }).verifier, secret(user, generation));
};

test(
  'both are known, then the role is changed, then the former is forgotten',
  { timeout: LIMIT_MS },
  async () => {
    const { epoch } = await healthy();
    const verdict = await loaded.writeWhile(async () => {
      await writeAndWait(1, 2);
      expect(await hasPassword('probe', 1)).toBe(true);
      await writeAndWait(2, 1);
      for (const user of BOTH) await eventually(`${user} to be changed`, () => hasPassword(user, 2));
      await writeAndWait(2);
      // New connections of the walreceivers and of every probe.
      const { primary } = await healthy();
      for (const { node } of loaded.cluster.hosts.filter((host) => host.node !== primary)) {
        expect(await loaded.ctl(['node', 'restart', node, '-y'])).toMatchObject({ exitCode: 0 });
        await healthy();
      }
      expect(await healthy()).toMatchObject({ epoch });
    });
    expect(verdict).toMatchObject({ lost: [] });
    // A new primary, whose agents all come with the new one.
    expect(await loaded.ctl(['failover', '-y'])).toMatchObject({ exitCode: 0 });
    await healthy();
    expect(await hasPassword('replication', 2)).toBe(true);
  },
);

test('no password is in a log, in the status, or in the arguments of a process', async () => {
  const texts = loaded.cluster.hosts.flatMap(({ logFile, postgresLogFile }) =>
    [logFile, postgresLogFile].map((path) => readFileSync(path, 'utf8')),
  );
  for (const command of [['status', '-o', 'json'], ['events'], ['settings', 'get'], ['settings', 'history']])
    texts.push((await loaded.ctl(command)).stdout);
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      texts.push(readFileSync(`/proc/${pid}/cmdline`, 'utf8'));
    } catch {
      // It has ended meanwhile.
    }
  }
  for (const { raftDirectory } of loaded.cluster.hosts)
    for (const name of readdirSync(raftDirectory, { recursive: true, withFileTypes: true }))
      if (name.isFile()) texts.push(readFileSync(join(name.parentPath, name.name), 'latin1'));
  for (const text of texts) expect(/-secret-\d/.exec(text)?.[0]).toBeUndefined();
});

test(
  'who cannot log in as the probe user is said in the status and by node check',
  { timeout: LIMIT_MS },
  async () => {
    const { primary = '' } = await healthy();
    const host = loaded.cluster.hostOf(primary);
    const told = async (): Promise<string> => (await loaded.ctl(['status'])).stdout.replaceAll(/\s+/g, ' ');
    expect(await told()).not.toContain('does not let in');
    await sql(host, `alter role ${USERS.probe} nologin`);
    await sql(
      host,
      `select pg_terminate_backend(pid) from pg_stat_activity where usename = '${USERS.probe}'`,
    );
    // By the one that is asked of itself, and by the other two in their reports.
    const peers =
      /! it does not let in the probes of peers a, b, c: role "sentinel_probe" is not permitted to log in \(28000\); a restart of sentineld on the host of the primary/;
    await eventually('all three to say so', async () => peers.test(await told()));
    const { exitCode, stdout } = await loaded.ctl(['node', 'check', primary]);
    expect([exitCode, stdout]).toEqual([
      1,
      expect.stringMatching(/WARNING - .*does not let in the probes of peers a, b, c/),
    ]);
    expect(await loaded.cluster.admin.status()).toMatchObject({ groups: [{ primary, phase: 'running' }] });
    await sql(host, `alter role ${USERS.probe} login`);
    await eventually('it to be over', async () => !(await told()).includes('does not let in'));
  },
);
