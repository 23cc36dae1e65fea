// Starting, stopping and watching a real PostgreSQL, and the session to it.
import { execFile, spawn } from 'node:child_process';
import { mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { delay, until } from '../../../src/base/clock.ts';
import { startPostgres, stopPostgres, watchPostmaster } from '../../../src/postgres/lifecycle.ts';
import { readMember } from '../../../src/postgres/member.ts';
import { readControlData } from '../../../src/postgres/control-data.ts';
import { nodeId } from '../../../src/base/ids.ts';
import {
  allGone,
  childProcesses,
  findPostmaster,
  instanceProcesses,
  isAlive,
  readPostmasterFile,
} from '../../../src/postgres/processes.ts';
import { openSession } from '../../../src/postgres/session.ts';
import { overriddenSettings, ourSettings, removeOverrides } from '../../../src/postgres/settings.ts';
import { createSlot, dropSlot, listSlots, setUpPrimary } from '../../../src/postgres/sql.ts';
import {
  configure,
  LIMIT_MS,
  logOf,
  openPlace,
  PROBE,
  QUERY,
  REPLICATION,
  sql,
  start,
  startPrimary,
  stop,
  withTakenPid,
  type Instance,
  type Place,
  TESTED_VERSION,
} from './instances.ts';

const run = promisify(execFile);
const place: Place | undefined = await openPlace(TESTED_VERSION);

describe.skipIf(place === undefined)(`one instance (needs PostgreSQL ${TESTED_VERSION})`, () => {
  const at = place as Place;
  let one: Instance;
  beforeAll(async () => {
    one = await startPrimary(at, 'one');
  });
  afterAll(() => at.close());

  test('pg_controldata says the same as our reading of pg_control', async ({ skip }) => {
    skip(!at.binaries.has.pgControldata, 'there is no pg_controldata');
    await stop(one);
    const { stdout } = await run(join(at.binaries.directory, 'pg_controldata'), ['-D', one.dataDirectory], {
      env: { LC_ALL: 'C' },
    });
    const control = await readControlData(one.dataDirectory);
    expect(stdout).toContain(`Database system identifier:           ${control.systemIdentifier}\n`);
    expect(stdout).toMatch(new RegExp(`Database cluster state: +${control.state}\n`));
    expect(stdout).toMatch(new RegExp(`max_wal_senders setting: +${control.maxWalSenders}\n`));
    expect(stdout).toMatch(new RegExp(`Bytes per WAL segment: +${control.walSegmentBytes}\n`));
    expect(control.state).toBe('shut down');
    await start(one);
  });

  test('a start that is not needed finds the one that runs', async () => {
    const running = findPostmaster(one.dataDirectory);
    expect(await start(one)).toMatchObject({ pid: running?.pid, child: undefined });
  });

  test('a start that fails says why, with the last lines of the log', async () => {
    await stop(one);
    await configure(one, { parameters: { shared_buffers: 'nonsense' } });
    await expect(start(one)).rejects.toThrow(/did not start[^]*shared_buffers/);
    await configure(one);
    await start(one);
  });

  test('the watch reports a killed postmaster at once, and its backends are not forgotten', async () => {
    await stop(one);
    const postgres = await start(one);
    await sql(one, 'select 1');
    const memory = readPostmasterFile(one.dataDirectory)?.sharedMemoryId;
    expect(memory).toEqual({ key: expect.any(Number), id: expect.any(Number) });
    const exits: string[] = [];
    watchPostmaster({ dataDirectory: one.dataDirectory, postgres, onExit: () => exits.push('parent') });
    watchPostmaster({
      dataDirectory: one.dataDirectory,
      postgres: { ...postgres, child: undefined },
      onExit: () => exits.push('other'),
    });
    // A frozen backend outlives its postmaster.
    const backend = childProcesses(postgres.pid).find((child) => child.title.includes('sentinel postgres'));
    process.kill(backend?.pid ?? 0, 'SIGSTOP');
    process.kill(postgres.pid, 'SIGKILL');
    await until({ what: 'exit seen', timeoutMs: LIMIT_MS, everyMs: 5 }, () => exits.length === 2);
    expect(findPostmaster(one.dataDirectory)).toBeUndefined();
    expect(allGone({ dataDirectory: one.dataDirectory, sharedMemoryId: memory })).toMatchObject({
      gone: false,
      pids: [backend?.pid],
    });
    await expect(start(one)).rejects.toThrow(/processes of an earlier PostgreSQL are left/);
    expect(await stop(one)).toMatchObject({ how: 'killed' });
    expect(allGone({ dataDirectory: one.dataDirectory, sharedMemoryId: memory })).toEqual({ gone: true });
    expect(await stop(one)).toMatchObject({ how: 'was stopped' });
    await start(one);
  });

  test('shared memory under an id that was ours before a boot is not ours', () => {
    const memory = readPostmasterFile(one.dataDirectory)?.sharedMemoryId ?? { key: 0, id: 0 };
    const goneWith = (sharedMemoryId: typeof memory) => allGone({ dataDirectory: at.root, sharedMemoryId });
    expect(goneWith(memory)).toMatchObject({ gone: false, pids: [] });
    expect(goneWith({ ...memory, key: memory.key + 1 })).toEqual({ gone: true });
  });

  test('a frozen postmaster is killed when the gentle ways have had their time', async () => {
    const pid = findPostmaster(one.dataDirectory)?.pid ?? 0;
    process.kill(pid, 'SIGSTOP');
    const stopped = await stopPostgres({
      dataDirectory: one.dataDirectory,
      fastMs: 100,
      immediateMs: 100,
      killMs: LIMIT_MS,
    });
    expect(stopped.how).toBe('killed');
    expect(instanceProcesses(one.dataDirectory)).toEqual([]);
    await start(one);
  });

  test('a postmaster.pid whose number is another process by now does not keep PostgreSQL from starting', async () => {
    await stop(one, 0);
    await withTakenPid(one, () => start(one));
    await sql(one, 'select 1');
  });

  test('nor does the lock of its socket where postmaster.pid is gone, as after a clone in its place', async () => {
    await stop(one, 0);
    await withTakenPid(one, async () => {
      await rm(join(one.dataDirectory, 'postmaster.pid'));
      await start(one);
    });
    await sql(one, 'select 1');
  });

  test('the session reports its loss at once and comes back by itself', async () => {
    const lost: string[] = [];
    const session = openSession({
      socketDirectory: one.socketDirectory,
      port: one.port,
      superuser: 'sentinel',
      onLost: (error) => lost.push(error.message),
    });
    await session.query('select 1', [], QUERY);
    expect(await session.query("select current_setting('synchronous_commit') as value", [], QUERY)).toEqual([
      { value: 'local' },
    ]);
    await sql(one, `select pg_terminate_backend(${session.backendPid})`);
    await until({ what: 'loss', timeoutMs: LIMIT_MS, everyMs: 2 }, () => lost.length > 0);
    expect(await session.query('select 2 as two', [], QUERY)).toEqual([{ two: 2 }]);
    await expect(session.query('select pg_sleep(30)', [], { timeoutMs: 100 })).rejects.toThrow(
      /no result within/,
    );
    await expect(session.query('select nonsense', [], QUERY)).rejects.toThrow(/nonsense/);
    expect(await session.query('select 3 as three', [], QUERY)).toEqual([{ three: 3 }]);
    await session.close();
    await expect(session.query('select 1', [], QUERY)).rejects.toThrow(/closed/);
  });

  test('setting a primary up again writes nothing', async () => {
    // No transaction id is used: nothing was changed.
    const nextId = async (): Promise<string | undefined> =>
      (await sql<{ id: string }>(one, 'select pg_snapshot_xmax(pg_current_snapshot())::text as id'))[0]?.id;
    const before = await nextId();
    await setUpPrimary({ session: one.session, replication: REPLICATION, probe: PROBE, query: QUERY });
    expect(await nextId()).toBe(before);
    await sql(one, 'set role probe');
    await sql(
      one,
      "insert into pg_sentinel.heartbeat (peer, beat) values ('a', 1) on conflict (peer) do update set beat = 2",
    );
    await sql(one, 'reset role');
  });

  test('whatever somebody has taken from the accounts is given to them again', async () => {
    const lacks = async (): Promise<boolean> =>
      (
        await sql<{ lacks: boolean }>(
          one,
          `select not (has_function_privilege('${REPLICATION.name}', 'pg_control_checkpoint()', 'execute')
             and has_function_privilege('${REPLICATION.name}', 'pg_stat_file(text, boolean)', 'execute')
             and has_table_privilege('${PROBE.name}', 'pg_sentinel.heartbeat', 'update')) as lacks`,
        )
      )[0]?.lacks === true;
    for (const what of [
      `execute on function pg_control_checkpoint() from public, ${REPLICATION.name}`,
      `execute on function pg_stat_file(text, boolean) from ${REPLICATION.name}`,
      `update on pg_sentinel.heartbeat from ${PROBE.name}`,
    ]) {
      await sql(one, `revoke ${what}`);
      expect([what, await lacks()]).toEqual([what, true]);
      await setUpPrimary({ session: one.session, replication: REPLICATION, probe: PROBE, query: QUERY });
      expect([what, await lacks()]).toEqual([what, false]);
    }
  });

  test('slots are made and dropped, again and again', async () => {
    await createSlot(one.session, 'a_slot', QUERY);
    await createSlot(one.session, 'a_slot', QUERY);
    expect((await listSlots(one.session, QUERY)).map((slot) => slot.name)).toEqual(['a_slot']);
    expect(await dropSlot(one.session, 'a_slot', QUERY)).toBe(true);
    expect(await dropSlot(one.session, 'a_slot', QUERY)).toBe(false);
  });

  test('one of our settings that ALTER SYSTEM overrides is found and put right', async () => {
    await sql(one, "alter system set synchronous_standby_names = 'anybody'");
    await sql(one, "alter system set work_mem = '5MB'");
    const options = { dataDirectory: one.dataDirectory, ours: Object.keys(ourSettings(one.settings)) };
    expect([...(await overriddenSettings(options))]).toEqual([['synchronous_standby_names', 'anybody']]);
    await removeOverrides({ dataDirectory: one.dataDirectory, keys: options.ours, owner: one.user.owner });
    expect((await overriddenSettings(options)).size).toBe(0);
    expect(await readFile(join(one.dataDirectory, 'postgresql.auto.conf'), 'utf8')).toContain(
      "work_mem = '5MB'",
    );
  });

  test('our pg_hba.conf counts, though postgresql.conf of an adopted database names another', async () => {
    await stop(one);
    const path = join(one.dataDirectory, 'postgresql.conf');
    const before = await readFile(path, 'utf8');
    const elsewhere = join(at.root, 'elsewhere_hba.conf');
    await writeFile(elsewhere, 'local all all trust\n', { mode: 0o644 });
    await writeFile(path, `hba_file = '${elsewhere}'\n${before}`);
    await start(one);
    const [row] = await sql<{ file: string }>(one, "select current_setting('hba_file') as file");
    expect(row?.file).toBe(join(one.dataDirectory, 'pg_hba.conf'));
    await stop(one);
    await writeFile(path, before);
    await start(one);
  });

  test('the files belong to the user PostgreSQL runs as, and the member file names the node', async () => {
    for (const name of ['pg_sentinel.conf', 'pg_hba.conf', 'postgresql.conf', 'pg_sentinel_member.json']) {
      const { uid, mode } = await stat(join(one.dataDirectory, name));
      expect([name, uid, mode & 0o777]).toEqual([name, one.user.uid, 0o600]);
    }
    const { systemIdentifier } = await readControlData(one.dataDirectory);
    const member = await readMember({
      dataDirectory: one.dataDirectory,
      node: nodeId('one'),
      systemIdentifier,
    });
    expect(member?.memberId).toMatch(/^one_[0-9a-f]{8}$/);
    expect(
      await readMember({ dataDirectory: one.dataDirectory, node: nodeId('two'), systemIdentifier }),
    ).toBeUndefined();
  });

  test('PostgreSQL outlives the process that started it, also when that is an ordinary user', async () => {
    const root = process.cwd();
    const directory = join(at.root, 'outlive');
    await mkdir(directory);
    const compiled = join(directory, 'compiled');
    const project = {
      extends: join(root, 'tsconfig.base.json'),
      compilerOptions: {
        rootDir: join(root, 'src'),
        outDir: compiled,
        typeRoots: [join(root, 'node_modules/@types')],
      },
      files: ['lifecycle.ts', 'initdb.ts', 'os-user.ts', 'binaries.ts', 'settings.ts'].map((name) =>
        join(root, 'src/postgres', name),
      ),
    };
    await writeFile(join(directory, 'tsconfig.json'), JSON.stringify(project));
    await run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', directory]);
    await writeFile(join(directory, 'package.json'), '{"type":"module"}');
    const data = join(directory, 'data');
    await writeFile(join(directory, 'start.js'), STARTER);
    const asRoot = process.getuid?.() === 0;
    if (asRoot) await run('chown', ['-R', `${one.user.uid}:${one.user.gid}`, directory]);
    const argv = [
      process.execPath,
      join(directory, 'start.js'),
      at.binaries.directory,
      data,
      String(one.port + 1),
    ];
    const child = asRoot
      ? spawn('setpriv', [`--reuid=${one.user.uid}`, `--regid=${one.user.gid}`, '--clear-groups', ...argv], {
          cwd: '/',
          stdio: ['ignore', 'pipe', 'pipe'],
        })
      : spawn(argv[0] ?? '', argv.slice(1), { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    child.stdout.on('data', (chunk) => (output += String(chunk)));
    child.stderr.on('data', (chunk) => (output += String(chunk)));
    const code = await new Promise((done) => child.once('close', done));
    try {
      expect([code, output]).toEqual([0, expect.stringMatching(/^pid \d+$/m)]);
      expect(isAlive(child.pid ?? 0)).toBe(false);
      await delay(200);
      const postmaster = findPostmaster(resolve(data));
      expect(postmaster?.pid).toBe(Number(/pid (\d+)/.exec(output)?.[1]));
      const session = openSession({ socketDirectory: data, port: one.port + 1, superuser: 'sentinel' });
      expect(await session.query('select 1 as one', [], QUERY)).toEqual([{ one: 1 }]);
      await session.close();
      const found = await startPostgres({
        ...one,
        dataDirectory: data,
        waitFor: 'accepting',
        timeoutMs: LIMIT_MS,
      });
      expect(found.child).toBeUndefined();
    } finally {
      await stopPostgres({ dataDirectory: data, fastMs: LIMIT_MS, immediateMs: 1000, killMs: LIMIT_MS });
    }
    expect(await logOf(one)).not.toContain('PANIC');
  });
});

/** Runs as a process of its own: makes an instance, starts it, and exits while it runs. */
const STARTER = `
import { findBinaries } from './compiled/postgres/binaries.js';
import { findOsUser } from './compiled/postgres/os-user.js';
import { initDataDirectory } from './compiled/postgres/initdb.js';
import { startPostgres } from './compiled/postgres/lifecycle.js';
import { DEFAULT_SETTINGS, writeSettings } from './compiled/postgres/settings.js';
const [binDirectory, dataDirectory, port] = process.argv.slice(2);
const user = await findOsUser({ configured: undefined });
const binaries = await findBinaries({ user, binDirectory, dataDirectory: undefined, privateDirectory: undefined });
await initDataDirectory({ binaries, user, dataDirectory, superuser: 'sentinel', timeoutMs: 60000 });
await writeSettings({ dataDirectory, owner: user.owner, settings: { ...DEFAULT_SETTINGS, version: binaries.version, listenAddresses: [], port: Number(port),
  socketDirectory: dataDirectory, clusterName: 'outlive', parameters: {} } });
const { pid } = await startPostgres({ binaries, user, dataDirectory, logFile: dataDirectory + '.log', socketDirectory: dataDirectory, port: Number(port), waitFor: 'accepting', timeoutMs: 60000 });
console.log('pid ' + pid);
process.exit(0);
`;
