// Which table files belong to a LevelDB directory, read from its MANIFEST (db/version_edit.cc, db/log_format.h of LevelDB).
// Files that a crash left half-written are not among them. Must never be trusted where LevelDB is stricter: whatever cannot
// be read here is left to LevelDB, which checks its manifest itself and refuses a damaged one.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readBytes, UnreadableError } from './byte-reader.ts';
import { maskedCrc32c } from './crc32c.ts';

const BLOCK_BYTES = 32_768;
const RECORD_HEADER_BYTES = 7;

/** Numbers of the table files in use; `undefined` where the manifest is absent or not readable. */
export async function liveTables(directory: string): Promise<ReadonlySet<number> | undefined> {
  try {
    const current = await readFile(join(directory, 'CURRENT'), 'latin1');
    if (!/^MANIFEST-\d+\n$/.test(current)) return undefined;
    return tablesOf(await readFile(join(directory, current.trimEnd())));
  } catch (error) {
    if (error instanceof UnreadableError || (error as NodeJS.ErrnoException).code === 'ENOENT')
      return undefined;
    throw error;
  }
}

function tablesOf(manifest: Buffer): ReadonlySet<number> {
  const live = new Set<number>();
  for (const edit of recordsOf(manifest)) applyEdit(edit, live);
  return live;
}

/** Records of a LevelDB log, put together from their fragments. */
function* recordsOf(log: Buffer): Generator<Buffer> {
  const FULL = 1;
  const FIRST = 2;
  const LAST = 4;
  let fragments: Buffer[] = [];
  let offset = 0;
  while (offset + RECORD_HEADER_BYTES <= log.length) {
    const leftInBlock = BLOCK_BYTES - (offset % BLOCK_BYTES);
    if (leftInBlock < RECORD_HEADER_BYTES) {
      offset += leftInBlock;
      continue;
    }
    const length = log.readUInt16LE(offset + 4);
    const type = log.readUInt8(offset + 6);
    const data = log.subarray(offset + RECORD_HEADER_BYTES, offset + RECORD_HEADER_BYTES + length);
    const checked = log.subarray(offset + 6, offset + RECORD_HEADER_BYTES + length);
    if (data.length !== length || maskedCrc32c(checked) !== log.readUInt32LE(offset)) {
      throw new UnreadableError(`the record at ${offset} is damaged or cut short`);
    }
    if (type === FULL || type === FIRST) fragments = [];
    fragments.push(data);
    if (type === FULL || type === LAST) yield Buffer.concat(fragments);
    offset += RECORD_HEADER_BYTES + length;
  }
}

/** Carries out one `VersionEdit` as far as it is about table files. */
function applyEdit(edit: Buffer, live: Set<number>): void {
  const reader = readBytes(edit);
  while (!reader.isAtEnd()) {
    const tag = reader.varint();
    switch (tag) {
      case 1: // comparator
        reader.prefixed();
        break;
      case 2: // log number
      case 3: // next file number
      case 4: // last sequence
      case 9: // previous log number
        reader.varint();
        break;
      case 5: // compaction pointer: level, key
        reader.varint();
        reader.prefixed();
        break;
      case 6: // file removed: level, number
        reader.varint();
        live.delete(reader.varint());
        break;
      case 7: // file added: level, number, size, smallest and largest key
        reader.varint();
        live.add(reader.varint());
        reader.varint();
        reader.prefixed();
        reader.prefixed();
        break;
      default:
        throw new UnreadableError(`unknown tag ${tag}`);
    }
  }
}
