import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { logIndex, peerId, term } from '../base/ids.ts';
import { membershipCodec } from '../cluster/codec.ts';
import { decodeState } from '../cluster/snapshot-codec.ts';
import type { Membership } from '../raft/types.ts';
import { openLogStore, type LogStore } from '../storage/log-store.ts';
import { NOBODY, beginWith } from './beginning.ts';

const root = mkdtempSync(join(tmpdir(), 'pg-sentinel-begin-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const [A, B] = [peerId('a'), peerId('b')];
const membership = (voters: readonly (typeof A)[], incarnation = 1): Membership => ({
  voters,
  learners: [],
  addresses: new Map(voters.map((peer) => [peer, `${peer}:7432`])),
  incarnation,
});
const open = (name: string): Promise<LogStore> =>
  openLogStore({ directory: join(root, name), clusterId: 'shop', self: A, membershipCodec });

test('a new store holds the membership of the configuration, and keeps it when that is edited', async () => {
  const store = await open('voter');
  const begun = await beginWith(store, membership([A, B]));
  expect(begun).toMatchObject({ hardState: { term: 1 }, base: { index: 1, term: 1 }, entries: [] });
  const first = begun.snapshot;
  expect(first).toMatchObject({ index: 1, term: 1, membership: { voters: ['a', 'b'] } });
  expect(decodeState(first?.data ?? new Uint8Array())).toMatchObject({
    appliedIndex: 1,
    membership: { voters: ['a', 'b'], incarnation: 1 },
  });
  await store.close();

  const again = await open('voter');
  expect(again.base).toEqual({ index: 1, term: 1 });
  expect(again.hardState).toEqual({ term: 1, votedFor: undefined });
  expect(await beginWith(again, membership([A, B, peerId('c')]))).toMatchObject({
    snapshot: { index: 1, membership: { voters: ['a', 'b'] } },
    membership: { voters: ['a', 'b'] },
  });
  await again.write({
    hardState: { term: term(2), votedFor: A },
    entries: [{ index: logIndex(2), term: term(2), kind: 'noop', data: new Uint8Array() }],
  });
  await again.close();
});

test('the store of a peer that joins stays that of one, whatever the configuration says later', async () => {
  const nobody = { snapshot: undefined, membership: { voters: [], incarnation: 0 } };
  const store = await open('joiner');
  expect(await beginWith(store, NOBODY)).toMatchObject(nobody);
  // It has heard of a term, and was sent no snapshot yet.
  await store.write({ hardState: { term: term(4), votedFor: undefined }, entries: [] });
  await store.close();
  const again = await open('joiner');
  expect(await beginWith(again, membership([A, B]))).toMatchObject(nobody);
  await again.close();
});

test('a log that began without a snapshot goes on with the membership of the configuration', async () => {
  const store = await open('first-version');
  await store.write({
    hardState: { term: term(1), votedFor: A },
    entries: [{ index: logIndex(1), term: term(1), kind: 'noop', data: new Uint8Array() }],
  });
  await store.close();
  const again = await open('first-version');
  expect(await beginWith(again, membership([A, B]))).toMatchObject({
    base: { index: 0 },
    snapshot: undefined,
    membership: { voters: ['a', 'b'] },
  });
  await again.close();
});

test('a peer that took part before does not begin with an empty log, unless it is to be added', async () => {
  const path = join(root, 'pg1.fence');
  const store = await open('wiped');
  await expect(beginWith(store, membership([A, B]), { peer: A, path })).resolves.toBeDefined();
  await store.close();

  writeFileSync(path, '{}');
  const wiped = await open('wiped-again');
  await expect(beginWith(wiped, membership([A, B]), { peer: A, path })).rejects.toThrow(
    /Raft log of peer a is empty, but .*pg1.fence says that it has taken part before.*peer remove a.*join: true/,
  );
  expect(await beginWith(wiped, NOBODY, { peer: A, path })).toMatchObject({ membership: { incarnation: 0 } });
  await wiped.close();
  const kept = await open('wiped');
  await expect(beginWith(kept, membership([A, B]), { peer: A, path })).resolves.toBeDefined();
  await kept.close();
});
