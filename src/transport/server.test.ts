// Transports over real gRPC on loopback: order, separate channels, reconnects, refusals, limits.
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { until } from '../base/clock.ts';
import { logIndex, peerId, term } from '../base/ids.ts';
import type { RaftMessage } from '../raft/types.ts';
import { MESSAGE_BYTES_MAX } from './grpc-adapter.ts';
import { freePort } from './testing/free-ports.ts';
import { appendOf, at, heartbeat, reportOf, startTestPeer, type TestPeer } from './testing/peers.ts';
import { startProxy } from './testing/proxy.ts';

const a = peerId('a');
const b = peerId('b');
const running = new Set<{ close(): Promise<void> }>();

async function start(options: Parameters<typeof startTestPeer>[0]): Promise<TestPeer> {
  const peer = await startTestPeer(options);
  running.add(peer.transport);
  return peer;
}

async function startPair(): Promise<{ a: TestPeer; b: TestPeer; portA: number; portB: number }> {
  const [portA, portB] = [await freePort(), await freePort()];
  const first = await start({ self: 'a', port: portA, peers: [at('b', portB)] });
  const second = await start({ self: 'b', port: portB, peers: [at('a', portA)] });
  await seen(
    'the links',
    () => first.transport.isReachable(b, 1000) && second.transport.isReachable(a, 1000),
  );
  return { a: first, b: second, portA, portB };
}

const seen = (what: string, condition: () => boolean, timeoutMs = 20_000): Promise<boolean> =>
  until({ what, timeoutMs, everyMs: 5 }, condition);

const rounds = (peer: TestPeer, kind: RaftMessage['kind']): number[] =>
  peer.received.flatMap(({ message }) =>
    message.kind === kind && 'round' in message ? [message.round] : [],
  );

afterEach(async () => {
  await Promise.all([...running].map((closable) => closable.close()));
  running.clear();
});

describe('between two peers', () => {
  test('messages of a channel arrive once and in the order sent', async () => {
    const pair = await startPair();
    const sent = Array.from({ length: 500 }, (_, round) => round);
    for (const round of sent) pair.a.transport.send(b, appendOf(round, round % 50 === 0 ? 50_000 : 20));
    for (const round of sent.slice(0, 50)) pair.a.transport.send(b, heartbeat(round));
    await seen('the last message', () => pair.b.received.length === 550);
    expect(rounds(pair.b, 'append-request')).toEqual(sent);
    expect(rounds(pair.b, 'heartbeat-request')).toEqual(sent.slice(0, 50));
    expect(pair.b.received.every(({ from }) => from === a)).toBe(true);
    const second = pair.b.received.find(
      ({ message }) => message.kind === 'append-request' && message.round === 1,
    );
    expect(second?.message).toStrictEqual(appendOf(1, 20));
  });

  test('a message sent before the link is up arrives once it is', async () => {
    const [portA, portB] = [await freePort(), await freePort()];
    const first = await start({ self: 'a', port: portA, peers: [at('b', portB)] });
    const second = await start({ self: 'b', port: portB, peers: [at('a', portA)] });
    first.transport.send(b, { kind: 'timeout-now', term: term(9) });
    second.transport.send(a, { kind: 'read-reply', term: term(9), readId: 'x', index: undefined });
    await seen('both messages', () => first.received.length === 1 && second.received.length === 1);
    expect(first.received[0]?.message).toStrictEqual({
      kind: 'read-reply',
      term: 9,
      readId: 'x',
      index: undefined,
    });
  });

  test('of the reports on a node the latest arrives, whatever else is dropped', async () => {
    const { a: first, b: second } = await startPair();
    for (let sequence = 1; sequence <= 300; sequence += 1) {
      first.transport.broadcastReport(reportOf('pg1', sequence));
      first.transport.broadcastReport(reportOf('pg2', sequence));
    }
    await seen(
      'report 300 of both',
      () => second.reports.filter((report) => report.sequence === 300).length === 2,
    );
    expect(second.reports.length).toBeLessThan(600);
    expect(second.reports.findLast((report) => report.node === 'pg2')).toStrictEqual(reportOf('pg2', 300));
  });

  test('a burst beyond the bound of the control queue keeps the newest heartbeats and every vote', async () => {
    const { a: first, b: second } = await startPair();
    const vote: RaftMessage = {
      kind: 'vote-request',
      term: term(2),
      preVote: false,
      lastIndex: logIndex(1),
      lastTerm: term(1),
      transfer: false,
    };
    first.transport.send(b, vote);
    for (let round = 1; round <= 1000; round += 1) first.transport.send(b, heartbeat(round));
    await seen('the newest heartbeat', () => rounds(second, 'heartbeat-request').at(-1) === 1000);
    expect(second.received.length).toBeLessThan(200);
    expect(second.received[0]?.message).toStrictEqual(vote);
  });

  test('a 4 MB append under way does not hold up heartbeats', async () => {
    const { a: first, b: second } = await startPair();
    for (let round = 0; round < 3; round += 1) first.transport.send(b, appendOf(round, 4 << 20));
    first.transport.send(b, heartbeat(1));
    await seen('appends and heartbeat', () => second.received.length === 4);
    const arrived = second.received.map(({ message }) => message.kind);
    expect(arrived.indexOf('heartbeat-request')).toBeLessThan(3);
  });

  test('a message beyond the size limit is not sent, which is logged, and the link stays', async () => {
    const { a: first, b: second } = await startPair();
    first.transport.send(b, appendOf(1, MESSAGE_BYTES_MAX));
    first.transport.send(b, appendOf(2, MESSAGE_BYTES_MAX));
    first.transport.send(b, appendOf(3, 10));
    await seen('the small one', () => second.received.length === 1);
    expect(rounds(second, 'append-request')).toEqual([3]);
    expect(first.logged.filter((line) => line.includes('larger than'))).toHaveLength(1);
    expect(first.logged.some((line) => line.includes('lost'))).toBe(false);
  });

  test('a peer that restarts is reached again', async () => {
    const { a: first, b: second, portA, portB } = await startPair();
    running.delete(second.transport);
    await second.transport.close();
    await seen('silence', () => !first.transport.isReachable(b, 100));
    const again = await start({ self: 'b', port: portB, peers: [at('a', portA)] });
    await seen(
      'messages both ways',
      () => {
        first.transport.send(b, heartbeat(1));
        first.transport.send(b, appendOf(2, 10));
        again.transport.send(a, heartbeat(3));
        const { received } = again;
        return (
          new Set(received.map(({ message }) => message.kind)).size === 2 &&
          rounds(first, 'heartbeat-request').includes(3)
        );
      },
      10_000,
    );
    expect(first.logged.filter((line) => /^link to b .* is up$/.test(line))).toHaveLength(2);
  });

  test('what was queued before an interruption is not sent after it', async () => {
    const [portA, portB] = [await freePort(), await freePort()];
    const first = await start({ self: 'a', port: portA, peers: [at('b', portB)] });
    first.transport.send(b, heartbeat(1));
    await new Promise((resolve) => setTimeout(resolve, 1100)); // the age limit itself is under test
    const second = await start({ self: 'b', port: portB, peers: [at('a', portA)] });
    await seen('a new heartbeat', () => {
      first.transport.send(b, heartbeat(2));
      return second.received.length > 0;
    });
    expect(rounds(second, 'heartbeat-request')).not.toContain(1);
  });
});

describe('through a partition that swallows packets', () => {
  test('connections that stay half-open are given up, and messages flow again after it heals', async () => {
    const [portA, portB] = [await freePort(), await freePort()];
    const [toA, toB] = [await startProxy(at('a', portA)), await startProxy(at('b', portB))];
    running.add(toA).add(toB);
    const first = await start({ self: 'a', port: portA, peers: [at('b', toB.port)] });
    const second = await start({ self: 'b', port: portB, peers: [at('a', toA.port)] });
    const flows = (since: number): boolean => {
      first.transport.send(b, heartbeat(since));
      first.transport.send(b, appendOf(since, 100));
      second.transport.send(a, heartbeat(since));
      second.transport.send(a, appendOf(since, 100));
      return [first, second].every(
        (peer) =>
          rounds(peer, 'heartbeat-request').includes(since) && rounds(peer, 'append-request').includes(since),
      );
    };
    await seen('messages', () => flows(1));

    for (const proxy of [toA, toB]) proxy.blackhole();
    await seen(
      'silence noticed',
      () => !first.transport.isReachable(b, 2500) && !second.transport.isReachable(a, 2500),
    );
    expect(first.logged.some((line) => /^link to b .* lost: no answer for/.test(line))).toBe(true);
    for (const proxy of [toA, toB]) proxy.heal();
    await seen('messages again', () => flows(2));
  });
});

describe('refusals', () => {
  test('a peer of another cluster is refused, said once on each side', async () => {
    const [portA, portB] = [await freePort(), await freePort()];
    const first = await start({ self: 'a', port: portA, peers: [at('b', portB)] });
    const other = await start({ self: 'b', port: portB, peers: [at('a', portA)], clusterId: 'other' });
    await seen('refusals', () => first.refused.length > 0 && other.refused.length > 0);
    first.transport.send(b, heartbeat(1));
    await new Promise((resolve) => setTimeout(resolve, 1300)); // long enough for another attempt
    expect(first.refused).toEqual([
      'refused peer "b" at 127.0.0.1: it belongs to cluster "other", this is cluster "test"; correct its list of peers',
    ]);
    expect(other.logged.filter((line) => line.includes('does not take messages from here'))).toHaveLength(1);
    expect(other.received).toEqual([]);
    expect(other.transport.isReachable(a, 60_000)).toBe(false);
  });

  test('a stranger, the own name and a wrong address are refused', async () => {
    const first = await start({ self: 'a', peers: [at('b', 1)] });
    await start({ self: 'x', peers: [at('a', first.transport.port)] });
    await start({ self: 'a', peers: [at('b', first.transport.port)] });
    await start({ self: 'b', peers: [at('c', first.transport.port)] });
    await seen('three refusals', () => first.refused.length === 3);
    const all = first.refused.join('\n');
    expect(all).toMatch(/peer "x" .*"a" does not know it, only b/);
    expect(all).toMatch(/peer "a" .*the name of this peer itself/);
    expect(all).toMatch(/peer "b" .*it meant to reach "c", but this is "a"/);
  });

  test('a second process under the same name is refused while the first lives', async () => {
    const { a: first, portA } = await startPair();
    await start({ self: 'b', peers: [at('a', portA)] });
    await seen('the rival refused', () => first.refused.length === 1);
    expect(first.refused[0]).toMatch(/another process at 127.0.0.1 has that name; stop one of them/);
    expect(first.transport.isReachable(b, 1000)).toBe(true);
  });

  test('a port in use is an error that names it and what to do', async () => {
    const holder = createServer();
    const port = await freePort();
    await new Promise<void>((resolve) => holder.listen(port, '127.0.0.1', resolve));
    running.add({ close: () => new Promise((resolve) => holder.close(() => resolve())) });
    await expect(startTestPeer({ self: 'a', port, peers: [] })).rejects.toThrow(
      `cannot listen on 127.0.0.1:${port}: another process has that port; find it with "ss -ltnp`,
    );
  });

  test('closing takes little time though a peer never answers, and leaves no socket', async () => {
    const sockets = new Set<Socket>();
    const silent = createServer((socket) => {
      sockets.add(socket.resume().on('error', () => undefined));
      socket.on('close', () => sockets.delete(socket));
    });
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    running.add({ close: () => new Promise((resolve) => silent.close(() => resolve())) });
    const port = (silent.address() as AddressInfo).port;
    const first = await start({ self: 'a', peers: [at('b', port)] });
    first.transport.send(b, heartbeat(1));
    await seen('an attempt given up', () => first.logged.some((line) => line.includes('no answer for')));
    const startedAtMs = performance.now();
    await Promise.all([first.transport.close(), first.transport.close()]);
    expect(performance.now() - startedAtMs).toBeLessThan(5000);
    await seen('all sockets gone', () => sockets.size === 0);
  });
});
