import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { until } from '../base/clock.ts';
import { processState } from '../postgres/processes.ts';
import { connectSeat, highestSeat, sitterOf, takeSeat } from './seat.ts';

let directory: string;
const servers: Server[] = [];
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'seat-'));
});
afterEach(async () => {
  for (const server of servers.splice(0)) await dies(server);
  await rm(directory, { recursive: true });
});

const newServer = (): Server => {
  const server = createServer((socket) => socket.on('error', () => undefined));
  servers.push(server);
  return server;
};

/** As when its process is gone: nobody listens, the name stays. */
const dies = (server: Server): Promise<void> => new Promise((resolve) => void server.close(() => resolve()));

const take = (over?: number): Promise<number | undefined> =>
  takeSeat(directory, newServer(), over).then((seat) => seat?.number);

test('the first takes the seat, and another finds it taken', async () => {
  expect(await take()).toBe(1);
  expect(await take()).toBeUndefined();
  expect((await sitterOf(directory, 1))?.pid).toBe(process.pid);
  const socket = await connectSeat(directory, 1);
  expect(socket).toBeDefined();
  socket?.destroy();
});

test('the seat of a dead one is taken at the next number, and the old one is removed', async () => {
  await take();
  await dies(servers[0] as Server);
  expect(await connectSeat(directory, 1)).toBeUndefined();
  expect(await take()).toBe(2);
  expect(await highestSeat(directory)).toBe(2);
  expect(await connectSeat(directory, 1)).toBeUndefined();
  expect(await sitterOf(directory, 1)).toBeUndefined();
});

test('one that has yielded is followed while it lives, but only by whom it yielded to', async () => {
  await take();
  expect(await take(1)).toBe(2);
  expect(await take(1)).toBeUndefined();
  expect(await take()).toBeUndefined();
});

test('of many that come at once, to an empty place or to that of a dead one, one succeeds', async () => {
  for (const number of [1, 2, 3]) {
    const taken = await Promise.all(Array.from({ length: 8 }, () => take()));
    expect(taken.filter((seat) => seat !== undefined)).toEqual([number]);
    expect(await highestSeat(directory)).toBe(number);
    // Those that came too late leave nothing behind.
    expect((await readdir(directory)).sort()).toEqual([`${number}.pid`, `${number}.sock`]);
    for (const server of servers.splice(0)) await dies(server);
  }
});

test('what one that was killed while it sat down has left is removed, also before anybody has fetched its process', async () => {
  // A parent that never waits: the init process of some containers.
  const parent = spawn('/bin/sh', ['-c', 'sleep 0 & echo $!; exec sleep 600'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  try {
    const [dead] = (await once(parent.stdout, 'data')) as [Buffer];
    const pid = Number(dead);
    await until({ what: 'its end', timeoutMs: 10_000, everyMs: 5 }, () => processState(pid)?.state === 'Z');
    for (const maker of [pid, process.pid]) await writeFile(join(directory, `new-${maker}-0.sock.pid`), '{}');
    expect(await take()).toBe(1);
    expect((await readdir(directory)).sort()).toEqual(['1.pid', '1.sock', `new-${process.pid}-0.sock.pid`]);
  } finally {
    parent.kill('SIGKILL');
  }
});

test('nobody ever sat in a directory that is not there', async () => {
  expect(await highestSeat(join(directory, 'none'))).toBe(0);
  expect(await sitterOf(directory, 3)).toBeUndefined();
});
