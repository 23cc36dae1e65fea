// The prober against small TCP servers that misbehave in one way each; real PostgreSQL is in test/integration/health.
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { delay, systemClock, until } from '../base/clock.ts';
import { peerId } from '../base/ids.ts';
import type { ProbeEvent } from './events.ts';
import { Prober } from './prober.ts';
import { DEFAULT_HEALTH_SETTINGS } from './settings.ts';

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((each) => each.close()));
});

async function listen(onConnection: (socket: Socket) => void): Promise<{ port: number; server: Server }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.resume();
    socket.on('close', () => sockets.delete(socket));
    onConnection(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  open.push({
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy();
        server.close(() => resolve());
      }),
  });
  return { port: (server.address() as AddressInfo).port, server };
}

function probe(
  port: number,
  host = '127.0.0.1',
  startAfterMs = 0,
): { prober: Prober; events: ProbeEvent[]; seen(kind: string, count?: number): Promise<void> } {
  const events: ProbeEvent[] = [];
  const prober = new Prober({
    self: peerId('p1'),
    host,
    port,
    expect: 'primary',
    settings: { ...DEFAULT_HEALTH_SETTINGS, downAfterMs: 600, probeIntervalMs: 100 },
    credentials: { user: 'u', password: 'p', database: 'd' },
    clock: systemClock,
    startAfterMs,
    onEvent: (event) => events.push(event),
  });
  open.push(prober);
  const seen = async (kind: string, count = 1): Promise<void> => {
    await until(
      { what: `${count} of ${kind}`, timeoutMs: 5000, everyMs: 5 },
      () => events.filter((event) => event.kind === kind).length >= count,
    );
  };
  return { prober, events, seen };
}

describe('prober', () => {
  test('asks nothing before its time has come, and nothing at all when it is closed before', async () => {
    const { port } = await listen((socket) => socket.destroy());
    const late = probe(port, '127.0.0.1', 150);
    const never = probe(port, '127.0.0.1', 60);
    await never.prober.close();
    const startMs = systemClock.monotonicMs();
    await late.seen('connection-refused', 1);
    expect((late.events[0]?.nowMs ?? 0) - startMs).toBeGreaterThanOrEqual(100);
    expect(never.events).toEqual([]);
  });

  test('a refused connection is tried again after 0, 40, 80 and 120 ms, then at the pace of probes', async () => {
    const { port, server } = await listen(() => undefined);
    await new Promise((resolve) => server.close(resolve));
    const { events, seen } = probe(port);
    await seen('connection-refused', 6);
    const times = events.filter((event) => event.kind === 'connection-refused').map((event) => event.nowMs);
    const first = times[0] ?? 0;
    expect(times.slice(0, 4).every((time, index) => time - first >= index * 39)).toBe(true);
    expect((times[4] ?? 0) - (times[3] ?? 0)).toBeGreaterThanOrEqual(95);
  });

  test('a server, or a proxy, that accepts and closes without a word counts as refusing', async () => {
    const { port } = await listen((socket) => socket.destroy());
    const { events, seen } = probe(port);
    await seen('connection-refused', 3);
    expect(events.some((event) => event.kind === 'connected' || event.kind === 'connection-answered')).toBe(
      false,
    );
  });

  test('a server that accepts and never answers leaves the question open, with few sockets', async () => {
    let openCount = 0;
    const { port } = await listen((socket) => {
      openCount += 1;
      socket.on('close', () => (openCount -= 1));
    });
    const { events, seen } = probe(port);
    await seen('asked', 6);
    expect(new Set(events.map((event) => event.kind))).toEqual(new Set(['asked']));
    expect(openCount).toBeLessThanOrEqual(3);
  });

  test('a server that answers nonsense does not end the process', async () => {
    const { port } = await listen((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
    const { seen } = probe(port);
    await seen('asked', 3);
  });

  test('a name that does not resolve is the observer`s own trouble', async () => {
    const { events, seen } = probe(5432, 'no-such-host.invalid');
    await seen('own-trouble');
    expect(events.some((event) => event.kind === 'connection-refused')).toBe(false);
  });

  test('close() ends every timer and socket and silences it, at whatever moment', async () => {
    let openCount = 0;
    const { port } = await listen((socket) => {
      openCount += 1;
      socket.on('close', () => (openCount -= 1));
    });
    const { prober, events, seen } = probe(port);
    await seen('asked');
    await prober.close();
    const count = events.length;
    await until(
      { what: 'the server sees our sockets closed', timeoutMs: 3000, everyMs: 10 },
      () => openCount === 0,
    );
    await delay(300);
    expect(events).toHaveLength(count);
  });
});
