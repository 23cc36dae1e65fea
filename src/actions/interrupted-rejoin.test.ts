import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdir, mkdtemp, readdir, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { until } from '../base/clock.ts';
import { isAlive } from '../postgres/processes.ts';
import { endInterruptedRejoin } from './interrupted-rejoin.ts';

let root: string;
let options: Parameters<typeof endInterruptedRejoin>[0];
const started: ChildProcess[] = [];
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'pg-sentinel-interrupted-'));
  options = {
    dataDirectory: join(root, 'pgdata'),
    passfileDirectory: join(root, 'passfile'),
    divergedDirectory: join(root, 'diverged'),
    user: { name: 'x', uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, owner: undefined },
  };
});
afterEach(async () => {
  for (const child of started.splice(0)) {
    try {
      process.kill(-(child.pid ?? 0), 'SIGKILL');
    } catch {
      // It has ended.
    }
  }
  await rm(root, { recursive: true });
});

/** A shell of that name, whose child says its pid; both wait for long. */
async function startRewind(...args: string[]): Promise<{ readonly pid: number; readonly child: number }> {
  const program = join(root, 'pg_rewind');
  await copyFile(await realpath('/bin/sh'), program).catch(() => undefined);
  const child = spawn(program, ['-c', 'sleep 600 & echo $!; wait', 'x', ...args], {
    stdio: ['ignore', 'pipe', 'ignore'],
    detached: true,
  });
  started.push(child);
  const [text] = (await once(child.stdout, 'data')) as [Buffer];
  return { pid: child.pid ?? 0, child: Number(text.toString()) };
}

test('our own pg_rewind on this data directory is ended with what it has started, and nobody else’s', async () => {
  const target = `--target-pgdata=${options.dataDirectory}`;
  const source = `--source-server=host='x' passfile='${join(options.passfileDirectory, 'rewind.pass')}'`;
  const ours = await startRewind(target, source);
  const elsewhere = await startRewind(`${target}2`, source);
  const somebodys = await startRewind(target, `--source-server=host='x'`);
  await endInterruptedRejoin(options);
  await until({ what: 'its child to end', timeoutMs: 10_000, everyMs: 5 }, () => !isAlive(ours.child));
  expect([ours, elsewhere, somebodys].map(({ pid }) => isAlive(pid))).toEqual([false, true, true]);
});

test('passwords of programs and half-done savings go; the upstream’s password and what was saved stay', async () => {
  await mkdir(options.passfileDirectory);
  await mkdir(join(options.divergedDirectory, 'work-0a1b2c3d'), { recursive: true });
  const upstream = 'upstream-0123456789abcdef.pass';
  for (const name of ['rewind.pass', 'clone.pass', 'clone.pass.new', upstream])
    await writeFile(join(options.passfileDirectory, name), '');
  await writeFile(join(options.divergedDirectory, 'pg1-7.jsonl'), '');
  await writeFile(join(options.divergedDirectory, 'work-0a1b2c3d', 'statements'), '');
  await endInterruptedRejoin(options);
  expect(await readdir(options.passfileDirectory)).toEqual([upstream]);
  expect(await readdir(options.divergedDirectory)).toEqual(['pg1-7.jsonl']);
});

test('where there is nothing, nothing is done', () =>
  expect(endInterruptedRejoin(options)).resolves.toBeUndefined());
