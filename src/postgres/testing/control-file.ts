// A pg_control for a data directory that no PostgreSQL has made. Never used outside tests.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32c } from '../crc32c.ts';

export const SHUT_DOWN = 1;
export const SHUT_DOWN_IN_RECOVERY = 2;
export const SHUTTING_DOWN = 3;
export const IN_CRASH_RECOVERY = 4;
export const IN_ARCHIVE_RECOVERY = 5;
export const IN_PRODUCTION = 6;

/** Of format 1300; `writtenAtS` is seconds since 1970. */
export async function writeControl(
  dataDirectory: string,
  state: number,
  segmentBytes = 0,
  {
    system = 1n,
    writtenAtS = 0,
    nextTransactionId = 0n,
    checkpoint = 0n,
    timeline = 1,
    catalogVersion = 202_209_061,
  }: {
    readonly system?: bigint;
    readonly writtenAtS?: number;
    readonly nextTransactionId?: bigint;
    readonly checkpoint?: bigint;
    readonly timeline?: number;
    /** Of PostgreSQL 15, where it is not given. */
    readonly catalogVersion?: number;
  } = {},
): Promise<void> {
  const bytes = Buffer.alloc(8192);
  bytes.writeBigUInt64LE(system, 0);
  bytes.writeUInt32LE(1300, 8);
  bytes.writeUInt32LE(catalogVersion, 12);
  bytes.writeUInt32LE(state, 16);
  bytes.writeBigInt64LE(BigInt(writtenAtS), 24);
  bytes.writeBigUInt64LE(checkpoint, 32);
  bytes.writeUInt32LE(timeline, 48);
  bytes.writeBigUInt64LE(nextTransactionId, 64);
  bytes.writeUInt32LE(segmentBytes, 228);
  bytes.writeUInt32LE(crc32c(bytes.subarray(0, 288)), 288);
  await mkdir(join(dataDirectory, 'global'), { recursive: true });
  await writeFile(join(dataDirectory, 'global', 'pg_control'), bytes);
}
