// `sentinelctl peer` over real gRPC: every change there and back, carried to the leader, and never made twice.
import { connect, createServer, type AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { until } from '../base/clock.ts';
import { peerId } from '../base/ids.ts';
import { type AdminClient, AdminError, connectAdmin } from './admin-client.ts';
import { freePort } from './testing/free-ports.ts';
import { QUIET_ADMIN, QUIET_PEERS, startTestPeer } from './testing/peers.ts';
import type { PeerChangeOutcome, PeerHandlers, PeerListView } from './types.ts';

const open = new Set<{ close(): Promise<void> | void }>();
const [b, d] = [peerId('b'), peerId('d')];

async function serve(peers: Partial<PeerHandlers> = {}): Promise<string> {
  const admin = { ...QUIET_ADMIN, peers: { ...QUIET_PEERS, ...peers } };
  const { transport } = await startTestPeer({ self: 'a', peers: [], admin });
  open.add(transport);
  return `127.0.0.1:${transport.port}`;
}

async function client(...addresses: string[]): Promise<AdminClient> {
  const connected = await connectAdmin({ addresses, timeoutMs: 3000 });
  open.add(connected);
  return connected;
}

async function errorOf(work: Promise<unknown>): Promise<AdminError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof AdminError) return error;
  throw new Error(`expected an AdminError, got ${String(error)}`);
}

const seen = (what: string, condition: () => boolean): Promise<boolean> =>
  until({ what, timeoutMs: 20_000, everyMs: 5 }, condition);

const done: PeerChangeOutcome = { kind: 'done', detail: 'b is a voter' };
const notLeader = (address?: string): PeerChangeOutcome => ({
  kind: 'not-leader',
  leader: address === undefined ? undefined : { peer: 'x', address },
});
/** A handler that answers so, and counts. */
function answering(outcome: PeerChangeOutcome): { count: number; handle: () => Promise<PeerChangeOutcome> } {
  const answer = {
    count: 0,
    handle: () => {
      answer.count += 1;
      return Promise.resolve(outcome);
    },
  };
  return answer;
}

afterEach(async () => {
  await Promise.all([...open].map(async (closable) => closable.close()));
  open.clear();
});

describe('peer requests', () => {
  test('the list comes back as it was given', async () => {
    const list: PeerListView = {
      cluster: 'shop',
      incarnation: 3,
      featureLevel: 1,
      leader: 'a',
      peers: [
        {
          peer: 'a',
          address: '10.0.0.1:7432',
          kind: 'voter',
          role: 'leader',
          reachable: true,
          matchIndex: 2 ** 40,
          lagEntries: 0,
          snapshotIndex: 17,
          features: 1,
          session: 's-1',
        },
        {
          peer: 'd',
          address: '[fd00::1]:7432',
          kind: 'learner',
          role: 'unknown',
          reachable: false,
          matchIndex: undefined,
          lagEntries: undefined,
          snapshotIndex: undefined,
          features: undefined,
          session: undefined,
        },
      ],
    };
    const admin = await client(await serve({ list: () => list }));
    expect(await admin.peers.list()).toStrictEqual(list);
  });

  test('each change arrives with all that was asked for, and its outcome comes back', async () => {
    const asked: unknown[] = [];
    const noting =
      (what: string) =>
      (request: object): Promise<PeerChangeOutcome> => {
        asked.push([what, request]);
        return Promise.resolve({ kind: 'done', detail: what });
      };
    const admin = await client(
      await serve({
        add: noting('add'),
        promote: noting('promote'),
        remove: noting('remove'),
        move: noting('move'),
        transfer: noting('transfer'),
        recover: noting('recover'),
      }),
    );
    const requests = {
      add: { peer: d, address: '10.0.0.4:7432', learnerOnly: true },
      promote: { peer: d },
      remove: { peer: b },
      move: { peer: b, address: '[fd00::2]:7432' },
      transfer: { to: b },
      recover: { lost: [b, d] },
    };
    expect(await admin.peers.add(requests.add)).toEqual({ kind: 'done', detail: 'add' });
    expect(await admin.peers.promote(requests.promote)).toEqual({ kind: 'done', detail: 'promote' });
    expect(await admin.peers.remove(requests.remove)).toEqual({ kind: 'done', detail: 'remove' });
    expect(await admin.peers.move(requests.move)).toEqual({ kind: 'done', detail: 'move' });
    expect(await admin.peers.transfer(requests.transfer)).toEqual({ kind: 'done', detail: 'transfer' });
    expect(await admin.peers.recover(requests.recover)).toEqual({ kind: 'done', detail: 'recover' });
    expect(asked).toEqual(Object.entries(requests));
  });

  test('a refusal and an error come back with their reason', async () => {
    const admin = await client(
      await serve({
        promote: () => Promise.resolve({ kind: 'refused', reason: 'd lacks 12 entries' }),
        remove: () => Promise.reject(new Error('the log is full')),
        list: () => {
          throw new Error('not yet');
        },
      }),
    );
    expect(await admin.peers.promote({ peer: d })).toEqual({ kind: 'refused', reason: 'd lacks 12 entries' });
    expect(await errorOf(admin.peers.remove({ peer: b }))).toMatchObject({
      kind: 'failed',
      message: expect.stringContaining('the log is full') as string,
    });
    expect((await errorOf(admin.peers.list())).kind).toBe('failed');
  });

  test('names and addresses that are none do not get as far as the daemon', async () => {
    const admin = await client(await serve());
    const bad = await errorOf(admin.peers.remove({ peer: 'B!' as typeof b }));
    expect(bad.kind).toBe('refused');
    expect(bad.message).toMatch(/"B!" is not the name of a peer: expected a lower-case letter/);
    for (const address of ['10.0.0.4', '10.0.0.4:0', ':1', 'a b:1', 'fd00::1:7432', `${'x'.repeat(300)}:1`]) {
      const { kind, message } = await errorOf(admin.peers.move({ peer: b, address }));
      expect(`${kind} ${message}`).toMatch(/^refused .* is not an address: expected HOST:PORT/);
    }
    const many = Array.from({ length: 101 }, () => b);
    expect((await errorOf(admin.peers.recover({ lost: many }))).kind).toBe('refused');
  });
});

describe('a change asked of a peer that does not lead', () => {
  test('goes to the leader it names', async () => {
    const leader = answering(done);
    const leaderAddress = await serve({ promote: leader.handle });
    const follower = answering(notLeader(leaderAddress));
    const admin = await client(await serve({ promote: follower.handle }));
    expect(await admin.peers.promote({ peer: b })).toEqual(done);
    expect([follower.count, leader.count]).toEqual([1, 1]);
  });

  test('goes to the other known peers where it names none, or one that is down', async () => {
    const leader = answering(done);
    const leaderAddress = await serve({ promote: leader.handle });
    const unknowing = await serve({ promote: answering(notLeader()).handle });
    const mistaken = await serve({ promote: answering(notLeader(`127.0.0.1:${await freePort()}`)).handle });
    for (const first of [unknowing, mistaken]) {
      const admin = await client(first, `127.0.0.1:${await freePort()}`, leaderAddress);
      expect(await admin.peers.promote({ peer: b })).toEqual(done);
    }
    expect(leader.count).toBe(2);
  });

  test('ends as it is where nobody leads, each peer having been asked once', async () => {
    const [one, two] = [answering(notLeader()), answering(notLeader())];
    const admin = await client(await serve({ remove: one.handle }), await serve({ remove: two.handle }));
    expect(await admin.peers.remove({ peer: b })).toEqual(notLeader());
    expect([one.count, two.count]).toEqual([1, 1]);
  });

  test('does not go round in circles', async () => {
    const addresses: string[] = [];
    const counts = [0, 0];
    const pointing = (self: number, other: number) => () => {
      counts[self] = (counts[self] ?? 0) + 1;
      return Promise.resolve(notLeader(addresses[other]));
    };
    addresses.push(await serve({ remove: pointing(0, 1) }), await serve({ remove: pointing(1, 0) }));
    const admin = await client(...addresses);
    expect((await admin.peers.remove({ peer: b })).kind).toBe('not-leader');
    expect(counts).toEqual([1, 1]);
  });

  test('a leader that does not answer ends it within the deadline', async () => {
    const signals: AbortSignal[] = [];
    const hanging = await serve({
      add(_request, signal) {
        signals.push(signal);
        return new Promise(() => undefined);
      },
    });
    const admin = await client(await serve({ add: answering(notLeader(hanging)).handle }));
    const startedAtMs = performance.now();
    const error = await errorOf(
      admin.peers.add({ peer: d, address: 'h:1', learnerOnly: false }, { timeoutMs: 400 }),
    );
    expect(performance.now() - startedAtMs).toBeLessThan(3000);
    expect(error.kind).toBe('deadline');
    expect(error.message).toMatch(/whether the change was made is not known: see sentinelctl peer list/);
    await seen('the abort', () => signals.length === 1 && signals.every(({ aborted }) => aborted));
  });

  test('is not asked of another peer after one that may have made it', async () => {
    const other = answering(done);
    const admin = await client(
      await serve({ remove: () => new Promise(() => undefined) }),
      await serve({ remove: other.handle }),
    );
    expect((await errorOf(admin.peers.remove({ peer: b }, { timeoutMs: 200 }))).kind).toBe('deadline');
    expect(other.count).toBe(0);
  });

  test('a caller that gives up aborts it', async () => {
    const signals: AbortSignal[] = [];
    const admin = await client(
      await serve({
        transfer(_request, signal) {
          signals.push(signal);
          return new Promise(() => undefined);
        },
      }),
    );
    const stop = new AbortController();
    const given = errorOf(admin.peers.transfer({ to: b }, { signal: stop.signal }));
    await seen('the call', () => signals.length === 1);
    stop.abort();
    expect((await given).kind).toBe('cancelled');
    await seen('the abort', () => signals.every(({ aborted }) => aborted));
  });

  test('recover is for the peer asked and nobody else', async () => {
    const other = answering(done);
    const otherAddress = await serve({ recover: other.handle });
    const admin = await client(
      await serve({ recover: answering(notLeader(otherAddress)).handle }),
      otherAddress,
    );
    expect((await admin.peers.recover({ lost: [b] })).kind).toBe('not-leader');
    expect(other.count).toBe(0);
  });
});

describe('when no peer answers', () => {
  test('the error says of each address what became of it, and takes no longer than it says', async () => {
    const silent = createServer((socket) => void socket.resume().on('error', () => undefined));
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    open.add({ close: () => new Promise<void>((resolve) => silent.close(() => resolve())) });
    const [refusing, hanging] = [
      `127.0.0.1:${await freePort()}`,
      `127.0.0.1:${(silent.address() as AddressInfo).port}`,
    ];
    const startedAtMs = performance.now();
    const error = await errorOf(connectAdmin({ addresses: [hanging, refusing], timeoutMs: 700 }));
    expect(performance.now() - startedAtMs).toBeLessThan(2500);
    expect(error.kind).toBe('unreachable');
    expect(error.message).toMatch(
      new RegExp(
        `^no peer answered, after \\d+ ms: ${hanging}: no connection within \\d+ ms .*; ${refusing}: connection refused \\(no sentineld listens there\\)$`,
      ),
    );
  });

  test('a peer that is slow to answer is waited for as long as there is time', async () => {
    const port = Number((await serve()).split(':')[1]);
    const slow = createServer((near) => {
      near.on('error', () => undefined);
      setTimeout(() => {
        const far = connect({ port, host: '127.0.0.1' }).on('error', () => undefined);
        near.pipe(far).pipe(near);
        near.on('close', () => far.destroy());
      }, 1300);
    });
    await new Promise<void>((resolve) => slow.listen(0, '127.0.0.1', resolve));
    open.add({ close: () => new Promise<void>((resolve) => slow.close(() => resolve())) });
    const address = `127.0.0.1:${(slow.address() as AddressInfo).port}`;
    const admin = await client(`127.0.0.1:${await freePort()}`, address);
    expect(admin.address).toBe(address);
  });

  test('one that is silent does not hold up the next', async () => {
    const silent = createServer((socket) => void socket.resume().on('error', () => undefined));
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    open.add({ close: () => new Promise<void>((resolve) => silent.close(() => resolve())) });
    const address = await serve();
    const startedAtMs = performance.now();
    const admin = await client(`127.0.0.1:${(silent.address() as AddressInfo).port}`, address);
    expect(admin.address).toBe(address);
    expect(performance.now() - startedAtMs).toBeLessThan(1500);
  });
});
