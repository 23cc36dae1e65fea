// Reads what the machine says of processes and files. Linux only.
import { readdir, readFile, stat } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { cpuMsOf, residentBytesOf, timesOf, type Times, type Usage } from './arithmetic.ts';

/** USER_HZ: what /proc counts in, 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

export async function usageOf(pid: number): Promise<Usage> {
  const [stats, status] = await Promise.all([
    readFile(`/proc/${pid}/stat`, 'utf8'),
    readFile(`/proc/${pid}/status`, 'utf8'),
  ]);
  return { cpuMs: cpuMsOf(stats, TICKS_PER_SECOND), residentBytes: residentBytesOf(status) };
}

/** Bytes in all files below the directory; one that goes away meanwhile is left out. */
export async function bytesBelow(directory: string): Promise<number> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const sizes = entries
    .filter((entry) => entry.isFile())
    .map((entry) =>
      stat(join(entry.parentPath, entry.name)).then(
        ({ size }) => size,
        () => 0,
      ),
    );
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}

const ROUND_TRIPS = 500;

/** A byte there and back between two sockets of this process, over loopback: what a machine makes of one question to anybody. */
export async function measureRoundTrip(): Promise<Times> {
  const server = createServer((socket) => {
    socket.setNoDelay(true);
    socket.on('error', () => socket.destroy());
    socket.on('data', (bytes) => socket.write(bytes));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: '127.0.0.1', port: 0 }, resolve);
  });
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const socket = connect({ host: '127.0.0.1', port, noDelay: true });
  const times: number[] = [];
  try {
    for (let count = 0; count < ROUND_TRIPS; count++) {
      const startMs = performance.now();
      await answerOf(socket);
      times.push(performance.now() - startMs);
    }
  } finally {
    socket.destroy();
    server.close();
  }
  return timesOf(times.slice(ROUND_TRIPS / 10));
}

function answerOf(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.once('data', () => {
      socket.off('error', reject);
      resolve();
    });
    socket.write('x');
  });
}
