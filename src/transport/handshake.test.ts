// Who is let in: only a peer of this cluster, known by name, that means this one and speaks its version.
import { describe, expect, test } from 'vitest';
import { peerId } from '../base/ids.ts';
import {
  type Hello,
  helloMetadata,
  judgeHello,
  readHello,
  WIRE_VERSION,
  WIRE_VERSION_MIN,
} from './handshake.ts';
import { Metadata } from '@grpc/grpc-js';

const identity = { clusterId: 'shop', self: peerId('a'), peers: new Set([peerId('b'), peerId('c')]) };
const good: Hello = {
  cluster: 'shop',
  from: 'b',
  to: 'a',
  run: 'r1',
  wireVersion: WIRE_VERSION,
  wireVersionMin: WIRE_VERSION_MIN,
};

function reasonFor(hello: Hello): string {
  const verdict = judgeHello(hello, identity, '10.0.0.2');
  return verdict.kind === 'refused' ? verdict.reason : 'accepted';
}

describe('handshake', () => {
  test('a known peer that means us is accepted, through the metadata and back', () => {
    expect(judgeHello(readHello(helloMetadata(good)), identity, '10.0.0.2')).toEqual({
      kind: 'accepted',
      from: 'b',
      run: 'r1',
    });
  });

  test('everybody else is refused with the reason and what to do', () => {
    expect(reasonFor({ ...good, cluster: 'other' })).toMatch(
      /belongs to cluster "other", this is cluster "shop"/,
    );
    expect(reasonFor({ ...good, from: 'a' })).toMatch(/the name of this peer itself/);
    expect(reasonFor({ ...good, from: 'z' })).toMatch(/"a" does not know it, only b, c; add it/);
    expect(reasonFor({ ...good, to: 'c' })).toMatch(/meant to reach "c", but this is "a"/);
  });

  test('a caller that says nothing about itself is refused', () => {
    expect(reasonFor(readHello(new Metadata()))).toMatch(/belongs to cluster ""/);
  });

  test('versions that overlap are accepted, others name the one to upgrade', () => {
    const next = WIRE_VERSION + 1;
    expect(reasonFor({ ...good, wireVersion: next })).toBe('accepted');
    expect(reasonFor({ ...good, wireVersion: next, wireVersionMin: next })).toMatch(/upgrade the older one/);
    expect(reasonFor({ ...good, wireVersion: WIRE_VERSION_MIN - 1, wireVersionMin: 0 })).toMatch(/upgrade/);
    expect(reasonFor({ ...good, wireVersion: Number.NaN })).toMatch(/upgrade/);
  });

  test('what a stranger calls itself cannot break the log line', () => {
    expect(reasonFor({ ...good, from: `x\n${'y'.repeat(100)}` })).not.toContain('\n');
    expect(reasonFor({ ...good, from: 'y'.repeat(1000) }).length).toBeLessThan(300);
  });
});
