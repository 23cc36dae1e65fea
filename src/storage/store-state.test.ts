import { describe, expect, test } from 'vitest';
import { logIndex, term } from '../base/ids.ts';
import { CHAIN_START } from './entry-codec.ts';
import { assertHardStateFollows, decodeStoreState, encodeStoreState, foreignFormat } from './store-state.ts';
import type { StoreState } from './store-state.ts';
import { hardState, SELF } from './testing/stores.ts';

const state: StoreState = {
  sequence: 9,
  clusterId: 'blue',
  self: SELF,
  storeId: '0123456789abcdef',
  base: { index: logIndex(11), term: term(2), hash: Buffer.alloc(32, 8) },
  snapshot: { index: logIndex(13), term: term(3), hash: Buffer.alloc(32, 9) },
  hardState: hardState(4, 'p2'),
  lastIndex: logIndex(17),
  chainHead: Buffer.alloc(32, 7),
};

describe('the record of a write', () => {
  test('comes back as it was, with and without a vote or snapshot, also from a longer slot', () => {
    const unvoted = { ...state, hardState: hardState(4), chainHead: CHAIN_START };
    const young = {
      ...state,
      base: { index: logIndex(0), term: term(0), hash: CHAIN_START },
      snapshot: undefined,
    };
    for (const each of [state, unvoted, young]) {
      expect(decodeStoreState(Buffer.concat([encodeStoreState(each), Buffer.alloc(100)]))).toEqual(each);
    }
  });

  test('is refused after a change of any byte, and when cut short', () => {
    const bytes = encodeStoreState(state);
    for (let at = 0; at < bytes.length; at += 1) {
      const changed = Buffer.from(bytes);
      changed.writeUInt8(changed.readUInt8(at) ^ 0x10, at);
      expect(decodeStoreState(changed)).toBeUndefined();
      expect(decodeStoreState(bytes.subarray(0, at))).toBeUndefined();
    }
  });
});

describe('the format of a record', () => {
  test('is named where it is another than ours, and only then', () => {
    const bytes = encodeStoreState(state);
    expect(foreignFormat(bytes)).toBeUndefined();
    expect(foreignFormat(Buffer.alloc(200))).toBeUndefined();
    bytes.write('PGSRAFT1', 'latin1');
    expect(foreignFormat(bytes)).toBe('PGSRAFT1');
    expect(decodeStoreState(bytes)).toBeUndefined();
  });
});

describe('a hard state', () => {
  test.each([
    ['a new term', hardState(1, 'p1'), hardState(2)],
    ['a first vote', hardState(2), hardState(2, 'p3')],
    ['the same again', hardState(2, 'p3'), hardState(2, 'p3')],
  ])('may be followed by %s', (_, before, after) => {
    expect(() => assertHardStateFollows(before, after)).not.toThrow();
  });

  test.each([
    ['an earlier term', hardState(2), hardState(1)],
    ['another vote in its term', hardState(2, 'p1'), hardState(2, 'p2')],
    ['no vote in its term', hardState(2, 'p1'), hardState(2)],
  ])('may not be followed by %s', (_, before, after) => {
    expect(() => assertHardStateFollows(before, after)).toThrow(/refused to write/);
  });
});
