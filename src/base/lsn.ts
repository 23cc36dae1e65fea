// PostgreSQL log sequence numbers (a byte position in the WAL), PostgreSQL documentation 8.20 "pg_lsn Type".
import type { Brand } from './ids.ts';
import { InvariantError } from './assert.ts';

/** Byte position in the WAL, 0 to 2^64 - 1. Compare with < and >. */
export type Lsn = Brand<bigint, 'Lsn'>;

export function lsn(value: bigint): Lsn {
  if (value < 0n || value > 0xffffffffffffffffn)
    throw new InvariantError(`LSN ${value} is outside 0 to 2^64 - 1`);
  return value as Lsn;
}

/** Reads `16/B374D848`; throws {@link InvariantError} for anything else. */
export function parseLsn(text: string): Lsn {
  const match = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/.exec(text);
  if (match === null)
    throw new InvariantError(`"${text}" is not an LSN: expected two hexadecimal numbers like 16/B374D848`);
  return lsn((BigInt(`0x${match[1]}`) << 32n) | BigInt(`0x${match[2]}`));
}

/** Prints as PostgreSQL does: `16/B374D848`. */
export function formatLsn(value: Lsn): string {
  return `${(value >> 32n).toString(16).toUpperCase()}/${(value & 0xffffffffn).toString(16).toUpperCase()}`;
}

/** `later - earlier` in bytes, as a number (exact up to 2^53). */
export function lagBytes(later: Lsn, earlier: Lsn): number {
  return Number(later - earlier);
}
