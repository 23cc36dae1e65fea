// Snapshots over real gRPC: they arrive whole on a channel of their own, one at a time, and every end is told to the sender.
import { createServer, type AddressInfo } from 'node:net';
import { Metadata } from '@grpc/grpc-js';
import { afterEach, describe, expect, test } from 'vitest';
import { until } from '../base/clock.ts';
import { peerId } from '../base/ids.ts';
import type { RaftMessage } from '../raft/types.ts';
import { CHUNK_BYTES, encodeChunks, type SnapshotMessage } from './snapshot-codec.ts';
import { createSnapshotReceiver } from './snapshot-receiver.ts';
import { createSnapshotSender } from './snapshot-sender.ts';
import { freePort } from './testing/free-ports.ts';
import {
  at,
  CODEC,
  heartbeat,
  identityOf,
  snapshotOf,
  startTestPeer,
  type TestPeer,
} from './testing/peers.ts';
import { startProxy } from './testing/proxy.ts';
import { endOf, helloOf, rawCall } from './testing/raw-client.ts';

const [a, b] = [peerId('a'), peerId('b')];
const running = new Set<{ close(): Promise<void> | void }>();

const seen = (what: string, condition: () => boolean, timeoutMs = 20_000): Promise<boolean> =>
  until({ what, timeoutMs, everyMs: 5 }, condition);

async function start(options: Parameters<typeof startTestPeer>[0]): Promise<TestPeer> {
  const peer = await startTestPeer(options);
  running.add(peer.transport);
  return peer;
}

/** `a` reaches `b` through `via`, where given. */
async function startPair(viaPort?: number): Promise<{ a: TestPeer; b: TestPeer }> {
  const [portA, portB] = [await freePort(), await freePort()];
  const first = await start({ self: 'a', port: portA, peers: [at('b', viaPort ?? portB)] });
  const second = await start({ self: 'b', port: portB, peers: [at('a', portA)] });
  await seen(
    'the links',
    () => first.transport.isReachable(b, 1000) && second.transport.isReachable(a, 1000),
  );
  // A snapshot is refused until the control link is open, which only what came over it shows; `b` may have heard the other one.
  await seen('something over the control link', () => {
    first.transport.send(b, heartbeat(0));
    return second.received.length > 0;
  });
  return { a: first, b: second };
}

/** Different everywhere, so that a misplaced chunk shows. */
function dataOf(length: number): Uint8Array {
  const data = new Uint8Array(length);
  for (let offset = 0; offset < length; offset += 1) data[offset] = (offset * 31 + (offset >> 8)) & 255;
  return data;
}

const snapshotsOf = (peer: TestPeer): SnapshotMessage[] =>
  peer.received.flatMap(({ message }) => (message.kind === 'snapshot-request' ? [message] : []));

function expectSame(actual: SnapshotMessage | undefined, expected: SnapshotMessage): void {
  expect(actual).toBeDefined();
  const bare = ({ snapshot, ...rest }: SnapshotMessage): object => ({
    ...rest,
    ...snapshot,
    data: undefined,
  });
  if (actual !== undefined) expect(bare(actual)).toStrictEqual(bare(expected));
  expect(Buffer.compare(actual?.snapshot.data ?? Buffer.of(1), expected.snapshot.data)).toBe(0);
}

afterEach(async () => {
  await Promise.all([...running].map(async (closable) => closable.close()));
  running.clear();
});

describe('a snapshot', () => {
  test('of 40 MB arrives whole, and heartbeats are not held up by it', async () => {
    const pair = await startPair();
    const message = snapshotOf(100, dataOf(40_000_000));
    let round = 0;
    const beat = setInterval(() => pair.a.transport.send(b, heartbeat((round += 1))), 20);
    running.add({ close: () => clearInterval(beat) });
    await seen('heartbeats', () => pair.b.received.length > 2);
    const before = pair.b.received.length;
    pair.a.transport.send(b, message);
    await seen('the snapshot', () => snapshotsOf(pair.b).length === 1);
    await seen('word of it', () => pair.a.snapshotsSent.length === 1);
    expect(pair.a.snapshotsSent).toEqual([{ to: b, index: 100, arrived: true }]);
    expectSame(snapshotsOf(pair.b)[0], message);
    const kinds = pair.b.received.map(({ message: { kind } }) => kind);
    const meanwhile = kinds.slice(before, kinds.indexOf('snapshot-request'));
    expect(meanwhile.filter((kind) => kind === 'heartbeat-request').length).toBeGreaterThan(2);
  });

  test('without data arrives too', async () => {
    const pair = await startPair();
    pair.a.transport.send(b, snapshotOf(5, new Uint8Array()));
    await seen('the snapshot', () => snapshotsOf(pair.b).length === 1);
    expectSame(snapshotsOf(pair.b)[0], snapshotOf(5, new Uint8Array()));
  });

  test('asked for again while under way is sent once, as of the latest request; another one is given up at once', async () => {
    const pair = await startPair();
    const data = dataOf(20_000_000);
    pair.a.transport.send(b, snapshotOf(100, data, { term: 3, round: 7 }));
    pair.a.transport.send(b, snapshotOf(200, data, { term: 4, round: 8 }));
    pair.a.transport.send(b, snapshotOf(100, data, { term: 4, round: 9 }));
    await seen('both ends', () => pair.a.snapshotsSent.length === 2);
    expect(pair.a.snapshotsSent).toEqual([
      { to: b, index: 200, arrived: false },
      { to: b, index: 100, arrived: true },
    ]);
    expect(snapshotsOf(pair.b).map(({ term, round }) => ({ term, round }))).toEqual([{ term: 4, round: 9 }]);
    pair.a.transport.send(b, snapshotOf(200, data));
    await seen('the next one', () => pair.a.snapshotsSent.length === 3);
    expect(pair.a.snapshotsSent[2]).toEqual({ to: b, index: 200, arrived: true });
  });

  test('to a peer that is not reached, not known or does not take it is given up', async () => {
    const first = await start({ self: 'a', peers: [at('b', await freePort())] });
    first.transport.send(b, snapshotOf(1, new Uint8Array(10)));
    first.transport.send(peerId('z'), snapshotOf(2, new Uint8Array(10)));
    await seen('both ends', () => first.snapshotsSent.length === 2);
    expect(first.snapshotsSent.every(({ arrived }) => !arrived)).toBe(true);

    const pair = await startPair();
    pair.b.transport.setIdentity(identityOf(1, ['a', 'b'], { a: 'store-of-a' }));
    pair.a.transport.send(b, snapshotOf(1, dataOf(20_000_000)));
    // While it is under way.
    pair.b.transport.setIdentity(identityOf(1, ['a', 'b'], { a: 'another' }));
    await seen('the end', () => pair.a.snapshotsSent.length === 1);
    expect(pair.a.snapshotsSent[0]?.arrived).toBe(false);
    expect(snapshotsOf(pair.b)).toEqual([]);
  });

  test('that the receiver stops in the middle of is given up', async () => {
    const pair = await startPair();
    pair.a.transport.send(b, snapshotOf(1, dataOf(60_000_000)));
    await new Promise((resolve) => setImmediate(resolve));
    await pair.b.transport.close();
    await seen('the end', () => pair.a.snapshotsSent.length === 1);
    expect(pair.a.snapshotsSent[0]?.arrived).toBe(false);
    expect(pair.a.logged.join('\n')).toMatch(/a snapshot did not get to b/);
  });

  test('under way does not hold up the end of its sender', async () => {
    const pair = await startPair();
    pair.a.transport.send(b, snapshotOf(1, dataOf(60_000_000)));
    await pair.a.transport.close();
    await seen('the end', () => pair.a.snapshotsSent.length === 1);
    expect(pair.a.snapshotsSent[0]?.arrived).toBe(false);
  });
});

describe('the sender', () => {
  /** How a snapshot ends that is sent to `port`, where a chunk may take 300 ms. */
  async function sendTo(port: number, data: Uint8Array): Promise<{ arrived: boolean; problems: string[] }> {
    const problems: string[] = [];
    const arrived = await new Promise<boolean>((resolve) => {
      const sender = createSnapshotSender({
        target: `127.0.0.1:${port}`,
        metadata: () => new Metadata(),
        codec: CODEC,
        isReachable: () => true,
        onSent: (_index, whether) => resolve(whether),
        onProblem: (reason) => problems.push(reason),
        chunkMs: 300,
      });
      sender.send(snapshotOf(42, data));
    });
    return { arrived, problems };
  }

  test('gives up when a chunk is not taken in time, and leaves no socket', async () => {
    let count = 0;
    const silent = createServer((socket) => {
      count += 1;
      socket.on('error', () => undefined).on('close', () => (count -= 1));
      socket.resume(); // and never a word: HTTP/2 has no room for a whole chunk
    });
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    running.add({ close: () => new Promise<void>((resolve) => silent.close(() => resolve())) });
    const { arrived, problems } = await sendTo((silent.address() as AddressInfo).port, dataOf(3_000_000));
    expect(arrived).toBe(false);
    expect(problems).toEqual([
      expect.stringMatching(/a chunk of the snapshot at 42 to .*: no result within 300 ms/),
    ]);
    await seen('no socket', () => count === 0);
  });

  test('gives up in a partition in the middle', async () => {
    const receiver = await start({ self: 'b', peers: [at('a', 1)] });
    const proxy = await startProxy(at('b', receiver.transport.port));
    running.add(proxy);
    const first = await start({ self: 'a', peers: [at('b', proxy.port)] });
    await seen('the link', () => receiver.transport.isReachable(a, 1000));
    expect(first.logged).not.toEqual([]);
    const ended = sendTo(proxy.port, dataOf(100_000_000));
    await new Promise((resolve) => setImmediate(resolve));
    proxy.blackhole();
    expect((await ended).arrived).toBe(false);
  });

  test('does not begin with one that is too large', async () => {
    const receiver = await start({ self: 'b', peers: [at('a', 1)] });
    const huge = Object.defineProperty(new Uint8Array(1), 'length', { value: 300 << 20 });
    const { arrived, problems } = await sendTo(receiver.transport.port, huge);
    expect(arrived).toBe(false);
    expect(problems).toEqual(['it has 314572800 bytes, and at most 268435456 can be sent']);
  });
});

describe('the receiver', () => {
  const chunksOf = (message: SnapshotMessage): Uint8Array[] => [
    ...encodeChunks(message, CODEC, () => message),
  ];

  test('takes the snapshot of the later leader, whichever comes first', async () => {
    const peer = await start({ self: 'a', peers: [at('b', 1), at('c', 1)] });
    const { port } = peer.transport;
    const [old, late] = [
      snapshotOf(10, dataOf(2 * CHUNK_BYTES), { term: 3 }),
      snapshotOf(20, dataOf(2 * CHUNK_BYTES), { term: 4 }),
    ];
    const [oldChunks, lateChunks] = [chunksOf(old), chunksOf(late)];
    const fromB = rawCall('snapshot', port, helloOf('b', 'a'));
    running.add(fromB);
    fromB.write(oldChunks[0] ?? new Uint8Array());
    await seen('the first', () => peer.transport.isReachable(b, 1000));
    const fromC = rawCall('snapshot', port, helloOf('c', 'a'));
    running.add(fromC);
    fromC.write(lateChunks[0] ?? new Uint8Array());
    expect(await endOf(fromB)).toBe('ABORTED: replaced by a snapshot from "c"');
    const again = rawCall('snapshot', port, helloOf('b', 'a'));
    running.add(again);
    again.write(oldChunks[0] ?? new Uint8Array());
    expect(await endOf(again)).toBe('ABORTED: a snapshot of a later leader is on its way');
    fromC.write(lateChunks[1] ?? new Uint8Array());
    fromC.end();
    expect(await endOf(fromC)).toMatch(/^OK/);
    expect(snapshotsOf(peer).map(({ snapshot }) => snapshot.index)).toEqual([20]);
    const third = rawCall('snapshot', port, helloOf('b', 'a'));
    running.add(third);
    for (const chunk of oldChunks) third.write(chunk);
    third.end();
    expect(await endOf(third)).toMatch(/^OK/);
  });

  test('refuses one that ends too early, and hands nothing over', async () => {
    const peer = await start({ self: 'a', peers: [at('b', 1)] });
    const call = rawCall('snapshot', peer.transport.port, helloOf('b', 'a'));
    running.add(call);
    const [first = new Uint8Array()] = chunksOf(snapshotOf(10, dataOf(2 * CHUNK_BYTES)));
    call.write(first);
    call.end();
    expect(await endOf(call)).toBe('INVALID_ARGUMENT: it ended before it was whole');
    expect(peer.received).toEqual([]);
  });

  test('does not wait for ever for the next chunk', async () => {
    const ends: unknown[] = [];
    const admission = {
      admit: (channel: 'snapshot', call: object, fail: (code: number, details: string) => void) => ({
        from: b,
        channel,
        fail,
        call,
      }),
      heard: () => undefined,
      ended: () => undefined,
      reportOnce: () => undefined,
    };
    const received: RaftMessage[] = [];
    const receiver = createSnapshotReceiver({
      admission: admission as never,
      handlers: { onMessage: (_from, message) => received.push(message) },
      codec: CODEC,
      chunkAwaitedMs: 100,
    });
    const listeners = new Map<string, (value: unknown) => void>();
    const call = {
      on: (event: string, listener: (value: unknown) => void) => listeners.set(event, listener),
    };
    receiver.implementation(call as never, (error) => ends.push(error));
    const chunks = chunksOf(snapshotOf(10, dataOf(3 * CHUNK_BYTES)));
    for (const chunk of chunks.slice(0, 2)) {
      await new Promise((resolve) => setTimeout(resolve, 60)); // less than the deadline each, more together
      listeners.get('data')?.(chunk);
    }
    expect(ends).toEqual([]);
    await seen('the end', () => ends.length > 0);
    expect(ends).toEqual([{ code: 4, details: 'no chunk for 100 ms' }]);
    listeners.get('data')?.(chunks[2]);
    expect(received).toEqual([]);
  });
});
