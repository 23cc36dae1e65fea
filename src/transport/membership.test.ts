// Links follow the membership while running: peers come, go and move; incarnations and stores are judged again; a peer that
// joins answers whoever speaks to it. Real gRPC on loopback.
import { afterEach, describe, expect, test } from 'vitest';
import { until } from '../base/clock.ts';
import { peerId } from '../base/ids.ts';
import { JOINER_PEERS_MAX } from './admission.ts';
import { freePort } from './testing/free-ports.ts';
import { appendOf, at, heartbeat, identityOf, startTestPeer, type TestPeer } from './testing/peers.ts';
import { startProxy } from './testing/proxy.ts';
import { endOf, helloOf, rawCall } from './testing/raw-client.ts';

const [a, b, c, d] = [peerId('a'), peerId('b'), peerId('c'), peerId('d')];
const running = new Set<{ close(): Promise<void> | void }>();

const seen = (what: string, condition: () => boolean, timeoutMs = 20_000): Promise<boolean> =>
  until({ what, timeoutMs, everyMs: 5 }, condition);

async function start(options: Parameters<typeof startTestPeer>[0]): Promise<TestPeer> {
  const peer = await startTestPeer(options);
  running.add(peer.transport);
  return peer;
}

/** `a` and `b`, linked both ways, with the ports they listen on. */
async function startPair(): Promise<{ a: TestPeer; b: TestPeer; portA: number; portB: number }> {
  const [portA, portB] = [await freePort(), await freePort()];
  const first = await start({ self: 'a', port: portA, peers: [at('b', portB)] });
  const second = await start({ self: 'b', port: portB, peers: [at('a', portA)] });
  await linked(first, second);
  return { a: first, b: second, portA, portB };
}

async function linked(first: TestPeer, second: TestPeer): Promise<void> {
  await seen(
    'the links',
    () => first.transport.isReachable(b, 1000) && second.transport.isReachable(a, 1000),
  );
}

let lastRound = 0;
/** Whether what `from` sends now gets to `to`, on both links, within `timeoutMs`. */
async function arrives(
  from: TestPeer,
  to: TestPeer,
  name: ReturnType<typeof peerId>,
  timeoutMs = 10_000,
): Promise<void> {
  lastRound += 1;
  const round = lastRound;
  await seen(
    `message ${round}`,
    () => {
      from.transport.send(name, heartbeat(round));
      from.transport.send(name, appendOf(round, 10));
      const kinds = to.received.flatMap(({ message }) =>
        'round' in message && message.round === round ? [message.kind] : [],
      );
      return new Set(kinds).size === 2;
    },
    timeoutMs,
  );
}

afterEach(async () => {
  await Promise.all([...running].map(async (closable) => closable.close()));
  running.clear();
});

describe('peers that change', () => {
  test('a peer that is added is spoken to, one that is left out is not', async () => {
    const pair = await startPair();
    const third = await start({ self: 'c', peers: [], identity: identityOf(1, ['a', 'b', 'c']) });
    pair.a.transport.setPeers([at('c', third.transport.port)]);
    await arrives(pair.a, third, c);
    await seen('silence', () => !pair.b.transport.isReachable(a, 300));
    pair.a.transport.send(b, heartbeat(99));
    await arrives(pair.a, third, c);
    expect(pair.b.received.some(({ message }) => 'round' in message && message.round === 99)).toBe(false);
    expect(pair.b.refused).toEqual([]);
  });

  test('the same list again, or this peer itself in it, changes nothing', async () => {
    const pair = await startPair();
    pair.a.transport.setPeers([at('b', pair.portB), at('a', pair.portA)]);
    await arrives(pair.a, pair.b, b);
    expect(pair.a.logged.filter((line) => line.includes('is up'))).toHaveLength(1);
    expect(pair.a.logged.join()).not.toMatch(/link to a/);
  });

  test('a peer that moved is reached at its new address within a second', async () => {
    const pair = await startPair();
    running.delete(pair.b.transport);
    await pair.b.transport.close();
    const moved = await start({ self: 'b', peers: [at('a', pair.portA)] });
    const startedAtMs = performance.now();
    pair.a.transport.setPeers([at('b', moved.transport.port)]);
    await arrives(pair.a, moved, b, 5000);
    expect(performance.now() - startedAtMs).toBeLessThan(1000);
  });

  test('a peer that moved is reached at its new address though the old one swallows everything', async () => {
    const pair = await startPair();
    const proxy = await startProxy(at('b', pair.portB));
    running.add(proxy);
    pair.a.transport.setPeers([at('b', proxy.port)]);
    await arrives(pair.a, pair.b, b);
    proxy.blackhole();
    const startedAtMs = performance.now();
    pair.a.transport.setPeers([at('b', pair.portB)]);
    await arrives(pair.a, pair.b, b, 5000);
    expect(performance.now() - startedAtMs).toBeLessThan(1000);
  });
});

describe('an identity that changes', () => {
  test('a peer that is no member any more is shut out at once, and told', async () => {
    const pair = await startPair();
    pair.a.transport.setIdentity(identityOf(1, ['a', 'c'], {}, 9));
    expect(pair.a.transport.isReachable(b, 60_000)).toBe(false);
    pair.b.transport.send(a, heartbeat(1));
    await seen('the word', () => pair.b.logged.some((line) => line.includes('"a" does not know it, only c')));
    expect(pair.a.refused).toEqual([
      expect.stringMatching(/^refused peer "b" at .* sentinelctl peer add b 127.0.0.1:/),
    ]);
    expect(pair.a.received).toEqual([]);
    // And is let in again once it is one.
    pair.a.transport.setIdentity(identityOf(1, ['a', 'b'], {}, 12));
    await arrives(pair.b, pair.a, a);
  });

  test('of two that were founded with different peers neither takes part with the other', async () => {
    const pair = await startPair();
    pair.a.transport.setIdentity({ ...identityOf(1, ['a', 'b']), founders: [a, b] });
    const three = [a, b, c];
    pair.b.transport.setIdentity({ ...identityOf(1, ['a', 'b', 'c']), founders: three });
    pair.a.transport.setPeers([]);
    pair.a.transport.setPeers([at('b', pair.portB)]);
    pair.b.transport.setPeers([]);
    pair.b.transport.setPeers([at('a', pair.portA)]);
    await seen(
      'the word',
      () => pair.a.transport.foundingConflict(b, 60_000)?.includes('founded with the peers') === true,
    );
    await seen('the word', () => pair.b.logged.some((line) => line.includes('founded with the peers')));
    // Put right: a peer that joins knows no founders.
    pair.b.transport.setIdentity({ ...identityOf(0, []), founders: [] });
    pair.b.transport.setPeers([]);
    pair.b.transport.setPeers([at('a', pair.portA)]);
    await arrives(pair.b, pair.a, a);
    expect(pair.a.transport.foundingConflict(b, 60_000)).toBeUndefined();
  });

  test('a store that turns out to be another than the registered one is shut out at once', async () => {
    const pair = await startPair();
    pair.a.transport.setIdentity(identityOf(1, ['a', 'b'], { b: 'store-of-b' }));
    await arrives(pair.b, pair.a, a);
    pair.a.transport.setIdentity(identityOf(1, ['a', 'b'], { b: 'the one before' }));
    expect(pair.a.transport.isReachable(b, 60_000)).toBe(false);
    await seen('the word', () => pair.b.logged.some((line) => line.includes('its disk was replaced')));
  });

  test('a peer that is no member is listened to while its membership is the newer one', async () => {
    const [portA, portD] = [await freePort(), await freePort()];
    const away = await start({
      self: 'a',
      port: portA,
      peers: [],
      commitIndex: 40,
      identity: identityOf(1, ['a', 'b', 'c'], {}, 20),
    });
    const leader = await start({
      self: 'd',
      port: portD,
      peers: [at('a', portA)],
      identity: identityOf(1, ['a', 'b', 'd'], {}, 30),
    });
    await arrives(leader, away, a);
    // And answered, or it could never bring the other up to date.
    await arrives(away, leader, d);
    away.transport.setIdentity(identityOf(1, ['a', 'b', 'c'], {}, 40));
    expect(away.transport.isReachable(d, 60_000)).toBe(false);
  });

  test('so is one whose log holds a newer one, which after a start it does not know to be committed', async () => {
    const [portA, portD] = [await freePort(), await freePort()];
    const away = await start({
      self: 'a',
      port: portA,
      peers: [],
      commitIndex: 25,
      identity: identityOf(1, ['a', 'b', 'c'], {}, 20),
    });
    const restarted = await start({
      self: 'd',
      port: portD,
      peers: [at('a', portA)],
      identity: identityOf(1, ['a', 'b', 'd'], {}, 20, 30),
    });
    await arrives(restarted, away, a);
    // It may need this vote to become the leader.
    await arrives(away, restarted, d);
  });
});

describe('incarnations', () => {
  test('a recovered peer and one left behind part, and the latter is told, whoever calls', async () => {
    const pair = await startPair();
    pair.a.transport.setIdentity(identityOf(2, ['a']));
    // Both call: `a` with its hello, `b` to be refused.
    await seen('the word', () => pair.b.ahead.length > 0);
    expect(pair.b.ahead).toEqual(['a 2']);
    expect(pair.a.ahead).toEqual([]);
    await seen('refusals', () => pair.a.refused.length > 0 && pair.b.refused.length > 0);
    expect(pair.a.refused[0]).toMatch(
      /incarnation 1 of the cluster, "a" to incarnation 2: .* recovered without it/,
    );
    expect(pair.b.refused[0]).toMatch(
      /incarnation 2 of the cluster, "b" to incarnation 1: .* recovered without "b"/,
    );
    pair.a.transport.send(b, heartbeat(1));
    pair.b.transport.send(a, heartbeat(2));
    await new Promise((resolve) => setTimeout(resolve, 300)); // long enough for what must not arrive
    expect([...pair.a.received, ...pair.b.received]).toEqual([]);
  });

  test('a peer left behind that only calls learns of it from the refusal', async () => {
    const recovered = await start({ self: 'a', peers: [], identity: identityOf(2, ['a']) });
    const behind = await start({ self: 'b', peers: [at('a', recovered.transport.port)] });
    await seen('the word', () => behind.ahead.length > 0);
    expect(behind.ahead).toEqual(['a 2']);
  });

  test('a recovered peer that only calls is how one left behind learns of it', async () => {
    const behind = await start({ self: 'b', peers: [], identity: identityOf(1, ['a', 'b']) });
    await start({ self: 'a', peers: [at('b', behind.transport.port)], identity: identityOf(2, ['a', 'b']) });
    await seen('the word', () => behind.ahead.length > 0);
    expect(behind.ahead).toEqual(['a 2']);
  });

  test('nothing that was queued before a recovery is sent after it', async () => {
    const [portA, portB] = [await freePort(), await freePort()];
    const first = await start({ self: 'a', port: portA, peers: [at('b', portB)] });
    first.transport.send(b, heartbeat(1));
    first.transport.send(b, appendOf(1, 10));
    first.transport.setIdentity(identityOf(2, ['a', 'b']));
    const second = await start({ self: 'b', port: portB, peers: [], identity: identityOf(2, ['a', 'b']) });
    await arrives(first, second, b);
    const rounds = second.received.flatMap(({ message }) => ('round' in message ? [message.round] : []));
    expect(rounds).not.toContain(1);
  });

  test('the links come back when the other has the same one', async () => {
    const pair = await startPair();
    pair.a.transport.setIdentity(identityOf(2, ['a', 'b']));
    await seen('parting', () => pair.b.ahead.length > 0);
    pair.b.transport.setIdentity(identityOf(2, ['a', 'b']));
    await arrives(pair.a, pair.b, b);
    await arrives(pair.b, pair.a, a);
  });
});

describe('a peer that joins', () => {
  const nobody = identityOf(0, []);

  test('answers whoever speaks to it, and goes on when it is a member', async () => {
    const portD = await freePort();
    const leader = await start({ self: 'a', peers: [at('d', portD)] });
    const joiner = await start({ self: 'd', port: portD, peers: [], identity: nobody });
    await arrives(leader, joiner, d);
    await arrives(joiner, leader, a);
    joiner.transport.setPeers([at('a', leader.transport.port)]);
    joiner.transport.setIdentity(identityOf(1, ['a', 'd'], {}, 5));
    await arrives(joiner, leader, a);
    await arrives(leader, joiner, d);
    // From now on it is as choosy as all others.
    const stranger = rawCall('control', portD, helloOf('z', 'd'));
    running.add(stranger);
    expect(await endOf(stranger)).toMatch(/^FAILED_PRECONDITION: .*peer add z/);
  });

  test('answers where the caller says it is reached', async () => {
    const [portA, portD] = [await freePort(), await freePort()];
    const proxy = await startProxy(at('a', portA));
    running.add(proxy);
    const leader = await start({
      self: 'a',
      port: portA,
      peers: [at('d', portD)],
      advertised: () => `127.0.0.1:${proxy.port}`,
    });
    const joiner = await start({ self: 'd', port: portD, peers: [], identity: nobody });
    await arrives(joiner, leader, a);
    expect(joiner.logged.some((line) => line.includes(`link to a (127.0.0.1:${proxy.port}) is up`))).toBe(
      true,
    );
  });

  test('is told of the address that the caller has by now: it may have moved since it started', async () => {
    const [portA, portD] = [await freePort(), await freePort()];
    let advertised = `127.0.0.1:${await freePort()}`;
    const leader = await start({
      self: 'a',
      port: portA,
      peers: [at('d', portD)],
      advertised: () => advertised,
    });
    advertised = `127.0.0.1:${portA}`;
    const joiner = await start({ self: 'd', port: portD, peers: [], identity: nobody });
    await arrives(joiner, leader, a);
  });

  test('takes its own route to a caller, whatever that says', async () => {
    const portD = await freePort();
    const advertised = `127.0.0.1:${await freePort()}`;
    const leader = await start({ self: 'a', peers: [at('d', portD)], advertised: () => advertised });
    const joiner = await start({
      self: 'd',
      port: portD,
      peers: [],
      identity: nobody,
      route: (peer) => ({ ...peer, port: leader.transport.port }),
    });
    await arrives(joiner, leader, a);
  });

  test('prefers the word of the caller to its own old list', async () => {
    const portD = await freePort();
    const leader = await start({ self: 'a', peers: [at('d', portD)] });
    const joiner = await start({
      self: 'd',
      port: portD,
      peers: [at('a', await freePort())],
      identity: nobody,
    });
    await arrives(joiner, leader, a);
  });

  test('takes no peer of another cluster, and not more peers than it can answer', async () => {
    const joiner = await start({ self: 'd', peers: [], identity: nobody });
    const { port } = joiner.transport;
    const other = rawCall('control', port, helloOf('b', 'd', { cluster: 'other' }));
    running.add(other);
    expect(await endOf(other)).toMatch(/belongs to cluster "other"/);
    const calls = Array.from({ length: JOINER_PEERS_MAX }, (_, at) =>
      rawCall('control', port, helloOf(`p${at}`, 'd')),
    );
    for (const call of calls) running.add(call);
    await Promise.all(calls.map((call) => call.answered));
    const tooMany = rawCall('control', port, helloOf('q', 'd'));
    running.add(tooMany);
    expect(await endOf(tooMany)).toMatch(/FAILED_PRECONDITION: .*16 peers speak to this one already/);
    const again = rawCall('append', port, helloOf('p3', 'd'));
    running.add(again);
    await again.answered;
    calls[0]?.end();
    await calls[0]?.ended;
    await until({ what: 'room', timeoutMs: 5000, everyMs: 20 }, async () => {
      const next = rawCall('control', port, helloOf('q', 'd'));
      running.add(next);
      return Promise.race([next.answered.then(() => true), next.ended.then(() => false)]);
    });
  });
});
