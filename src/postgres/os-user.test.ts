import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { removeFileDurably, writeFileDurably } from './durable-files.ts';
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
  expect(result).toEqual({ exitCode: 3, signal: undefined, output: 'no\n' });
  expect(
    await runProgram({ ...common, timeoutMs: 50, program: '/bin/sleep', arguments: ['60'] }),
  ).toMatchObject({ signal: 'SIGKILL' });
  await expect(runProgram({ ...common, program: '/nonexistent', arguments: [] })).rejects.toThrow(
    /cannot start/,
  );
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
  await removeFileDurably(path);
  await removeFileDurably(path);
  await rm(directory, { recursive: true });
});
