// Unpacks the tar streams that PostgreSQL sends in a base backup (src/port/tar.c: ustar, names up to 100 bytes, no
// extensions). Writes below its root only; flushes nothing: the caller flushes the whole tree at the end.
import { lchown, mkdir, open, symlink, type FileHandle } from 'node:fs/promises';
import { dirname, join, normalize } from 'node:path';
import { giveTo, type OsUser } from './os-user.ts';

const BLOCK_BYTES = 512;

export interface TarHeader {
  readonly name: string;
  readonly mode: number;
  readonly size: number;
  readonly type: 'file' | 'directory' | 'symlink';
  readonly linkTarget: string;
}

/** Reads one header block; `end` for a block of zeros. Throws when its checksum is wrong or its kind unknown. */
export function parseTarHeader(block: Buffer): TarHeader | 'end' {
  if (block.every((byte) => byte === 0)) return 'end';
  let sum = 0;
  for (let index = 0; index < BLOCK_BYTES; index += 1)
    sum += index >= 148 && index < 156 ? 0x20 : (block[index] ?? 0);
  const name = readText(block, 0, 100);
  if (readNumber(block, 148, 8) !== sum)
    throw new Error(`the base backup's tar header for "${name}" is damaged`);
  const kind = String.fromCharCode(block[156] ?? 0);
  const type = { '0': 'file', '\0': 'file', '2': 'symlink', '5': 'directory' }[kind] as
    TarHeader['type'] | undefined;
  if (type === undefined) throw new Error(`the base backup's tar holds "${name}" of unknown kind "${kind}"`);
  return {
    name,
    mode: readNumber(block, 100, 8) & 0o777,
    size: readNumber(block, 124, 12),
    type,
    linkTarget: readText(block, 157, 100),
  };
}

export interface TarExtraction {
  /** Takes the next bytes; resolves when they are written. One call at a time. */
  write(chunk: Buffer): Promise<void>;
  /** Throws when the stream ended within an entry. */
  end(): Promise<void>;
  /** Closes what is open; after a failure. */
  abandon(): Promise<void>;
}

/** Unpacks one tar stream into `root`, which exists. */
export function extractTar(options: {
  readonly root: string;
  readonly user: OsUser;
  /** Where a symbolic link is to lead instead. */
  readonly linkTo?: (target: string) => string;
}): TarExtraction {
  const { root, user } = options;
  const header = Buffer.alloc(BLOCK_BYTES);
  let headerBytes = 0;
  let file: FileHandle | undefined;
  let dataLeft = 0;
  let paddingLeft = 0;
  let ended = false;

  const closeFile = async (): Promise<void> => {
    const closing = file;
    file = undefined;
    await closing?.close();
  };

  const begin = async (): Promise<void> => {
    const entry = parseTarHeader(header);
    if (entry === 'end') {
      ended = true;
      return;
    }
    // A tablespace's link comes as the name of a directory.
    const path = within(root, entry.name.replace(/\/+$/, ''));
    if (entry.type === 'directory') {
      await mkdir(path, { recursive: true, mode: 0o700 });
      await giveTo(user, path);
    } else if (entry.type === 'symlink') {
      await symlink(options.linkTo?.(entry.linkTarget) ?? entry.linkTarget, path);
      if (user.owner !== undefined) await lchown(path, user.uid, user.gid);
    } else {
      file = await openFile(path, user);
      dataLeft = entry.size;
      paddingLeft = (BLOCK_BYTES - (entry.size % BLOCK_BYTES)) % BLOCK_BYTES;
      if (dataLeft === 0) await closeFile();
    }
  };

  return {
    async write(chunk) {
      let offset = 0;
      while (offset < chunk.length && !ended) {
        const available = chunk.length - offset;
        if (dataLeft > 0) {
          const length = Math.min(available, dataLeft);
          await file?.writeFile(chunk.subarray(offset, offset + length));
          offset += length;
          dataLeft -= length;
          if (dataLeft === 0) await closeFile();
        } else if (paddingLeft > 0) {
          const length = Math.min(available, paddingLeft);
          offset += length;
          paddingLeft -= length;
        } else {
          const length = Math.min(available, BLOCK_BYTES - headerBytes);
          chunk.copy(header, headerBytes, offset, offset + length);
          offset += length;
          headerBytes += length;
          if (headerBytes < BLOCK_BYTES) continue;
          headerBytes = 0;
          await begin();
        }
      }
    },
    async end() {
      await closeFile();
      if (dataLeft > 0 || headerBytes > 0)
        throw new Error(`the base backup ended within an entry: ${dataLeft} bytes are missing`);
    },
    abandon: closeFile,
  };
}

async function openFile(path: string, user: OsUser): Promise<FileHandle> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const file = await open(path, 'w', 0o600);
  try {
    if (user.owner !== undefined) await file.chown(user.uid, user.gid);
    return file;
  } catch (error) {
    await file.close();
    throw error;
  }
}

function within(root: string, name: string): string {
  const path = normalize(name);
  if (path.startsWith('/') || path.split('/').includes('..'))
    throw new Error(`the base backup holds "${name}", which lies outside the data directory`);
  return join(root, path);
}

function readText(block: Buffer, offset: number, length: number): string {
  const field = block.subarray(offset, offset + length);
  const end = field.indexOf(0);
  return field.subarray(0, end < 0 ? length : end).toString('utf8');
}

/** Octal digits, or base 256 (first bit set) where octal does not suffice. */
function readNumber(block: Buffer, offset: number, length: number): number {
  if (((block[offset] ?? 0) & 0x80) === 0)
    return Number.parseInt(readText(block, offset, length).trim() || '0', 8);
  let value = 0;
  for (let index = offset + 1; index < offset + length; index += 1) value = value * 256 + (block[index] ?? 0);
  return value;
}
