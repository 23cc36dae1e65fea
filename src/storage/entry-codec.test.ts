import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { logIndex, term } from '../base/ids.ts';
import type { Entry } from '../raft/types.ts';
import { CHAIN_START, decodeEntry, encodeEntry, HASH_BYTES } from './entry-codec.ts';

const anyEntry: fc.Arbitrary<Entry> = fc.record({
  index: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }).map(logIndex),
  term: fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }).map(term),
  kind: fc.constantFrom('command' as const, 'noop' as const, 'config' as const),
  data: fc.uint8Array({ maxLength: 300 }),
});
const anyHash = fc
  .uint8Array({ minLength: HASH_BYTES, maxLength: HASH_BYTES })
  .map((bytes) => Buffer.from(bytes));

describe('an encoded entry', () => {
  test('comes back as it was, with the hash of its predecessor and its own', () => {
    fc.assert(
      fc.property(anyEntry, anyHash, (entry, previousHash) => {
        const { bytes, hash } = encodeEntry(entry, previousHash);
        expect(decodeEntry(bytes, entry.index)).toEqual({ kind: 'entry', entry, previousHash, hash });
        expect(bytes.subarray(-HASH_BYTES)).toEqual(hash);
      }),
    );
  });

  test('is refused after any change of any byte, and when cut short', () => {
    fc.assert(
      fc.property(anyEntry, fc.nat(), fc.integer({ min: 1, max: 255 }), (entry, position, change) => {
        const { bytes } = encodeEntry(entry, CHAIN_START);
        const at = position % bytes.length;
        expect(decodeEntry(bytes.subarray(0, at), entry.index).kind).toBe('damaged');
        bytes.writeUInt8(bytes.readUInt8(at) ^ change, at);
        expect(decodeEntry(bytes, entry.index).kind).toBe('damaged');
      }),
    );
  });

  test('is refused in the place of another', () => {
    const { bytes } = encodeEntry(
      { index: logIndex(3), term: term(1), kind: 'noop', data: new Uint8Array() },
      CHAIN_START,
    );
    expect(decodeEntry(bytes, logIndex(4))).toEqual({
      kind: 'damaged',
      reason: 'entry 3 was found in the place of entry 4',
    });
  });
});
