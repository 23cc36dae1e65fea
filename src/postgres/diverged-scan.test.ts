import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { lsn } from '../base/lsn.ts';
import { crc32c } from './crc32c.ts';
import { scanDiverged } from './diverged-scan.ts';

const SEGMENT = 16n << 20n;

let dataDirectory: string;
afterEach(() => rm(dataDirectory, { recursive: true, force: true }));

/** What the scan calls a hole in a data directory that has a control file but no WAL. */
async function holeAt(
  from: bigint,
  control: { readonly checkpoint?: bigint; readonly minRecoveryEnd?: bigint },
): Promise<string | undefined> {
  dataDirectory = await mkdtemp(join(tmpdir(), 'pg-sentinel-scan-'));
  const bytes = Buffer.alloc(8192);
  bytes.writeUInt32LE(1300, 8);
  bytes.writeUInt32LE(1, 16);
  bytes.writeBigUInt64LE(control.checkpoint ?? 0n, 32);
  bytes.writeUInt32LE(1, 48);
  bytes.writeBigUInt64LE(control.minRecoveryEnd ?? 0n, 136);
  bytes.writeUInt32LE(8192, 224);
  bytes.writeUInt32LE(Number(SEGMENT), 228);
  bytes.writeUInt32LE(crc32c(bytes.subarray(0, 288)), 288);
  await mkdir(join(dataDirectory, 'global'));
  await mkdir(join(dataDirectory, 'pg_wal'));
  await writeFile(join(dataDirectory, 'global', 'pg_control'), bytes);
  const { hole, gaps } = await scanDiverged({
    dataDirectory,
    from: lsn(from),
    version: 15,
    limits: { walBytesMax: 1 << 30, lookBackBytesMax: 1 << 29, changesMax: 10 },
    signal: AbortSignal.timeout(10_000),
  });
  expect(gaps).toEqual(hole === undefined ? [] : [hole]);
  return hole;
}

const IN_PAGE = 5n * SEGMENT + 0x1238n;
const SEGMENT_START = 5n * SEGMENT;
const PAGE_START = 5n * SEGMENT + 8192n;

test.each([
  ['a checkpoint that begins there', IN_PAGE, { checkpoint: IN_PAGE }],
  ['a checkpoint beyond it', IN_PAGE, { checkpoint: 7n * SEGMENT }],
  ['a checkpoint behind the header of its segment', SEGMENT_START, { checkpoint: SEGMENT_START + 40n }],
  ['replayed WAL beyond it', IN_PAGE, { checkpoint: SEGMENT, minRecoveryEnd: IN_PAGE + 8n }],
])('missing WAL is a hole where the control file knows of %s', async (_, from, control) => {
  expect(await holeAt(from, control)).toMatch(/^there is no valid WAL at 0\/5[0-9A-F]{6} in /);
});

test.each([
  ['a checkpoint before it', IN_PAGE, { checkpoint: IN_PAGE - 8n }],
  ['replayed WAL up to it', IN_PAGE, { checkpoint: SEGMENT, minRecoveryEnd: IN_PAGE }],
  ['no record behind the header of its segment', SEGMENT_START, { minRecoveryEnd: SEGMENT_START + 40n }],
  ['no record behind the header of its page', PAGE_START, { minRecoveryEnd: PAGE_START + 24n }],
])('missing WAL is no hole where the control file knows of %s', async (_, from, control) => {
  expect(await holeAt(from, control)).toBeUndefined();
});
