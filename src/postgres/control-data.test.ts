import { expect, test } from 'vitest';
import { parseControlData } from './control-data.ts';
import { crc32c } from './crc32c.ts';

/** A pg_control with some fields set, for a format version. */
function control(version: number, crcOffset: number): Buffer {
  const bytes = Buffer.alloc(8192);
  bytes.writeBigUInt64LE(7_710_476_986_005_549_374n, 0);
  bytes.writeUInt32LE(version, 8);
  bytes.writeUInt32LE(202_209_061, 12);
  bytes.writeUInt32LE(6, 16);
  bytes.writeBigUInt64LE(0x1943190n, 32);
  bytes.writeUInt32LE(3, 48);
  bytes.writeUInt32LE(16 * 1024 * 1024, 228);
  bytes.writeUInt32LE(crc32c(bytes.subarray(0, crcOffset)), crcOffset);
  return bytes;
}

test('CRC-32C gives the known check value', () => {
  expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
  expect(crc32c(Buffer.from('1234'), Buffer.from('56789'))).toBe(0xe3069283);
});

test.each([
  [1300, 288],
  [1700, 288],
  [1800, 292],
])('format %d is read, with the checksum at %d', (version, crcOffset) => {
  const parsed = parseControlData(control(version, crcOffset));
  expect(parsed).toMatchObject({
    kind: 'parsed',
    control: {
      systemIdentifier: '7710476986005549374',
      catalogVersion: 202_209_061,
      state: 'in production',
      checkpointTimeline: 3,
      walSegmentBytes: 16 * 1024 * 1024,
    },
  });
});

test('a damaged, short or unknown file is not believed', () => {
  const damaged = control(1300, 288);
  damaged[40] = 1;
  expect(parseControlData(damaged)).toEqual({ kind: 'invalid', reason: 'its checksum is wrong' });
  expect(parseControlData(Buffer.alloc(10))).toEqual({ kind: 'invalid', reason: 'it has 10 bytes' });
  expect(parseControlData(control(1200, 288))).toEqual({
    kind: 'invalid',
    reason: 'its format version is 1200',
  });
});
