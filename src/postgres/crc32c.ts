// CRC-32C (Castagnoli), as PostgreSQL uses it for pg_control and WAL records (src/port/pg_crc32c_sb8.c).

const TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit += 1) value = (value & 1) === 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  return value >>> 0;
});

/** The checksum of some parts, one after the other, as an unsigned 32-bit number. */
export function crc32c(...parts: readonly Uint8Array[]): number {
  let crc = -1;
  for (const part of parts) {
    // By index: an iterator makes this five times slower.
    for (let index = 0; index < part.length; index += 1)
      crc = (TABLE[(crc ^ (part[index] ?? 0)) & 0xff] ?? 0) ^ (crc >>> 8);
  }
  return (crc ^ -1) >>> 0;
}
