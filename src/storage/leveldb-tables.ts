// Checks every block of every table in use before LevelDB reads them (table/format.cc of LevelDB). LevelDB as it is built
// for us does not compare these checksums, and a flipped bit in a table was seen to end the process in an assertion.
// Must never write, and never refuse a directory that a crash alone can leave behind.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readBytes, UnreadableError } from './byte-reader.ts';
import { maskedCrc32c } from './crc32c.ts';
import { liveTables } from './leveldb-manifest.ts';

const FOOTER_BYTES = 48;
const BLOCK_TRAILER_BYTES = 5;
const MAGIC = Buffer.from('57fb808b247547db', 'hex');

interface BlockHandle {
  readonly offset: number;
  readonly size: number;
}

/** What is wrong with a table in use, or `undefined`. */
export async function findDamagedTable(directory: string): Promise<string | undefined> {
  for (const number of (await liveTables(directory)) ?? []) {
    const name = `${String(number).padStart(6, '0')}.ldb`;
    let table: Buffer;
    try {
      table = await readFile(join(directory, name));
    } catch (error) {
      // LevelDB says clearly which file is missing.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue;
      throw error;
    }
    const damage = damageOfTable(table);
    if (damage !== undefined) return `the file log/${name} is damaged: ${damage}`;
  }
  return undefined;
}

export function damageOfTable(table: Buffer): string | undefined {
  try {
    if (table.length < FOOTER_BYTES) return `it has ${table.length} bytes only`;
    const footer = table.subarray(-FOOTER_BYTES);
    if (!footer.subarray(-MAGIC.length).equals(MAGIC)) return 'it does not end as a table does';
    const handles = readBytes(footer);
    const metaIndex = handleOf(handles);
    const index = handleOf(handles);
    for (const block of [metaIndex, index]) {
      for (const inner of handlesIn(checkedBlock(table, block))) checkedBlock(table, inner);
    }
    return undefined;
  } catch (error) {
    if (error instanceof UnreadableError) return error.message;
    throw error;
  }
}

/** The contents of a block whose checksum is right. */
function checkedBlock(table: Buffer, { offset, size }: BlockHandle): Buffer {
  if (offset + size + BLOCK_TRAILER_BYTES > table.length)
    throw new UnreadableError(`a block at ${offset} lies outside of it`);
  const withType = table.subarray(offset, offset + size + 1);
  if (maskedCrc32c(withType) !== table.readUInt32LE(offset + size + 1)) {
    throw new UnreadableError(`the checksum of the block at ${offset} is wrong`);
  }
  return table.subarray(offset, offset + size);
}

/** The blocks that an index block names: its entries' values (table/block_builder.cc). We write tables uncompressed. */
function handlesIn(block: Buffer): BlockHandle[] {
  const restartCount = block.length < 4 ? 0 : block.readUInt32LE(block.length - 4);
  const entriesEnd = block.length - 4 * (restartCount + 1);
  if (entriesEnd < 0) throw new UnreadableError('an index block is too short');
  const reader = readBytes(block.subarray(0, entriesEnd));
  const handles: BlockHandle[] = [];
  while (!reader.isAtEnd()) {
    reader.varint();
    const keyBytes = reader.varint();
    const valueBytes = reader.varint();
    reader.bytes(keyBytes);
    handles.push(handleOf(readBytes(reader.bytes(valueBytes))));
  }
  return handles;
}

function handleOf(reader: ReturnType<typeof readBytes>): BlockHandle {
  return { offset: reader.varint(), size: reader.varint() };
}
