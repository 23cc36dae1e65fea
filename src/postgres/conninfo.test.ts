import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import {
  removePassfiles,
  renderConninfo,
  renderPassfile,
  renewPassfiles,
  upstreamKeywords,
  writePassfile,
} from './conninfo.ts';

test('a connection string escapes quotes and backslashes', () => {
  expect(renderConninfo({ user: "o'neil", host: 'a\\b' })).toBe("user='o\\'neil' host='a\\\\b'");
});

test('the password of an upstream stands in no connection string', () => {
  const upstream = {
    host: 'pg2',
    port: 5432,
    user: 'repl',
    password: 'secret',
    applicationName: 'pg1_00000000',
  };
  const text = renderConninfo(upstreamKeywords(upstream, '/x/upstream.pass'));
  expect(text).not.toContain('secret');
  expect(text).toContain("passfile='/x/upstream.pass'");
});

test('a passfile escapes colons and backslashes, and refuses a line break', () => {
  expect(renderPassfile('repl', 'a:b\\c')).toBe('*:*:*:repl:a\\:b\\\\c\n');
  expect(() => renderPassfile('repl', 'a\nb')).toThrow(/line break/);
});

test('every passfile has a name of its own, and all but one are removed', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'pg-sentinel-passfiles-'));
  await writeFile(join(directory, 'other'), '');
  const write = () => writePassfile({ directory, user: 'repl', password: 'x', owner: undefined });
  const [first, second] = [await write(), await write()];
  expect(first).not.toBe(second);
  expect((await stat(first)).mode & 0o777).toBe(0o600);
  expect(await removePassfiles(directory, second)).toBe(1);
  expect(await readFile(second, 'utf8')).toBe('*:*:*:repl:x\n');
  expect(await removePassfiles(directory)).toBe(1);
  expect(await readdir(directory)).toEqual(['other']);
  await rm(directory, { recursive: true });
});

test('a passfile gets another password under its own name, and none is made where a cut has taken it away', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'pg-sentinel-passfiles-'));
  const account = { directory, user: 'repl', owner: undefined };
  const path = await writePassfile({ ...account, password: 'former' });
  const before = await stat(path);
  await renewPassfiles({ ...account, password: 'former' });
  expect((await stat(path)).ino).toBe(before.ino);
  await renewPassfiles({ ...account, password: 'wanted' });
  expect(await readFile(path, 'utf8')).toBe('*:*:*:repl:wanted\n');
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  await removePassfiles(directory);
  await renewPassfiles({ ...account, password: 'other' });
  expect(await readdir(directory)).toEqual([]);
  await rm(directory, { recursive: true });
});
