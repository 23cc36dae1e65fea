// The admin service and its client over real gRPC: every method there and back, watches that end, errors for people.
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { until } from '../base/clock.ts';
import { nodeId } from '../base/ids.ts';
import { type AdminClient, AdminError, connectAdmin } from './admin-client.ts';
import { WATCHER_COUNT_MAX } from './admin-service.ts';
import { freePort } from './testing/free-ports.ts';
import { QUIET_ADMIN, startTestPeer, STATUS } from './testing/peers.ts';
import type { AdminHandlers, EventView, StatusView } from './types.ts';

const open = new Set<{ close(): Promise<void> | void }>();

async function serve(admin: Partial<AdminHandlers> = {}): Promise<string> {
  const { transport } = await startTestPeer({ self: 'a', peers: [], admin: { ...QUIET_ADMIN, ...admin } });
  open.add(transport);
  return `127.0.0.1:${transport.port}`;
}

async function client(...addresses: string[]): Promise<AdminClient> {
  const connected = await connectAdmin({ addresses, timeoutMs: 3000 });
  open.add(connected);
  return connected;
}

const seen = (what: string, condition: () => boolean): Promise<boolean> =>
  until({ what, timeoutMs: 20_000, everyMs: 5 }, condition);

/** The {@link AdminError} that `work` rejects with. */
async function errorOf(work: Promise<unknown>): Promise<AdminError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof AdminError) return error;
  throw new Error(`expected an AdminError, got ${String(error)}`);
}

async function closeAll(): Promise<void> {
  await Promise.all([...open].map(async (closable) => closable.close()));
}

afterEach(async () => {
  await closeAll();
  open.clear();
});

describe('admin service', () => {
  test('status comes back as it was given', async () => {
    const admin = await client(await serve());
    expect(await admin.status()).toStrictEqual(STATUS);
  });

  test('events are asked for by group and number', async () => {
    const asked: unknown[] = [];
    const event: EventView = {
      index: 7,
      atMs: 1_700_000_000_000,
      group: undefined,
      kind: 'resume',
      text: 'back to pg1',
      refused: 'stale epoch',
    };
    const admin = await client(
      await serve({
        events(request) {
          asked.push(request);
          return [event, { ...event, group: 'main', refused: undefined }];
        },
      }),
    );
    const events = await admin.events({ group: 'main', limit: 5 });
    expect(asked).toEqual([{ group: 'main', limit: 5 }]);
    expect(events).toStrictEqual([event, { ...event, group: 'main', refused: undefined }]);
    await admin.events({ group: undefined, limit: 1 });
    expect(asked[1]).toEqual({ group: undefined, limit: 1 });
  });

  test('a failover is answered with its outcome, done or refused', async () => {
    const admin = await client(
      await serve({
        failover: ({ to }) =>
          Promise.resolve(
            to === undefined
              ? { kind: 'refused', reason: 'no standby' }
              : { kind: 'done', group: 'main', from: 'pg1', to, epoch: 44, tookMs: 210 },
          ),
      }),
    );
    expect(await admin.failover({ group: undefined, to: undefined })).toEqual({
      kind: 'refused',
      reason: 'no standby',
    });
    expect(await admin.failover({ group: 'main', to: nodeId('pg2') })).toEqual({
      kind: 'done',
      group: 'main',
      from: 'pg1',
      to: 'pg2',
      epoch: 44,
      tookMs: 210,
    });
  });

  test('a caller that gives up aborts the signal of the failover', async () => {
    const signals: AbortSignal[] = [];
    const admin = await client(
      await serve({
        failover(_request, signal) {
          signals.push(signal);
          return new Promise(() => undefined);
        },
      }),
    );
    const deadline = await errorOf(admin.failover({ group: undefined, to: undefined }, { timeoutMs: 100 }));
    expect(deadline.kind).toBe('deadline');
    expect(deadline.message).toMatch(/no answer within 100 ms; whether the failover took place is not known/);
    const stop = new AbortController();
    const given = errorOf(admin.failover({ group: undefined, to: undefined }, { signal: stop.signal }));
    await seen('both calls', () => signals.length === 2);
    stop.abort();
    expect((await given).kind).toBe('cancelled');
    await seen('both aborted', () => signals.every((signal) => signal.aborted));
  });

  test('a handler that fails is an error with its message', async () => {
    const admin = await client(await serve({ failover: () => Promise.reject(new Error('the log is full')) }));
    const error = await errorOf(admin.failover({ group: undefined, to: undefined }));
    expect(error).toMatchObject({
      kind: 'failed',
      message: expect.stringContaining('the log is full') as string,
    });
  });
});

describe('watch', () => {
  /** A peer whose status the test changes. */
  async function watched() {
    const listeners = new Map<AbortSignal, (status: StatusView) => void>();
    const address = await serve({
      watch(listener, signal) {
        listener(STATUS);
        listeners.set(signal, listener);
        signal.addEventListener('abort', () => listeners.delete(signal));
      },
    });
    return {
      address,
      listeners,
      change: (status: StatusView) => listeners.forEach((listener) => listener(status)),
    };
  }

  test('gives the status at once and after each change, until the caller stops', async () => {
    const { address, listeners, change } = await watched();
    const admin = await client(address);
    const statuses: StatusView[] = [];
    const stop = new AbortController();
    const watching = admin.watch((status) => statuses.push(status), stop.signal);
    await seen('the first status', () => statuses.length === 1 && listeners.size === 1);
    change({ ...STATUS, term: 4 });
    await seen('the change', () => statuses.at(-1)?.term === 4);
    stop.abort();
    await watching;
    await seen('the end on the other side', () => listeners.size === 0);
  });

  test('a burst of changes ends with the latest', async () => {
    const { address, listeners, change } = await watched();
    const admin = await client(address);
    const statuses: StatusView[] = [];
    const stop = new AbortController();
    const watching = admin.watch((status) => statuses.push(status), stop.signal);
    await seen('the watch', () => listeners.size === 1);
    for (let term = 1; term <= 1000; term += 1) change({ ...STATUS, term });
    await seen('the latest', () => statuses.at(-1)?.term === 1000);
    expect(statuses.length).toBeLessThan(1000);
    stop.abort();
    await watching;
  });

  test('ends with an error when the peer stops', async () => {
    const { address } = await watched();
    const admin = await client(address);
    const statuses: StatusView[] = [];
    const ended = errorOf(admin.watch((status) => statuses.push(status), new AbortController().signal));
    await seen('the first status', () => statuses.length === 1);
    await closeAll();
    expect((await ended).kind).toMatch(/unreachable|cancelled/);
  });

  test('watchers are bounded, and an ended one makes room', async () => {
    const { address, listeners } = await watched();
    const admin = await client(address);
    const stops = Array.from({ length: WATCHER_COUNT_MAX }, () => new AbortController());
    const watching = stops.map((stop) => admin.watch(() => undefined, stop.signal));
    await seen('all watches', () => listeners.size === WATCHER_COUNT_MAX);
    const error = await errorOf(admin.watch(() => undefined, new AbortController().signal));
    expect(error).toMatchObject({
      kind: 'refused',
      message: expect.stringContaining('64 watchers') as string,
    });
    for (const stop of stops) stop.abort();
    await Promise.all(watching);
    await seen('room', () => listeners.size === 0);
    const again = new AbortController();
    const rewatching = admin.watch(() => undefined, again.signal);
    await seen('a watch again', () => listeners.size === 1);
    again.abort();
    await rewatching;
  });
});

describe('finding a peer', () => {
  test('addresses that refuse or stay silent are passed over', async () => {
    const silent = createServer((socket) => socket.resume());
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    open.add({ close: () => new Promise<void>((resolve) => silent.close(() => resolve())) });
    const refusing = `127.0.0.1:${await freePort()}`;
    const address = await serve();
    const admin = await client(refusing, `127.0.0.1:${(silent.address() as AddressInfo).port}`, address);
    expect(admin.address).toBe(address);
  });

  test('when none answers the error names every address and why', async () => {
    const [first, second] = [`127.0.0.1:${await freePort()}`, 'no-such-host.invalid:7400'];
    const error = await errorOf(connectAdmin({ addresses: [first, second], timeoutMs: 2000 }));
    expect(error.kind).toBe('unreachable');
    expect(error.message).toContain(`${first}: connection refused (no sentineld listens there)`);
    expect(error.message).toContain(second);
  });

  test('something that is no sentineld is told apart', async () => {
    const web = createServer((socket) => socket.resume().end('HTTP/1.1 400 Bad Request\r\n\r\n'));
    await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve));
    open.add({ close: () => new Promise<void>((resolve) => web.close(() => resolve())) });
    const address = `127.0.0.1:${(web.address() as AddressInfo).port}`;
    const error = await errorOf(connectAdmin({ addresses: [address], timeoutMs: 1000 }));
    expect(error.message).toContain(address);
  });

  test.each([
    ['closes the connection', (socket: Socket) => socket.end()],
    ['resets it', (socket: Socket) => socket.resetAndDestroy()],
  ])('what %s without an answer, as PostgreSQL does, is no sentineld either', async (_, close) => {
    const other = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => close(socket));
    });
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    open.add({ close: () => new Promise<void>((resolve) => other.close(() => resolve())) });
    const address = `127.0.0.1:${(other.address() as AddressInfo).port}`;
    const error = await errorOf(connectAdmin({ addresses: [address], timeoutMs: 3000 }));
    expect(error.message).toMatch(
      new RegExp(`${address}: something listens there that does not answer as a sentineld .*7432`),
    );
  });
});
