// Who is let in: only a peer of this cluster and incarnation, known by name and store, that means this one and speaks its
// version; the exceptions are peers that join and peers that know more than this one.
import { Metadata } from '@grpc/grpc-js';
import { describe, expect, test } from 'vitest';
import { peerId } from '../base/ids.ts';
import { METADATA_BYTES_MAX } from './grpc-adapter.ts';
import {
  type Hello,
  helloMetadata,
  type Identity,
  judgeHello,
  readHello,
  readRefuser,
  refuserMetadata,
  WIRE_VERSION,
  WIRE_VERSION_MIN,
} from './handshake.ts';

const [a, b, c] = [peerId('a'), peerId('b'), peerId('c')];
const identity: Identity = {
  clusterId: 'shop',
  self: a,
  incarnation: 2,
  membershipIndex: 50,
  logMembershipIndex: 50,
  founders: [a, b, c],
  commitIndex: () => 55,
  members: new Set([a, b, c]),
  storeIds: new Map([[b, new Set(['store-b'])]]),
};
const good: Hello = {
  cluster: 'shop',
  from: 'b',
  to: 'a',
  run: 'r1',
  address: '10.0.0.2:7432',
  store: 'store-b',
  incarnation: 2,
  membershipIndex: 50,
  logMembershipIndex: 50,
  founders: ['a', 'b', 'c'],
  features: 1,
  wireVersion: WIRE_VERSION,
  wireVersionMin: WIRE_VERSION_MIN,
};

function reasonFor(hello: Partial<Hello>, change: Partial<Identity> = {}): string {
  const verdict = judgeHello({ ...good, ...hello }, { ...identity, ...change }, '10.0.0.2');
  return verdict.kind === 'accepted' ? 'accepted' : verdict.reason;
}

describe('handshake', () => {
  test('a known peer that means us is accepted, through the metadata and back', () => {
    expect(readHello(helloMetadata(good))).toStrictEqual(good);
    expect(judgeHello(good, identity, '10.0.0.2')).toEqual({ kind: 'accepted', from: 'b' });
  });

  test('everybody else is refused with the reason and what to do', () => {
    expect(reasonFor({ cluster: 'other' })).toMatch(
      /belongs to cluster "other", this is cluster "shop"; correct its list/,
    );
    expect(reasonFor({ from: 'a' })).toMatch(/the name of this peer itself/);
    expect(reasonFor({ to: 'c' })).toMatch(/meant to reach "c", but this is "a"; correct the address/);
    expect(reasonFor({ from: 'z', address: '10.0.0.9:7432' })).toMatch(
      /"a" does not know it, only b, c; if it is to take part: sentinelctl peer add z 10.0.0.9:7432/,
    );
  });

  test('a caller that says nothing about itself, or only half of it, is refused', () => {
    const silent = readHello(new Metadata());
    expect(silent).toBeDefined();
    expect(reasonFor(silent ?? {})).toMatch(/belongs to cluster ""/);
    for (const part of ['run', 'address', 'store'] as const)
      expect(reasonFor({ [part]: '' })).toMatch(/cannot be read/);
    for (const part of ['incarnation', 'membershipIndex', 'logMembershipIndex', 'features'] as const)
      expect(reasonFor({ [part]: Number.NaN })).toMatch(/cannot be read/);
    expect(reasonFor({ from: 'B!' })).toMatch(/cannot be read/);
    expect(reasonFor({ store: 'x'.repeat(65) })).toMatch(/cannot be read/);
    expect(reasonFor({ address: 'nowhere' })).toMatch(/cannot be read/);
  });

  test('versions that overlap are accepted, others name the one to upgrade', () => {
    const next = WIRE_VERSION + 1;
    expect(reasonFor({ wireVersion: next })).toBe('accepted');
    expect(reasonFor({ wireVersion: next, wireVersionMin: next })).toMatch(/upgrade the older one/);
    expect(reasonFor({ wireVersion: WIRE_VERSION_MIN - 1, wireVersionMin: 0 })).toMatch(/upgrade/);
    expect(reasonFor({ wireVersion: Number.NaN })).toMatch(/upgrade/);
  });

  test('more metadata than any peer sends is refused, also where one key comes many times', () => {
    const metadata = helloMetadata(good);
    metadata.set('x-more', 'y'.repeat(METADATA_BYTES_MAX));
    expect(readHello(metadata)).toBeUndefined();
    const repeated = helloMetadata(good);
    for (let count = 0; count < METADATA_BYTES_MAX / 64; count += 1) repeated.add('x-more', 'y'.repeat(64));
    expect(readHello(repeated)).toBeUndefined();
    const verdict = judgeHello(undefined, identity, '10.0.0.2');
    expect(verdict).toMatchObject({ kind: 'refused', reason: expect.stringContaining('metadata') as string });
  });

  test('what a stranger calls itself cannot break the log line', () => {
    expect(reasonFor({ from: `x\n${'y'.repeat(100)}` })).not.toContain('\n');
    expect(reasonFor({ from: 'y'.repeat(1000) }).length).toBeLessThan(300);
  });
});

describe('a peer that was founded with other peers', () => {
  const elsewhere = { founders: ['a', 'b', 'c', 'd'] };

  test('is refused, member or not, and told what to do', () => {
    const told =
      /founded with the peers "a", "b", "c", "d", "a" with "a", "b", "c"; .* delete the folder "raft" .*"join: true"/;
    expect(reasonFor(elsewhere)).toMatch(told);
    expect(reasonFor({ ...elsewhere, from: 'd' })).toMatch(told);
    expect(judgeHello({ ...good, ...elsewhere }, identity, '10.0.0.2')).toMatchObject({
      isFoundedElsewhere: true,
    });
  });

  test('is taken where one of the two does not know its founders, as a peer that joins', () => {
    expect(reasonFor({ founders: [] })).toBe('accepted');
    expect(reasonFor(elsewhere, { founders: [] })).toBe('accepted');
    expect(reasonFor({ ...elsewhere, incarnation: 1 })).toMatch(/recovered without it/);
  });

  test('cannot break the log line, nor the metadata', () => {
    expect(reasonFor({ founders: ['x\n'] })).not.toContain('\n');
    expect(readHello(helloMetadata({ ...good, founders: [] }))).toStrictEqual({ ...good, founders: [] });
  });
});

describe('a replaced disk', () => {
  test('under a known name is refused until the peer is removed and added again', () => {
    expect(reasonFor({ store: 'another' })).toMatch(
      /its disk was replaced: its store is "another", that of peer "b" is "store-b", .* sentinelctl peer remove b, then sentinelctl peer add b 10.0.0.2:7432/,
    );
    expect(reasonFor({ store: 'another', incarnation: 0 })).toMatch(/its disk was replaced/);
  });

  test('a store that has not registered yet is taken', () => {
    expect(reasonFor({ from: 'c', store: 'any' })).toBe('accepted');
  });
});

describe('incarnations', () => {
  test('an earlier one is refused, and told to come back as a new peer', () => {
    expect(reasonFor({ incarnation: 1 })).toMatch(
      /incarnation 1 of the cluster, "a" to incarnation 2: .* recovered without it; .*peer add b 10.0.0.2:7432/,
    );
    // Also where it is no member any more, which says less.
    expect(reasonFor({ incarnation: 1, from: 'z' })).toMatch(/recovered without it/);
  });

  test('a later one is refused too, and the daemon can tell', () => {
    expect(judgeHello({ ...good, incarnation: 3 }, identity, '10.0.0.2')).toMatchObject({
      kind: 'ahead',
      from: 'b',
      incarnation: 3,
      reason: expect.stringMatching(/recovered without "a"; .*peer add a HOST:PORT/) as string,
    });
    expect(readRefuser(refuserMetadata(identity))).toEqual({ cluster: 'shop', from: 'a', incarnation: 2 });
  });

  test('a joining member is accepted; a joining stranger has to be added first', () => {
    expect(reasonFor({ from: 'c', incarnation: 0, membershipIndex: 0 })).toBe('accepted');
    expect(reasonFor({ from: 'z', incarnation: 0, membershipIndex: 0 })).toMatch(/peer add z/);
  });

  test('a peer that joins listens to every peer of its cluster, and to no other', () => {
    const joiner = { incarnation: 0, membershipIndex: 0, members: new Set<never>(), storeIds: new Map() };
    expect(reasonFor({}, joiner)).toBe('accepted');
    expect(reasonFor({ incarnation: 7, from: 'z' }, joiner)).toBe('accepted');
    expect(reasonFor({ cluster: 'other' }, joiner)).toMatch(/belongs to cluster/);
    expect(reasonFor({ to: 'c' }, joiner)).toMatch(/meant to reach/);
  });
});

describe('a membership newer than ours', () => {
  test('is a reason to listen to a peer that joined while we were away, or was given a new disk', () => {
    expect(reasonFor({ from: 'z', membershipIndex: 51 })).toBe('accepted');
    expect(reasonFor({ store: 'another', membershipIndex: 51 })).toBe('accepted');
  });

  test('the same or an older one is none: that peer has left, or was never added', () => {
    expect(reasonFor({ from: 'z', membershipIndex: 50 })).toMatch(/does not know it/);
    expect(reasonFor({ from: 'z', membershipIndex: 49 })).toMatch(/does not know it/);
  });

  test('in the log of the caller, beyond what we know to be committed, is one too: it may not know more after a start', () => {
    expect(reasonFor({ from: 'z', logMembershipIndex: 56 })).toBe('accepted');
    expect(reasonFor({ from: 'z', logMembershipIndex: 55 })).toMatch(/does not know it/);
    expect(reasonFor({ from: 'z', logMembershipIndex: 56, incarnation: 1 })).toMatch(/recovered without it/);
    expect(reasonFor({ store: 'another', logMembershipIndex: 56 })).toMatch(/its disk was replaced/);
  });

  test('of another incarnation is none', () => {
    expect(reasonFor({ from: 'z', membershipIndex: 51, incarnation: 1 })).toMatch(/recovered without it/);
  });
});
