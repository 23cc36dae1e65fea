// What a stopped node's WAL says about transactions that another history lacks: which rows they changed, and that they were
// committed. Understands heap and transaction records (src/include/access/heapam_xlog.h, xact.h) of PostgreSQL 14 to 18. Only reads.
import type { Lsn } from '../base/lsn.ts';

/** Which file of which database: `spcOid/dbOid/relNumber`, as PostgreSQL names relations in WAL. */
export interface RelationFile {
  readonly tablespace: number;
  readonly database: number;
  readonly file: number;
}

/** Where a row version stands in its table: `ctid`. */
export interface RowPlace {
  readonly block: number;
  readonly offset: number;
}

export interface RowChange {
  readonly lsn: Lsn;
  /** The transaction or subtransaction that made it. */
  readonly xid: number;
  readonly kind: 'insert' | 'update' | 'delete';
  readonly relation: RelationFile;
  /** The version that it made; undefined for a delete. */
  readonly newPlace: RowPlace | undefined;
  /** The version that it ended; undefined for an insert. */
  readonly oldPlace: RowPlace | undefined;
}

export type WalEvent =
  | { readonly kind: 'changes'; readonly changes: readonly RowChange[] }
  /** An insertion that its own transaction took back at once (INSERT ... ON CONFLICT). */
  | {
      readonly kind: 'withdrawn';
      readonly xid: number;
      readonly relation: RelationFile;
      readonly place: RowPlace;
    }
  | {
      readonly kind: 'commit';
      /** The transaction with all its subtransactions. */
      readonly xids: readonly number[];
      readonly top: number;
      readonly committedAtMs: number;
    }
  | { readonly kind: 'abort'; readonly xids: readonly number[] }
  | {
      readonly kind: 'prepare';
      readonly xids: readonly number[];
      readonly top: number;
      readonly name: string;
      readonly preparedAtMs: number;
    }
  /** Every transaction that began later has at least this id. */
  | { readonly kind: 'running'; readonly nextXid: number };

const XACT = 1;
const STANDBY = 8;
const HEAP2 = 9;
const HEAP = 10;

/** What a whole record (its checksum verified) tells; undefined for all that has nothing to do with rows. */
export function readWalEvent(record: Buffer, lsn: Lsn, version: number): WalEvent | undefined {
  const manager = record.readUInt8(17);
  if (manager !== XACT && manager !== STANDBY && manager !== HEAP && manager !== HEAP2) return undefined;
  const info = record.readUInt8(16);
  const xid = record.readUInt32LE(4);
  const { blocks, main } = parseRecord(record, version);
  switch (manager) {
    case XACT:
      return transactionEvent(main, info, xid, version);
    case STANDBY:
      return (info & 0xf0) === 0x10 ? { kind: 'running', nextXid: main.readUInt32LE(12) } : undefined;
    case HEAP:
      return heapEvent({ main, blocks, info, xid, lsn });
    default:
      return (info & 0x70) === 0x50 ? multiInsertEvent({ main, blocks, info, xid, lsn }) : undefined;
  }
}

interface Block {
  readonly id: number;
  readonly relation: RelationFile;
  readonly block: number;
}

const HEADER_BYTES = 24;
const BLOCK_ID_MAX = 32;
const DATA_SHORT = 255;
const DATA_LONG = 254;
const ORIGIN = 253;
const TOP_LEVEL_XID = 252;

/** src/backend/access/transam/xlogreader.c, DecodeXLogRecord: headers of all blocks, then their data, then the record's own. */
function parseRecord(record: Buffer, version: number): { blocks: readonly Block[]; main: Buffer } {
  const blocks: Block[] = [];
  let relation: RelationFile | undefined;
  let at = HEADER_BYTES;
  let mainBytes = 0;
  let dataBytes = 0;
  while (record.length - at > dataBytes) {
    const id = record.readUInt8(at);
    at += 1;
    if (id === DATA_SHORT || id === DATA_LONG) {
      mainBytes = id === DATA_SHORT ? record.readUInt8(at) : record.readUInt32LE(at);
      at += id === DATA_SHORT ? 1 : 4;
      break;
    }
    if (id === ORIGIN) at += 2;
    else if (id === TOP_LEVEL_XID) at += 4;
    else if (id <= BLOCK_ID_MAX) {
      const flags = record.readUInt8(at);
      dataBytes += record.readUInt16LE(at + 1);
      at += 3;
      if ((flags & 0x10) !== 0) {
        const image = readImageHeader(record, at, version);
        dataBytes += image.imageBytes;
        at = image.end;
      }
      if ((flags & 0x80) === 0) {
        relation = {
          tablespace: record.readUInt32LE(at),
          database: record.readUInt32LE(at + 4),
          file: record.readUInt32LE(at + 8),
        };
        at += 12;
      }
      if (relation === undefined) throw new Error(`a WAL record names no relation for block ${id}`);
      blocks.push({ id, relation, block: record.readUInt32LE(at) });
      at += 4;
    } else throw new Error(`a WAL record holds a part of unknown kind ${id}`);
  }
  return { blocks, main: record.subarray(record.length - mainBytes) };
}

/** The header of a full-page image; 15 and later have a flag for each way of compressing. */
function readImageHeader(record: Buffer, at: number, version: number): { imageBytes: number; end: number } {
  const flags = record.readUInt8(at + 4);
  const compressed = version >= 15 ? 0x1c : 0x02;
  const hasHoleLength = (flags & 0x01) !== 0 && (flags & compressed) !== 0;
  return { imageBytes: record.readUInt16LE(at), end: at + 5 + (hasHoleLength ? 2 : 0) };
}

interface HeapRecord {
  readonly main: Buffer;
  readonly blocks: readonly Block[];
  readonly info: number;
  readonly xid: number;
  readonly lsn: Lsn;
}

const DELETE_WITHDRAWS = 0x08;

function heapEvent({ main, blocks, info, xid, lsn }: HeapRecord): WalEvent | undefined {
  const [target] = blocks;
  if (target === undefined) return undefined;
  const { relation } = target;
  const change = (
    kind: RowChange['kind'],
    newPlace: RowPlace | undefined,
    oldPlace: RowPlace | undefined,
  ): WalEvent => ({ kind: 'changes', changes: [{ lsn, xid, kind, relation, newPlace, oldPlace }] });
  switch (info & 0x70) {
    case 0x00:
      return change('insert', { block: target.block, offset: main.readUInt16LE(0) }, undefined);
    case 0x10: {
      const place = { block: target.block, offset: main.readUInt16LE(4) };
      return (main.readUInt8(7) & DELETE_WITHDRAWS) === 0
        ? change('delete', undefined, place)
        : { kind: 'withdrawn', xid, relation, place };
    }
    // An update, on another page or on the same one (HOT).
    case 0x20:
    case 0x40: {
      const old = blocks.find((block) => block.id === 1) ?? target;
      return change(
        'update',
        { block: target.block, offset: main.readUInt16LE(12) },
        { block: old.block, offset: main.readUInt16LE(4) },
      );
    }
    default:
      return undefined;
  }
}

const INIT_PAGE = 0x80;

/** On a page that it initialises the rows stand at 1, 2, 3 and so on, and no offsets are written. */
function multiInsertEvent({ main, blocks, info, xid, lsn }: HeapRecord): WalEvent | undefined {
  const [target] = blocks;
  if (target === undefined) return undefined;
  const count = main.readUInt16LE(2);
  const changes = Array.from({ length: count }, (_, index): RowChange => {
    const offset = (info & INIT_PAGE) === 0 ? main.readUInt16LE(4 + 2 * index) : index + 1;
    return {
      lsn,
      xid,
      kind: 'insert',
      relation: target.relation,
      newPlace: { block: target.block, offset },
      oldPlace: undefined,
    };
  });
  return { kind: 'changes', changes };
}

function transactionEvent(main: Buffer, info: number, xid: number, version: number): WalEvent | undefined {
  switch (info & 0x70) {
    case 0x00:
    case 0x30: {
      const parsed = parseEnd(main, info, version);
      const top = parsed.prepared ?? xid;
      return {
        kind: 'commit',
        xids: [top, ...parsed.subtransactions],
        top,
        committedAtMs: parsed.atMs,
      };
    }
    case 0x10:
      return parsePrepare(main, version);
    case 0x20:
    case 0x40: {
      const parsed = parseEnd(main, info, version);
      return { kind: 'abort', xids: [parsed.prepared ?? xid, ...parsed.subtransactions] };
    }
    default:
      return undefined;
  }
}

/** PostgreSQL counts microseconds from 2000-01-01 UTC. */
const toUnixMs = (timestamp: bigint): number => Number(timestamp / 1000n) + Date.UTC(2000, 0, 1);

/** ParseCommitRecord and ParseAbortRecord (src/backend/access/rmgrdesc/xactdesc.c): optional parts, each announced by a bit. */
function parseEnd(
  main: Buffer,
  info: number,
  version: number,
): { atMs: number; subtransactions: number[]; prepared: number | undefined } {
  const atMs = toUnixMs(main.readBigInt64LE(0));
  if ((info & 0x80) === 0) return { atMs, subtransactions: [], prepared: undefined };
  const parts = main.readUInt32LE(8);
  let at = 12;
  const list = (itemBytes: number): number => {
    const count = main.readUInt32LE(at);
    const first = at + 4;
    at = first + count * itemBytes;
    return first;
  };
  if ((parts & 0x01) !== 0) at += 8;
  const subtransactions: number[] = [];
  if ((parts & 0x02) !== 0) {
    for (let each = list(4); each < at; each += 4) subtransactions.push(main.readUInt32LE(each));
  }
  if ((parts & 0x04) !== 0) list(12);
  if ((parts & 0x100) !== 0) list(version >= 18 ? 16 : 12);
  if ((parts & 0x08) !== 0) list(16);
  return { atMs, subtransactions, prepared: (parts & 0x10) === 0 ? undefined : main.readUInt32LE(at) };
}

/** src/include/access/xact.h, xl_xact_prepare: a header, the name of the transaction, its subtransactions. */
function parsePrepare(main: Buffer, version: number): WalEvent {
  const top = main.readUInt32LE(8);
  const counted = version >= 15 ? 8 : 0;
  const nameBytes = main.readUInt16LE(46 + counted);
  const headerBytes = 64 + counted;
  const subtransactionsAt = headerBytes + nameBytes + ((8 - (nameBytes % 8)) % 8);
  const subtransactions = Array.from({ length: main.readUInt32LE(28) }, (_, index) =>
    main.readUInt32LE(subtransactionsAt + 4 * index),
  );
  return {
    kind: 'prepare',
    top,
    xids: [top, ...subtransactions],
    name: main.toString('utf8', headerBytes, headerBytes + nameBytes - 1),
    preparedAtMs: toUnixMs(main.readBigInt64LE(16)),
  };
}
