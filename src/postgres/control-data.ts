// Reads global/pg_control directly: faster than pg_controldata, and there for packages that lack it. Layouts of
// PostgreSQL 14 to 18 (src/include/catalog/pg_control.h), little-endian, its CRC verified. Never writes it.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { timeline, type Timeline } from '../base/ids.ts';
import { lsn, type Lsn } from '../base/lsn.ts';
import { delay } from '../base/clock.ts';
import { crc32c } from './crc32c.ts';

export type ControlState =
  | 'starting up'
  | 'shut down'
  | 'shut down in recovery'
  | 'shutting down'
  | 'in crash recovery'
  | 'in archive recovery'
  | 'in production';

const STATES: readonly ControlState[] = [
  'starting up',
  'shut down',
  'shut down in recovery',
  'shutting down',
  'in crash recovery',
  'in archive recovery',
  'in production',
];

export interface ControlData {
  /** Decimal, as PostgreSQL prints it: greater than 2^53. */
  readonly systemIdentifier: string;
  /** Of its system catalogs: another one for each major version, and for each of its betas. */
  readonly catalogVersion: number;
  readonly state: ControlState;
  /** Seconds since 1970, by the clock of its host: the last start, stop or checkpoint. */
  readonly writtenAtS: number;
  /** Start of the latest checkpoint record, and where its redo begins. */
  readonly checkpoint: Lsn;
  readonly checkpointRedo: Lsn;
  /** Timeline of the latest checkpoint: stale right after a promotion (seen); {@link minRecoveryTimeline} then tells. */
  readonly checkpointTimeline: Timeline;
  /** With its epoch: what the latest checkpoint says comes next. pg_upgrade begins a new database with that of the old one. */
  readonly nextTransactionId: bigint;
  readonly minRecoveryEnd: Lsn;
  /** Undefined where none is set. */
  readonly minRecoveryTimeline: Timeline | undefined;
  readonly backupEndRequired: boolean;
  readonly walSegmentBytes: number;
  readonly walBlockBytes: number;
  readonly checksums: boolean;
  readonly walLogHints: boolean;
  /** `wal_level` of the primary whose WAL this is, as far as that was replayed. */
  readonly isWalLogical: boolean;
  /** Settings that a standby must not have lower (DESIGN §8). */
  readonly maxConnections: number;
  readonly maxWorkerProcesses: number;
  readonly maxWalSenders: number;
  readonly maxPreparedTransactions: number;
  readonly maxLocksPerTransaction: number;
}

/** Of PostgreSQL that does not run: it ended by a shutdown, as a primary or as a standby, and has neither crashed nor was killed. */
export const isStoppedCleanly = ({ state }: Pick<ControlData, 'state'>): boolean =>
  state === 'shut down' || state === 'shut down in recovery';

/** How PostgreSQL that does not run has ended: as a standby, and not as one that takes writes. */
export const endedAsStandby = ({ state }: Pick<ControlData, 'state'>): boolean =>
  state === 'in archive recovery' || state === 'shut down in recovery';

/** 1300 is PostgreSQL 13 to 16, 1700 is 17, 1800 is 18; where the CRC stands. */
const CRC_OFFSET: Readonly<Record<number, number>> = { 1300: 288, 1700: 288, 1800: 292 };

/** Of PostgreSQL's enum WalLevel. */
const WAL_LEVEL_LOGICAL = 2;

const TRIES_MAX = 10;

/**
 * Reads pg_control of a running or stopped instance. A read that coincides with a write is tried again.
 * Throws when the file is missing, of an unknown version, or stays corrupt.
 */
export async function readControlData(dataDirectory: string): Promise<ControlData> {
  const path = join(dataDirectory, 'global', 'pg_control');
  for (let attempt = 1; ; attempt += 1) {
    const result = parseControlData(await readFile(path));
    if (result.kind === 'parsed') return result.control;
    if (attempt >= TRIES_MAX)
      throw new Error(
        `cannot use ${path}: ${result.reason}; the data directory is damaged or not PostgreSQL 14 to 18`,
      );
    await delay(5);
  }
}

export type ParsedControlData =
  | { readonly kind: 'parsed'; readonly control: ControlData }
  | { readonly kind: 'invalid'; readonly reason: string };

/** Reads the bytes of pg_control. */
export function parseControlData(bytes: Buffer): ParsedControlData {
  if (bytes.length < 296) return { kind: 'invalid', reason: `it has ${bytes.length} bytes` };
  const version = bytes.readUInt32LE(8);
  const crcOffset = CRC_OFFSET[version];
  if (crcOffset === undefined) return { kind: 'invalid', reason: `its format version is ${version}` };
  if (crc32c(bytes.subarray(0, crcOffset)) !== bytes.readUInt32LE(crcOffset))
    return { kind: 'invalid', reason: 'its checksum is wrong' };
  const state = STATES[bytes.readUInt32LE(16)];
  if (state === undefined) return { kind: 'invalid', reason: `its state is ${bytes.readUInt32LE(16)}` };
  const minRecoveryTimeline = bytes.readUInt32LE(144);
  return {
    kind: 'parsed',
    control: {
      systemIdentifier: bytes.readBigUInt64LE(0).toString(),
      catalogVersion: bytes.readUInt32LE(12),
      state,
      writtenAtS: Number(bytes.readBigInt64LE(24)),
      checkpoint: lsn(bytes.readBigUInt64LE(32)),
      checkpointRedo: lsn(bytes.readBigUInt64LE(40)),
      checkpointTimeline: timeline(bytes.readUInt32LE(48)),
      nextTransactionId: bytes.readBigUInt64LE(64),
      minRecoveryEnd: lsn(bytes.readBigUInt64LE(136)),
      minRecoveryTimeline: minRecoveryTimeline === 0 ? undefined : timeline(minRecoveryTimeline),
      backupEndRequired: bytes.readUInt8(168) !== 0,
      walLogHints: bytes.readUInt8(176) !== 0,
      isWalLogical: bytes.readInt32LE(172) === WAL_LEVEL_LOGICAL,
      maxConnections: bytes.readInt32LE(180),
      maxWorkerProcesses: bytes.readInt32LE(184),
      maxWalSenders: bytes.readInt32LE(188),
      maxPreparedTransactions: bytes.readInt32LE(192),
      maxLocksPerTransaction: bytes.readInt32LE(196),
      walSegmentBytes: bytes.readUInt32LE(228),
      walBlockBytes: bytes.readUInt32LE(224),
      checksums: bytes.readUInt32LE(252) !== 0,
    },
  };
}
