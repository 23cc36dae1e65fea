// Reads LevelDB's varints and length-prefixed strings. Throws `UnreadableError` at the end of the bytes; must never read past it.

export class UnreadableError extends Error {
  override readonly name = 'UnreadableError';
}

export interface ByteReader {
  isAtEnd(): boolean;
  /** A whole number of up to 53 bits; more is taken for damage. */
  varint(): number;
  bytes(count: number): Buffer;
  /** A varint length and that many bytes. */
  prefixed(): Buffer;
}

export function readBytes(source: Buffer): ByteReader {
  let offset = 0;
  const bytes = (count: number): Buffer => {
    if (offset + count > source.length)
      throw new UnreadableError(`${count} bytes wanted at ${offset} of ${source.length}`);
    offset += count;
    return source.subarray(offset - count, offset);
  };
  const varint = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes(1).readUInt8(0);
      value += (byte & 0x7f) * scale;
      if (value > Number.MAX_SAFE_INTEGER) throw new UnreadableError(`the number at ${offset} is too large`);
      if (byte < 128) return value;
    }
  };
  return { isAtEnd: () => offset >= source.length, varint, bytes, prefixed: () => bytes(varint()) };
}
