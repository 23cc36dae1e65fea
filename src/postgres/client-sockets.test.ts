import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type AddressInfo, type Server } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { clientSockets } from './client-sockets.ts';

const servesClient = (pid: number, port: number): boolean =>
  clientSockets(process.pid, port).servesClient(pid);

async function accepting(
  server: Server,
  client: () => ReturnType<typeof connect>,
  check: () => void,
): Promise<void> {
  const accepted = once(server, 'connection');
  const socket = client();
  const [peer] = (await accepted) as [ReturnType<typeof connect>];
  check();
  socket.destroy();
  peer.destroy();
  await new Promise((resolve) => server.close(resolve));
}

test('a process that listens serves no client yet; one that has accepted a connection does', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  expect(servesClient(process.pid, port)).toBe(false);
  await accepting(
    server,
    () => connect(port, '127.0.0.1'),
    () => expect(servesClient(process.pid, port)).toBe(true),
  );
});

test('a connection to the Unix socket counts, too', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'pg-sentinel-socket-'));
  const path = join(folder, '.s.PGSQL.7654');
  const server = createServer().listen(path);
  await once(server, 'listening');
  expect(servesClient(process.pid, 7654)).toBe(false);
  await accepting(
    server,
    () => connect(path),
    () => expect(servesClient(process.pid, 7654)).toBe(true),
  );
  await rm(folder, { recursive: true, force: true });
});

test('a connection that the process itself made elsewhere is none, nor is one of a process that is gone', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await accepting(
    server,
    () => connect(port, '127.0.0.1'),
    () => expect(servesClient(process.pid, port + 1)).toBe(false),
  );
  expect(servesClient(2 ** 22 + 1, port)).toBe(false);
});

test('the connections are read once, however many processes are asked about', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const before = clientSockets(process.pid, port);
  expect(before.servesClient(process.pid)).toBe(false);
  await accepting(
    server,
    () => connect(port, '127.0.0.1'),
    () => {
      expect(before.servesClient(process.pid)).toBe(false);
      expect(servesClient(process.pid, port)).toBe(true);
    },
  );
});
