import { mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { until } from '../base/clock.ts';
import { removeFileDurably, writeFileDurably } from './durable-files.ts';
import { isAlive } from './processes.ts';
import { cleanEnvironment, findOsUser, parsePasswd, runProgram } from './os-user.ts';

const isRoot = process.getuid?.() === 0;

test('/etc/passwd is read', () => {
  expect(parsePasswd('postgres:x:101:104:,,,:/var/lib:/bin/bash\n\nbroken\n').get('postgres')).toEqual({
    name: 'postgres',
    uid: 101,
    gid: 104,
  });
});

test.runIf(isRoot)('root takes the configured user, else postgres, else nobody (needs root)', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'pg-sentinel-passwd-'));
  const passwdPath = join(directory, 'passwd');
  await writeFile(passwdPath, 'root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n');
  expect(await findOsUser({ configured: undefined, passwdPath })).toMatchObject({
    name: 'nobody',
    owner: { uid: 65534, gid: 65534 },
  });
  await expect(findOsUser({ configured: 'pgsql', passwdPath })).rejects.toThrow(/no OS user pgsql/);
  await expect(findOsUser({ configured: 'root', passwdPath })).rejects.toThrow(/refuses to run as root/);
  await rm(directory, { recursive: true });
});

test('a program that fails is a result, one that cannot be started an error', async () => {
  const user = await findOsUser({ configured: undefined });
  const common = { user, cwd: '/', timeoutMs: 10_000 };
  const result = await runProgram({
    ...common,
    program: '/bin/sh',
    arguments: ['-c', 'echo no >&2; exit 3'],
  });
  expect(result).toEqual({ exitCode: 3, signal: undefined, output: 'no\n', stdout: '' });
  expect(
    await runProgram({ ...common, timeoutMs: 50, program: '/bin/sleep', arguments: ['60'] }),
  ).toMatchObject({ signal: 'SIGKILL' });
  await expect(runProgram({ ...common, program: '/nonexistent', arguments: [] })).rejects.toThrow(
    /cannot start/,
  );
});

const LINGERING = [
  ['that its leader has left behind', 'sleep 600 & echo $!; exit 0', 0],
  ['that left its process group', 'setsid sleep 600 & echo $!; wait', undefined],
] as const;

describe.each(LINGERING)('a process %s keeps the pipes open', (_, script, exitCode) => {
  const lingering: number[] = [];
  afterEach(() => {
    for (const pid of lingering.splice(0)) if (isAlive(pid)) process.kill(pid, 'SIGKILL');
  });
  const run = async (options: { timeoutMs: number; signal?: AbortSignal; graceMs?: number }) => {
    const user = await findOsUser({ configured: undefined });
    const result = await runProgram({
      ...{ user, cwd: '/', program: '/bin/sh', arguments: ['-c', script], ...options },
      onOutput: (text) => void lingering.push(Number(text)),
    });
    // It was not waited for.
    expect(lingering.filter((pid) => pid > 0)).toHaveLength(1);
    return result;
  };

  test('its deadline holds', async () => {
    expect((await run({ timeoutMs: 1000 })).exitCode).toBe(exitCode);
  });

  test('an abort holds', async () => {
    const abort = new AbortController();
    const running = run({ timeoutMs: 600_000, signal: abort.signal });
    await until({ what: 'it to run', timeoutMs: 10_000, everyMs: 5 }, () => lingering.length > 0);
    abort.abort();
    await running;
  });

  test('also where it is asked to end first', async () => {
    expect((await run({ timeoutMs: 1000, graceMs: 1000 })).exitCode).toBe(exitCode);
  });
});

test('what a killed program has left in its group is killed, also where the program itself has ended', async () => {
  const user = await findOsUser({ configured: undefined });
  const { output } = await runProgram({
    ...{ user, cwd: '/', program: '/bin/sh', timeoutMs: 600_000 },
    arguments: ['-c', 'sleep 600 & echo $!; exit 1'],
  });
  const pid = Number(output);
  expect(pid).toBeGreaterThan(0);
  await until({ what: 'its end', timeoutMs: 10_000, everyMs: 5 }, () => !isAlive(pid));
});

test('a program that is asked to end first may end by itself', async () => {
  const user = await findOsUser({ configured: undefined });
  const script = 'trap "echo tidy; exit 7" TERM; echo ready; while :; do sleep 0.05; done';
  const abort = new AbortController();
  const result = await runProgram({
    ...{ user, cwd: '/', program: '/bin/sh', arguments: ['-c', script], timeoutMs: 600_000 },
    ...{ graceMs: 60_000, signal: abort.signal, onOutput: () => abort.abort() },
  });
  // The shell may say on stderr that its sleep was ended too.
  expect(result).toMatchObject({ exitCode: 7, signal: undefined, stdout: 'ready\ntidy\n' });
});

test('programs inherit no libpq setting and no systemd socket', () => {
  process.env['PGHOST'] = 'elsewhere';
  process.env['NOTIFY_SOCKET'] = '/run/x';
  const environment = cleanEnvironment();
  delete process.env['PGHOST'];
  delete process.env['NOTIFY_SOCKET'];
  expect(environment).toMatchObject({ LC_ALL: 'C' });
  expect(
    Object.keys(environment).filter((name) => name.startsWith('PG') || name === 'NOTIFY_SOCKET'),
  ).toEqual([]);
});

test('a durable write replaces content and mode, and leaves no other file', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'pg-sentinel-durable-'));
  const path = join(directory, 'file');
  await writeFile(path, 'a much longer text than the next', { mode: 0o666 });
  await writeFileDurably({ path, content: 'next', mode: 0o600, owner: undefined });
  expect(await readFile(path, 'utf8')).toBe('next');
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  const others = join(directory, 'others');
  await writeFile(others, 'kept');
  await symlink(others, `${path}.new`);
  await writeFileDurably({ path, content: 'after', mode: 0o600, owner: undefined });
  expect([await readFile(path, 'utf8'), await readFile(others, 'utf8')]).toEqual(['after', 'kept']);
  await removeFileDurably(path);
  await removeFileDurably(path);
  await rm(directory, { recursive: true });
});
