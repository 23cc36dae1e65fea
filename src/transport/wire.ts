// The little of protobuf's wire format that the frequent messages need: numbers below 2^53 as varints, and byte strings.
// Must never read or write beyond its bytes; a reader takes nothing on trust.
import { assert } from '../base/assert.ts';
import { DamagedMessage } from './damaged.ts';

const TWO_28 = 2 ** 28;

/** How many bytes `value` takes as a varint. */
export function varintBytes(value: number): number {
  let rest = value;
  let count = 1;
  while (rest >= 128) {
    rest = rest < TWO_28 ? rest >>> 7 : Math.floor(rest / 128);
    count += 1;
  }
  return count;
}

/** Writes into bytes whose number was worked out before. */
export class FrameWriter {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(size: number) {
    this.#bytes = Buffer.allocUnsafe(size);
  }

  /** Left out where `value` is 0, as everywhere in proto3. */
  numberField(field: number, value: number): void {
    if (value === 0) return;
    this.#varint(field << 3);
    this.#varint(value);
  }

  bytesField(field: number, bytes: Uint8Array): void {
    this.openField(field, bytes.length);
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  /** The head of a field whose `length` bytes are written next. */
  openField(field: number, length: number): void {
    this.#varint((field << 3) | 2);
    this.#varint(length);
  }

  finish(): Uint8Array {
    assert(this.#at === this.#bytes.length, `wrote ${this.#at} of ${this.#bytes.length} bytes`);
    return this.#bytes;
  }

  #varint(value: number): void {
    let rest = value;
    while (rest >= 128) {
      this.#bytes[this.#at++] = (rest % 128) | 128;
      rest = rest < TWO_28 ? rest >>> 7 : Math.floor(rest / 128);
    }
    this.#bytes[this.#at++] = rest;
  }
}

/** One field; `value` is undefined for a kind of value that is passed over (fixed width). */
export interface Field {
  readonly field: number;
  readonly value: number | Uint8Array | undefined;
}

/** Reads field by field. Every method throws {@link DamagedMessage} where the bytes end too early or make no sense. */
export class FrameReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  /** The next field. Byte strings are views of what was received: copy what is kept. */
  next(): Field {
    const tag = this.#varint();
    const field = Math.floor(tag / 8);
    switch (tag % 8) {
      case 0:
        return { field, value: this.#varint() };
      case 1:
        this.#take(8);
        return { field, value: undefined };
      case 2:
        return { field, value: this.#take(this.#varint()) };
      case 5:
        this.#take(4);
        return { field, value: undefined };
      default:
        throw new DamagedMessage(`field ${field} has the unknown wire type ${tag % 8}`);
    }
  }

  #take(length: number): Uint8Array {
    const end = this.#at + length;
    if (end > this.#bytes.length)
      throw new DamagedMessage(`a field of ${length} bytes reaches beyond the end of its message`);
    const taken = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return taken;
  }

  /** May return a number beyond 2^53, which is then not exact: the checking constructors refuse it. */
  #varint(): number {
    let value = 0;
    let factor = 1;
    for (let count = 0; count < 10; count += 1) {
      const byte = this.#bytes[this.#at];
      if (byte === undefined) throw new DamagedMessage('a number reaches beyond the end of its message');
      this.#at += 1;
      value += (byte & 127) * factor;
      if (byte < 128) return value;
      factor *= 128;
    }
    throw new DamagedMessage('a number has more than ten bytes');
  }
}
