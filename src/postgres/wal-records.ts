// Reads WAL records from the segment files of a stopped node, as crash recovery does (src/backend/access/transam/xlogreader.c):
// page by page, each record with its checksum and its link to the one before. Only reads.
import { open, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import type { Timeline } from '../base/ids.ts';
import { lsn, type Lsn } from '../base/lsn.ts';
import { crc32c } from './crc32c.ts';
import { segmentSuffix, type HistoryEntry } from './timelines.ts';

const SHORT_HEADER_BYTES = 24;
const LONG_HEADER_BYTES = 40;
const RECORD_HEADER_BYTES = 24;
const FIRST_IS_CONTRECORD = 0x1;
const LONG_HEADER = 0x2;
const FIRST_IS_OVERWRITE_CONTRECORD = 0x8;
/** Greater records cannot be (XLogRecordMaxSize). */
const RECORD_BYTES_MAX = 1020 * 1024 * 1024;

interface Page {
  readonly bytes: Buffer;
  readonly info: number;
  /** Bytes that the first record of the page still has from the page before. */
  readonly remaining: number;
  readonly headerBytes: number;
}

export interface Pages {
  readonly blockBytes: number;
  /** The page at an address, or undefined where there is no valid one. */
  read(address: bigint): Promise<Page | undefined>;
  close(): Promise<void>;
}

/**
 * Goes from record to record; every one must name the one before it and have a right checksum. Returns the end of the last valid
 * record; `onRecord` gets each of them (whole, as it stands in the WAL) and ends the scan before the one for which it says `stop`.
 */
export async function scanRecords(options: {
  readonly pages: Pages;
  /** Where a record begins, or ends. */
  readonly from: Lsn;
  readonly segmentBytes: bigint;
  readonly onRecord?: (record: Buffer, start: Lsn) => 'stop' | undefined;
  readonly signal: AbortSignal | undefined;
}): Promise<Lsn> {
  const { pages, segmentBytes } = options;
  const block = BigInt(pages.blockBytes);
  let position: bigint = options.from;
  let end: bigint = position;
  let previous: bigint | undefined;
  let pauseAt = position + PAUSE_BYTES;
  for (;;) {
    if (position >= pauseAt) {
      // Checksums take time: let the event loop turn.
      pauseAt = position + PAUSE_BYTES;
      await new Promise((resolve) => setImmediate(resolve));
      options.signal?.throwIfAborted();
    }
    // A record never begins within a page header.
    if (position % block === 0n) {
      const page = await pages.read(position);
      if (page === undefined) return lsn(end);
      position += BigInt(page.headerBytes);
    }
    const record = await readRecord(pages, position);
    if (record.kind === 'overwritten') {
      position = record.restart;
      continue;
    }
    if (record.kind === 'invalid' || (previous !== undefined && record.previous !== previous))
      return lsn(end);
    if (options.onRecord?.(record.bytes, lsn(position)) === 'stop') return lsn(end);
    previous = position;
    end = record.isSwitch ? (position / segmentBytes + 1n) * segmentBytes : record.end;
    position = end;
  }
}

const PAUSE_BYTES = 1024n * 1024n;

/** Where a record begins that follows what ends at `position`: behind the header where a page begins there. */
export function recordStart(
  position: Lsn,
  sizes: { readonly walSegmentBytes: number; readonly walBlockBytes: number },
): Lsn {
  if (position % BigInt(sizes.walSegmentBytes) === 0n) return lsn(position + BigInt(LONG_HEADER_BYTES));
  if (position % BigInt(sizes.walBlockBytes) === 0n) return lsn(position + BigInt(SHORT_HEADER_BYTES));
  return position;
}

/** Where the first record begins at or after the start of a page; undefined where no valid page tells. */
export async function firstRecordFrom(pages: Pages, pageStart: Lsn): Promise<Lsn | undefined> {
  const block = BigInt(pages.blockBytes);
  for (let address: bigint = pageStart; ; address += block) {
    const page = await pages.read(address);
    if (page === undefined) return undefined;
    const isContinued = (page.info & FIRST_IS_CONTRECORD) !== 0;
    const begin = BigInt(page.headerBytes) + (isContinued ? BigInt(page.remaining) : 0n);
    const aligned = begin + ((8n - (begin % 8n)) % 8n);
    if (aligned < block) return lsn(address + aligned);
    if (aligned === block) return lsn(address + block);
  }
}

type WalRecord =
  | {
      readonly kind: 'valid';
      readonly bytes: Buffer;
      readonly end: bigint;
      readonly previous: bigint;
      readonly isSwitch: boolean;
    }
  /** Its rest was given up by a crash recovery; reading goes on at `restart`. */
  | { readonly kind: 'overwritten'; readonly restart: bigint }
  | { readonly kind: 'invalid' };

const INVALID: WalRecord = { kind: 'invalid' };

async function readRecord(pages: Pages, start: bigint): Promise<WalRecord> {
  const block = BigInt(pages.blockBytes);
  let address = start - (start % block);
  let page = await pages.read(address);
  let offset = Number(start % block);
  if (page === undefined || offset < page.headerBytes) return INVALID;
  // Records begin at multiples of eight, so the length is never split.
  const length = page.bytes.readUInt32LE(offset);
  if (length < RECORD_HEADER_BYTES || length > RECORD_BYTES_MAX) return INVALID;
  const parts: Buffer[] = [];
  let missing = length;
  for (;;) {
    const part = page.bytes.subarray(offset, Math.min(offset + missing, pages.blockBytes));
    parts.push(part);
    missing -= part.length;
    if (missing === 0) {
      const end = address + BigInt(offset + part.length);
      return checkRecord(parts.length === 1 ? part : Buffer.concat(parts), end + ((8n - (end % 8n)) % 8n));
    }
    address += block;
    page = await pages.read(address);
    if (page === undefined) return INVALID;
    if ((page.info & FIRST_IS_OVERWRITE_CONTRECORD) !== 0)
      return { kind: 'overwritten', restart: address + BigInt(page.headerBytes) };
    if ((page.info & FIRST_IS_CONTRECORD) === 0 || page.remaining !== missing) return INVALID;
    offset = page.headerBytes;
  }
}

/** The checksum covers what follows the header, then the header up to the checksum itself. */
function checkRecord(record: Buffer, end: bigint): WalRecord {
  if (crc32c(record.subarray(RECORD_HEADER_BYTES), record.subarray(0, 20)) !== record.readUInt32LE(20))
    return INVALID;
  const isSwitch = record.readUInt8(17) === 0 && (record.readUInt8(16) & 0xf0) === 0x40;
  return { kind: 'valid', bytes: record, end, previous: record.readBigUInt64LE(8), isSwitch };
}

/** Reads pages from the segment files of the newest timeline that has them, one segment in memory at a time. */
export function openPages(options: {
  readonly dataDirectory: string;
  readonly newest: Timeline;
  readonly history: readonly HistoryEntry[];
  readonly walSegmentBytes: number;
  readonly walBlockBytes: number;
}): Pages {
  const segmentBytes = BigInt(options.walSegmentBytes);
  let segment: bigint | undefined;
  let file: FileHandle | undefined;
  let magic: number | undefined;
  let cached: { readonly address: bigint; readonly page: Page | undefined } | undefined;

  const openSegment = async (number: bigint): Promise<void> => {
    await file?.close();
    file = undefined;
    segment = number;
    const suffix = segmentSuffix(lsn(number * segmentBytes + 1n), options.walSegmentBytes);
    // A timeline's files begin with a copy of the segment in which it left its parent.
    for (const timeline of timelinesOf(options, number, segmentBytes)) {
      const name = `${timeline.toString(16).toUpperCase().padStart(8, '0')}${suffix}`;
      file = await openIfThere(join(options.dataDirectory, 'pg_wal', name));
      if (file !== undefined) return;
    }
  };

  return {
    blockBytes: options.walBlockBytes,
    async read(address) {
      if (cached?.address === address) return cached.page;
      if (segment !== address / segmentBytes) await openSegment(address / segmentBytes);
      const bytes = Buffer.alloc(options.walBlockBytes);
      const got = await file?.read(bytes, 0, bytes.length, Number(address % segmentBytes));
      const page = got?.bytesRead === bytes.length ? parsePage(bytes, address, magic) : undefined;
      if (page !== undefined) magic ??= bytes.readUInt16LE(0);
      cached = { address, page };
      return page;
    },
    async close() {
      await file?.close();
    },
  };
}

/** A file that is there and cannot be opened says nothing of where WAL ends. */
async function openIfThere(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** The timelines, newest first, that may have a file for the segment: those not begun after it. */
function timelinesOf(
  options: { newest: Timeline; history: readonly HistoryEntry[] },
  segment: bigint,
  segmentBytes: bigint,
): Timeline[] {
  const all = [...options.history.map((entry) => entry.timeline), options.newest];
  const beganAt = (index: number): bigint =>
    index === 0 ? 0n : (options.history[index - 1]?.switchLsn ?? 0n);
  return all.filter((_, index) => beganAt(index) / segmentBytes <= segment).toReversed();
}

function parsePage(bytes: Buffer, address: bigint, magic: number | undefined): Page | undefined {
  const info = bytes.readUInt16LE(2);
  // A recycled file holds pages of an older address.
  if (bytes.readBigUInt64LE(8) !== address || (magic !== undefined && bytes.readUInt16LE(0) !== magic))
    return undefined;
  const headerBytes = (info & LONG_HEADER) === 0 ? SHORT_HEADER_BYTES : LONG_HEADER_BYTES;
  return { bytes, info, remaining: bytes.readUInt32LE(16), headerBytes };
}
