// `sentineld --leave` on a cluster of real processes, host by host, under a writer that goes on through all of it: refused as long as anybody
// counts on the host; broken off and run again; PostgreSQL runs on, is restarted by its own tools, and has lost nothing.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { lockDirectory } from '../../../src/actions/directory-lock.ts';
import { until } from '../../../src/base/clock.ts';
import type { Host } from '../../../harness/host.ts';
import { compiled } from '../../../harness/programs.ts';
import { processesBelow } from '../../../harness/processes.ts';
import { findOsUser, runProgram } from '../../../src/postgres/os-user.ts';
import { type Ended, HEALTHY_TIMEOUT_MS, LIMIT_MS, harmOf, runSentinelctl } from '../raft/load.ts';
import { INSERT, prepareClients } from '../../../harness/clients.ts';
import { checkHistory } from '../../../harness/history.ts';
import { type LocalCluster, startLocalCluster } from '../../../harness/local-cluster.ts';
import type { ClientSettings } from '../../../harness/session.ts';
import { CLIENT_DEFAULTS, type Writer, startWriter } from '../../../harness/writer.ts';
import { Client } from 'pg';

const stop = new AbortController();
let cluster: LocalCluster;
let client: Omit<ClientSettings, 'applicationName'>;
let writer: Writer;
beforeAll(async () => {
  cluster = await startLocalCluster({ cluster: 'leaving', hostCount: 3, signal: stop.signal });
  await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
  client = await prepareClients(await cluster.primary());
  writer = startWriter({
    ...CLIENT_DEFAULTS,
    ...{ name: 'through', client, insert: INSERT, paceMs: 5 },
    targets: cluster.hosts.map(({ target }) => target),
  });
  await writer.connected(30_000);
}, LIMIT_MS);
afterAll(async () => {
  await writer?.stop();
  stop.abort(new Error('the test is over'));
  await cluster?.close();
});

const SENTINELD = compiled('src/daemon/sentineld.js');
const argumentsOf = (host: Host, options: readonly string[]): string[] => [
  ...[SENTINELD, '--config', host.configFile, '--leave'],
  ...options,
];
const leave = (host: Host, ...options: string[]): Promise<Ended> =>
  new Promise((resolve) => {
    execFile(process.execPath, argumentsOf(host, options), { timeout: 60_000 }, (error, stdout, stderr) => {
      const exitCode = error === null ? 0 : typeof error.code === 'number' ? error.code : null;
      resolve({ exitCode, stdout, stderr });
    });
  });
const ctl = (line: string, hosts: readonly Host[] = cluster.hosts) =>
  runSentinelctl(['--peers', hosts.map(({ address }) => address).join(','), ...line.split(' ')]);
const ok = (stdout: RegExp) => ({ exitCode: 0, stdout: expect.stringMatching(stdout) as unknown });
const failed = (stderr: RegExp) => ({ exitCode: 1, stderr: expect.stringMatching(stderr) as unknown });
/** What was printed as left to do, run in a shell. */
const shell = async (text: string): Promise<string> => {
  const user = await findOsUser({ configured: undefined });
  // As whoever runs the tests: the printed lines change to the user of PostgreSQL themselves.
  const { exitCode, output } = await runProgram({
    user: { ...user, owner: undefined },
    program: '/bin/sh',
    arguments: ['-c', text],
    cwd: '/',
    timeoutMs: 60_000,
  });
  if (exitCode !== 0) throw new Error(`${text}: ${output}`);
  return output;
};
const asPostgres = async (program: string, ...args: string[]): Promise<string> => {
  const user = await findOsUser({ configured: undefined });
  const options = { user, program, arguments: args, cwd: '/', timeoutMs: 60_000 };
  const { exitCode, output } = await runProgram(options);
  if (exitCode !== 0) throw new Error(`${program} ${args.join(' ')}: ${output}`);
  return output;
};
/** The commands of the step that begins like that. */
const commandsOf = (printed: string, step: string): string[] => {
  const lines = printed.split('\n');
  const at = lines.findIndex((line) => line.includes(`. ${step}`));
  if (at < 0) throw new Error(`no step "${step}" in ${printed}`);
  const rest = lines.slice(at + 1);
  const end = rest.findIndex((line) => !line.startsWith('     '));
  return rest.slice(0, end < 0 ? rest.length : end).map((line) => line.trim());
};
const moreAcks = async (count: number): Promise<void> => {
  const acks = (): number => writer.attempts.filter(({ outcome }) => outcome === 'acked').length;
  const wanted = acks() + count;
  await until({ what: `${count} more writes`, timeoutMs: 60_000, everyMs: 20 }, () => acks() >= wanted);
};
/** By TCP: the socket is not where it was. */
const readAsClient = async (): Promise<string[]> => {
  const { user, password, database } = client;
  const session = new Client({ ...primary.target, user, password, database });
  await session.connect();
  const { rows } = await session.query<{ id: string }>('select id from public.writes');
  await session.end();
  return rows.map(({ id }) => id);
};
const filesOf = (host: Host): Promise<string[]> => readdir(host.dataDirectory);
const isOurs = (name: string): boolean => name.includes('pg_sentinel');
const fileOf = (host: Host, name: string): Promise<string> =>
  readFile(join(host.dataDirectory, name), 'utf8');

let primary: Host;
let standby: Host;
let other: Host;

test(
  'refused while sentineld runs, or anybody counts on the host; nothing is changed',
  { timeout: LIMIT_MS },
  async () => {
    primary = await cluster.primary();
    [standby, other] = cluster.hosts.filter((host) => host !== primary) as [Host, Host];
    const before = await filesOf(standby);
    expect(await leave(standby)).toMatchObject(failed(/sentineld runs on this host .* nothing was changed/));
    await standby.stopSentineld('SIGTERM');
    // Such as `sentinelctl node clone`.
    const lock = await lockDirectory(join(standby.directory, 'state', 'local'), 'somebody else');
    if (lock.kind !== 'held') throw new Error(`held by ${lock.by}`);
    for (const options of [[], ['--dry-run']])
      expect(await leave(standby, ...options)).toMatchObject(
        failed(
          new RegExp(
            `cannot leave: somebody else, process ${process.pid} works on ${standby.dataDirectory}: wait until it has ended; nothing was changed`,
          ),
        ),
      );
    lock.release();
    expect(await leave(standby)).toMatchObject(
      failed(
        new RegExp(
          `counts on node ${standby.node} of group main; .*node unregister ${standby.node}; .*nothing was changed`,
        ),
      ),
    );
    expect(await leave(standby, '--others-are-gone')).toMatchObject(
      failed(/the others are not gone: . at 127/),
    );
    expect(await filesOf(standby)).toEqual(before);
    await primary.stopSentineld('SIGTERM');
    standby.startSentineld();
    await cluster.waitFor(
      'the others to see it through',
      HEALTHY_TIMEOUT_MS,
      ({ nodes }, { leader }) =>
        leader !== undefined &&
        leader !== primary.peer &&
        nodes.some(({ node, state }) => node === standby.node && state === 'streaming'),
    );
    expect(await leave(primary)).toMatchObject(
      failed(/is the primary of group main, and peer . would promote another one/),
    );
    primary.startSentineld();
    await cluster.waitUntilHealthy(HEALTHY_TIMEOUT_MS);
  },
);

test('a standby that was taken out is left as one that follows nobody', { timeout: LIMIT_MS }, async () => {
  expect(await ctl(`node unregister ${standby.node} -y`)).toMatchObject({ exitCode: 0 });
  expect(await ctl(`peer remove ${standby.peer} --yes`, [primary, other])).toMatchObject({ exitCode: 0 });
  await standby.stopSentineld('SIGTERM');
  const pid = standby.postmasterPid();
  expect(await leave(standby, '--dry-run')).toMatchObject(ok(/nothing was changed; .* would leave/));
  expect((await filesOf(standby)).filter(isOurs)).not.toEqual([]);
  const left = await leave(standby);
  expect(left).toMatchObject(ok(/done: .*as a standby that follows nobody/s));
  expect(standby.postmasterPid()).toBe(pid);
  expect((await filesOf(standby)).filter(isOurs)).toEqual([]);
  expect(await filesOf(standby)).toContain('standby.signal');
  for (const command of commandsOf(left.stdout, 'drop the replication slots')) await shell(command);
  for (const command of commandsOf(left.stdout, 'restart PostgreSQL')) await shell(command);
  expect(standby.postmasterPid()).not.toBe(pid);
  expect(await leave(standby)).toMatchObject(ok(/nothing in it was ours/));
  // Its owner's from now on: promoted, and stopped again much later.
  const binaries = cluster.postgres.directory;
  const control = (what: string): Promise<string> =>
    asPostgres(join(binaries, 'pg_ctl'), what, '-w', '-D', standby.dataDirectory);
  await control('promote');
  await control('stop');
  expect(await leave(standby)).toMatchObject(ok(/is stopped, and stays so until you start it, as a primary/));
  expect(await filesOf(standby)).not.toContain('standby.signal');
});

test(
  'the last host: broken off and completed, writes go on, nothing is lost and nothing of ours left',
  { timeout: LIMIT_MS },
  async () => {
    expect(await ctl(`node drop ${other.node} -y`, [primary, other])).toMatchObject({ exitCode: 0 });
    expect(await ctl(`peer remove ${other.peer} --yes`, [primary, other])).toMatchObject({ exitCode: 0 });
    await other.stopSentineld('SIGTERM');
    // The last one by its own log: what the others would say counts no more.
    let printed = '';
    await moreAcks(20);
    const pid = primary.postmasterPid();
    await primary.stopSentineld('SIGTERM');
    const decided = join(primary.directory, 'state/left.json');
    const broken = spawn(process.execPath, argumentsOf(primary, []), { stdio: 'ignore' });
    const ended = once(broken, 'exit');
    await until({ what: 'the decision', timeoutMs: 60_000, everyMs: 1 }, () => existsSync(decided));
    broken.kill('SIGKILL');
    await ended;
    const left = await leave(primary);
    expect(left).toMatchObject(ok(/done: .*goes on running \(process \d+\), as a primary/s));
    printed = left.stdout;
    expect(primary.postmasterPid()).toBe(pid);
    expect((await filesOf(primary)).filter(isOurs)).toEqual([]);
    expect(await fileOf(primary, 'postgresql.conf')).not.toContain('pg_sentinel');
    expect(await fileOf(primary, 'pg_hba.conf')).not.toMatch(/sentinel_|trust/);
    const again = await leave(primary);
    expect(again).toMatchObject(ok(/nothing in it was ours/));
    for (const command of commandsOf(printed, 'drop the roles')) await shell(command);
    for (const command of commandsOf(printed, 'restart PostgreSQL')) await shell(command);
    expect(primary.postmasterPid()).not.toBe(pid);
    expect(await leave(primary)).toMatchObject(ok(/done: /));
    await moreAcks(50);
    await writer.stop();
    const { attempts } = writer;
    const verdict = checkHistory({ attempts, readBack: await readAsClient(), primaries: [primary.node] });
    expect(harmOf(verdict)).toEqual([]);
    // The guard works in the state directory; PostgreSQL in its own.
    const elsewhere = processesBelow(primary.directory).filter(({ cwd }) => cwd !== primary.dataDirectory);
    expect(elsewhere).toEqual([]);
    const auto = await fileOf(primary, 'postgresql.auto.conf');
    expect(auto).toMatch(/^port = '\d+'$/m);
    expect(auto).toMatch(/^max_connections = '60'$/m);
    expect(auto).not.toContain('synchronous');
  },
);

test('no sentineld starts there any more by mistake', { timeout: LIMIT_MS }, async () => {
  const started = spawn(process.execPath, [SENTINELD, '--config', primary.configFile], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  started.stderr.on('data', (data: Buffer) => (said += data.toString()));
  const [code] = (await once(started, 'exit')) as [number];
  expect(code).toBe(2);
  expect(said).toMatch(/this host has left its cluster/);
});
