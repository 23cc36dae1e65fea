// Whom `sentineld --leave` takes for silent, and whose word it relies on: over real sockets.
import { type Server, createServer, type AddressInfo } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { startTestPeer, QUIET_ADMIN, STATUS } from '../transport/testing/peers.ts';
import { freePort } from '../transport/testing/free-ports.ts';
import type { AdminHandlers, FailoverOutcome } from '../transport/types.ts';
import { askOther } from './leave-log.ts';

const open = new Set<{ close(): unknown }>();
afterEach(async () => {
  for (const closable of open) await closable.close();
  open.clear();
});

const { cluster, answeredBy: peer } = STATUS;

async function answering(reason: string, change: Partial<AdminHandlers> = {}): Promise<string> {
  const outcome: FailoverOutcome = { kind: 'refused', reason };
  const list = { cluster, incarnation: 3, featureLevel: 1, leader: 'b', peers: [] };
  const admin: AdminHandlers = {
    ...QUIET_ADMIN,
    failover: () => Promise.resolve(outcome),
    peers: { ...QUIET_ADMIN.peers, list: () => list },
    ...change,
  };
  const { transport } = await startTestPeer({ self: 'a', peers: [], admin });
  open.add(transport);
  return `127.0.0.1:${transport.port}`;
}

test('silent is only where nothing takes a connection', async () => {
  const address = `127.0.0.1:${await freePort()}`;
  expect((await askOther({ cluster, peer, address })).said).toEqual({ kind: 'silent' });
});

test('what takes a connection and says nothing may be a peer that is busy', async () => {
  const mute: Server = createServer();
  open.add(mute);
  await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve));
  const address = `127.0.0.1:${(mute.address() as AddressInfo).port}`;
  expect((await askOther({ cluster, peer, address })).said).toMatchObject({ kind: 'unclear' });
});

test('another cluster, another peer, and a failure are not silence', async () => {
  const address = await answering('');
  for (const asked of [
    { cluster: 'other', peer, address },
    { cluster, peer: 'z', address },
  ])
    expect((await askOther(asked)).said).toMatchObject({
      kind: 'unclear',
      reason: `peer ${peer} of cluster ${cluster} answers there`,
    });
  const failing = await answering('', { failover: () => Promise.reject(new Error('broken')) });
  expect((await askOther({ cluster, peer, address: failing })).said).toMatchObject({
    kind: 'unclear',
    reason: expect.stringContaining('broken') as unknown,
  });
});

test('an answer is vouched for where the peer has read through a leader', async () => {
  for (const [reason, isVouched] of [
    ['there is no group ?; there are: main', true],
    ['no answer from a Raft leader; nothing was changed, see sentinelctl status', false],
  ] as const) {
    const address = await answering(reason);
    const { said } = await askOther({ cluster, peer, address });
    expect(said).toMatchObject({ kind: 'answer', isVouched, incarnation: 3, term: STATUS.term });
  }
});
