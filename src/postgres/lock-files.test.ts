import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { until } from '../base/clock.ts';
import { removeStaleLockFiles } from './lock-files.ts';
import { processState } from './processes.ts';

const PORT = 5433;
/** Above what Linux gives. */
const NOBODY = 2 ** 22 + 1;

let root: string;
let dataDirectory: string;
let pidFile: string;
let socket: string;
let parent: ChildProcess | undefined;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'pg-sentinel-locks-'));
  dataDirectory = join(root, 'data');
  pidFile = join(dataDirectory, 'postmaster.pid');
  socket = join(root, `.s.PGSQL.${PORT}`);
  await mkdir(dataDirectory);
});
afterEach(async () => {
  parent?.kill('SIGKILL');
  parent = undefined;
  await rm(root, { recursive: true });
});

const textOf = (pid: number, directory = dataDirectory): string =>
  `${pid}\n${directory}\n1700000000\n${PORT}\n${root}\n*\n 1 ${2 ** 31 - 1}\nready   \n`;

async function writeSocket(pid: number, directory?: string): Promise<void> {
  await writeFile(socket, '');
  await writeFile(`${socket}.lock`, textOf(pid, directory));
}

const remove = (): string[] => {
  removeStaleLockFiles({ dataDirectory, socket: { directory: root, port: PORT }, refusal: 'cannot' });
  return [pidFile, socket, `${socket}.lock`].filter((path) => existsSync(path));
};

/** A dead process whose parent does not wait for it. */
async function zombie(): Promise<number> {
  const script = 'sleep 600 & echo $!; exec sleep 600';
  const shell = spawn('/bin/sh', ['-c', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  parent = shell;
  const [line] = (await once(shell.stdout, 'data')) as [Buffer];
  const pid = Number(line.toString());
  const seen = (what: string, look: () => Promise<boolean>): Promise<boolean> =>
    until({ what, timeoutMs: 20_000, everyMs: 5 }, look);
  // The shell itself would wait for it.
  const nameOf = (): Promise<string> => readFile(`/proc/${shell.pid}/comm`, 'utf8');
  await seen('no shell any more', async () => (await nameOf()) === 'sleep\n');
  process.kill(pid, 'SIGKILL');
  await seen('a zombie', () => Promise.resolve(processState(pid)?.state === 'Z'));
  return pid;
}

test('of a dead process that nobody has waited for they are removed, with the socket', async () => {
  const pid = await zombie();
  await writeFile(pidFile, textOf(pid));
  await writeSocket(pid);
  expect(remove()).toEqual([]);
});

test('whose number another process has by now they are removed; single-user PostgreSQL leaves a negative one', async () => {
  await writeFile(pidFile, textOf(-process.pid));
  await writeSocket(process.pid);
  expect(remove()).toEqual([]);
});

test("the socket's is removed also where a clone has moved postmaster.pid away", async () => {
  await writeSocket(process.pid);
  expect(remove()).toEqual([]);
});

test("the socket's of a server of another data directory is left while that runs", async () => {
  const other = join(root, 'other');
  await mkdir(other);
  await copyFile('/bin/sleep', join(root, 'postgres'));
  parent = spawn(join(root, 'postgres'), ['600'], { cwd: other });
  await once(parent, 'spawn');
  await writeFile(pidFile, textOf(process.pid));
  await writeSocket(parent.pid ?? 0, other);
  expect(remove()).toEqual([socket, `${socket}.lock`]);
  await writeSocket(process.pid, other);
  expect(remove()).toEqual([]);
});

test('of no process at all they are left to PostgreSQL, which has more checks', async () => {
  await writeFile(pidFile, textOf(NOBODY));
  await writeSocket(NOBODY);
  expect(remove()).toEqual([pidFile, socket, `${socket}.lock`]);
});

test('an empty postmaster.pid, as a loss of power leaves it, is removed, but not one that is just being written', async () => {
  await writeFile(pidFile, '');
  expect(remove()).toEqual([pidFile]);
  const minuteAgo = new Date(Date.now() - 60_000);
  await utimes(pidFile, minuteAgo, minuteAgo);
  expect(remove()).toEqual([]);
});

test('without any there is nothing to do', () => {
  expect(remove()).toEqual([]);
});
