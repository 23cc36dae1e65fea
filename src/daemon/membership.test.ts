import { expect, test } from 'vitest';
import { peerId } from '../base/ids.ts';
import { addressOf, initialMembership, otherPeers } from './membership.ts';

const [A, B] = [peerId('a'), peerId('b')];
const config = {
  peer: A,
  peers: [
    { peer: B, host: 'fd00::2', port: 7432 },
    { peer: A, host: '10.0.0.1', port: 7432 },
  ],
};

test('a new cluster begins with all peers of the configuration, in the same order on every host', () => {
  expect(initialMembership({ ...config, isJoining: false })).toEqual({
    voters: ['a', 'b'],
    learners: [],
    addresses: new Map([
      ['a', '10.0.0.1:7432'],
      ['b', '[fd00::2]:7432'],
    ]),
    incarnation: 1,
  });
});

test('a peer that joins knows of nobody, and takes the addresses of its configuration until it is told', () => {
  const nobody = initialMembership({ ...config, isJoining: true });
  expect(nobody).toEqual({ voters: [], learners: [], addresses: new Map(), incarnation: 0 });
  expect(otherPeers(nobody, config)).toEqual([{ peer: 'b', host: 'fd00::2', port: 7432 }]);
  expect(addressOf(nobody, A, config)).toBe('10.0.0.1:7432');
});

test("the membership's addresses win over the configuration", () => {
  const moved = {
    voters: [A, B, peerId('c')],
    learners: [],
    addresses: new Map([
      [A, '10.0.0.1:1'],
      [B, '[fd00::9]:7432'],
      [peerId('c'), '10.0.0.3:7432'],
    ]),
    incarnation: 1,
  };
  expect(otherPeers(moved, config)).toEqual([
    { peer: 'b', host: 'fd00::9', port: 7432 },
    { peer: 'c', host: '10.0.0.3', port: 7432 },
  ]);
  expect(addressOf(moved, A, config)).toBe('10.0.0.1:1');
});
