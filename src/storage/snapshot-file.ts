// A snapshot as a file of its own beside LevelDB: it may have 100 MB, and LevelDB would copy it again and again. Written and
// read in pieces, so that the event loop goes on. Must never be named as in force before it is durable under its name, and
// never be handed out unless its bytes have the hash that was recorded for it.
//
//   magic 8 | index 8 | term 8 | bytes of membership 8 | bytes of data 8 | membership | data | SHA-256 of all before 32
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { open, readdir, rename, rm } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { logIndex, term } from '../base/ids.ts';
import type { LogIndex } from '../base/ids.ts';
import type { MembershipCodec, Snapshot } from '../raft/types.ts';
import { syncDirectory } from './directories.ts';
import { HASH_BYTES } from './entry-codec.ts';
import type { HashedPosition } from './store-state.ts';

const MAGIC = Buffer.from('PGSSNAP1', 'latin1');
const HEADER_BYTES = MAGIC.length + 4 * 8;
/** Hashed and written at a time: about a millisecond of the event loop. */
const PIECE_BYTES = 1 << 20;
/** Flushed at a time, so that the log's own flushes never queue behind a hundred megabytes. */
const FLUSH_BYTES = 4 << 20;
const NAME = /^snapshot-\d{16}(\.new)?$/;

export type SnapshotRead =
  | { readonly kind: 'snapshot'; readonly snapshot: Snapshot }
  | { readonly kind: 'damaged'; readonly reason: string };

export function snapshotFileName(index: LogIndex): string {
  return `snapshot-${String(index).padStart(16, '0')}`;
}

/** Writes `snapshot` to a file in `directory`. When it resolves, the file is durable under its name. */
export async function writeSnapshotFile(
  directory: string,
  snapshot: Snapshot,
  codec: MembershipCodec,
): Promise<HashedPosition> {
  const path = join(directory, snapshotFileName(snapshot.index));
  const unfinished = `${path}.new`;
  const membership = codec.encode(snapshot.membership);
  const header = Buffer.alloc(HEADER_BYTES);
  MAGIC.copy(header);
  const numbers = [snapshot.index, snapshot.term, membership.length, snapshot.data.length];
  for (const [position, number] of numbers.entries()) {
    header.writeBigUInt64BE(BigInt(number), MAGIC.length + 8 * position);
  }
  const hasher = createHash('sha256');
  const handle = await open(unfinished, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC, 0o600);
  let hash: Buffer;
  try {
    let unflushedBytes = 0;
    for (const piece of piecesOf(header, membership, snapshot.data)) {
      hasher.update(piece);
      await writeFully(handle, piece);
      unflushedBytes += piece.length;
      if (unflushedBytes < FLUSH_BYTES) continue;
      await handle.datasync();
      unflushedBytes = 0;
    }
    hash = hasher.digest();
    await writeFully(handle, hash);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(unfinished, path);
  await syncDirectory(directory);
  return { index: snapshot.index, term: snapshot.term, hash };
}

/** Reads the file of the snapshot that is recorded as `record`; `damaged` says what is wrong with it. */
export async function readSnapshotFile(
  directory: string,
  record: HashedPosition,
  codec: MembershipCodec,
): Promise<SnapshotRead> {
  const name = snapshotFileName(record.index);
  const damaged = (what: string): SnapshotRead => ({ kind: 'damaged', reason: `the file "${name}" ${what}` });
  const read = await readHashed(join(directory, name));
  if (read === undefined) return damaged('is missing');
  const { bytes, hash } = read;
  if (bytes.length < HEADER_BYTES + HASH_BYTES) return damaged(`has ${bytes.length} bytes only`);
  if (!bytes.subarray(-HASH_BYTES).equals(hash))
    return damaged(`(${bytes.length} bytes) is damaged: its checksum is wrong`);
  if (!hash.equals(record.hash)) return damaged('is not the one that was written last: it is an old copy');
  const [index, ofTerm, membershipBytes, dataBytes] = [0, 1, 2, 3].map((position) =>
    Number(bytes.readBigUInt64BE(MAGIC.length + 8 * position)),
  ) as [number, number, number, number];
  const isWhole = HEADER_BYTES + membershipBytes + dataBytes + HASH_BYTES === bytes.length;
  if (!isWhole || !bytes.subarray(0, MAGIC.length).equals(MAGIC) || index !== record.index) {
    return damaged(`has an unknown format: it begins with ${bytes.toString('hex', 0, HEADER_BYTES)}`);
  }
  const membership = bytes.subarray(HEADER_BYTES, HEADER_BYTES + membershipBytes);
  try {
    return {
      kind: 'snapshot',
      snapshot: {
        index: logIndex(index),
        term: term(ofTerm),
        membership: codec.decode(plain(membership)),
        data: plain(bytes.subarray(HEADER_BYTES + membershipBytes, -HASH_BYTES)),
      },
    };
  } catch (error) {
    return damaged(`holds a membership that cannot be read (${String(error)})`);
  }
}

/** Names of all snapshot files in `directory`, finished or not. */
export async function listSnapshotFiles(directory: string): Promise<readonly string[]> {
  return (await readdir(directory)).filter((name) => NAME.test(name)).toSorted();
}

/** Removes a file that no record names any more; it may be gone already. */
export async function removeSnapshotFile(directory: string, name: string): Promise<void> {
  await rm(join(directory, name), { force: true });
}

function* piecesOf(header: Uint8Array, membership: Uint8Array, data: Uint8Array): Generator<Uint8Array> {
  yield Buffer.concat([header, membership]);
  for (let offset = 0; offset < data.length; offset += PIECE_BYTES) {
    yield data.subarray(offset, offset + PIECE_BYTES);
  }
}

/** A full disk shows as a short write first, and as an error only when the rest is tried. */
async function writeFully(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let offset = 0; offset < bytes.length;) {
    const { bytesWritten } = await handle.write(bytes, offset, bytes.length - offset);
    if (bytesWritten === 0) throw new Error('nothing more could be written to the snapshot file: disk full?');
    offset += bytesWritten;
  }
}

/** The contents of a file, and the SHA-256 of all but its last 32 bytes; `undefined` where there is none. */
async function readHashed(
  path: string,
): Promise<{ readonly bytes: Buffer; readonly hash: Buffer } | undefined> {
  let handle: FileHandle;
  try {
    handle = await open(path, constants.O_RDONLY);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const bytes = Buffer.allocUnsafeSlow((await handle.stat()).size);
    const hashedBytes = Math.max(0, bytes.length - HASH_BYTES);
    const hasher = createHash('sha256');
    for (let offset = 0; offset < bytes.length;) {
      const { bytesRead } = await handle.read(
        bytes,
        offset,
        Math.min(PIECE_BYTES, bytes.length - offset),
        offset,
      );
      if (bytesRead === 0) return { bytes: bytes.subarray(0, offset), hash: hasher.digest() };
      hasher.update(bytes.subarray(offset, Math.min(offset + bytesRead, hashedBytes)));
      offset += bytesRead;
    }
    return { bytes, hash: hasher.digest() };
  } finally {
    await handle.close();
  }
}

/** The same bytes as a plain array: what goes to the core is no Buffer. */
function plain(bytes: Buffer): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}
