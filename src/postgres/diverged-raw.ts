// The files of diverged writes in their directory: raw WAL segments where they could not be decoded, and how many files are kept.
import { constants } from 'node:fs';
import { open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { formatLsn, lsn, type Lsn } from '../base/lsn.ts';
import { freeBytes } from './clone-room.ts';
import { readControlData } from './control-data.ts';
import { fsyncTree } from './durable-files.ts';
import type { OsUser } from './os-user.ts';
import { segmentSuffix } from './timelines.ts';
import { copyAsUser } from './user-files.ts';

const RAW_BYTES_MAX = 1 << 30;
const FILES_KEPT = 10;
const COPY_TIMEOUT_MS = 600_000;

/**
 * Copies the WAL segments that hold `from` and what comes after it, with the history files, to the directory `name`; at most 1 GiB. Returns
 * its path, and which WAL is missing between the segments or before the first. Throws when there is too little room, or no such segment.
 */
export async function saveRawWal(options: {
  readonly dataDirectory: string;
  readonly directory: string;
  readonly name: string;
  readonly from: Lsn;
  readonly user: OsUser;
  readonly signal: AbortSignal;
}): Promise<{ readonly directory: string; readonly gaps: readonly string[] }> {
  const { dataDirectory, directory, from, user } = options;
  const { walSegmentBytes } = await readControlData(dataDirectory);
  const source = join(dataDirectory, 'pg_wal');
  const first = segmentSuffix(lsn(from + 1n), walSegmentBytes);
  const segments: string[] = [];
  for (const name of (await readdir(source)).toSorted()) {
    const isSegment = /^[0-9A-F]{24}$/.test(name) && name.slice(8) >= first;
    if (isSegment && (await isWritten(join(source, name), name, walSegmentBytes))) segments.push(name);
  }
  if (segments.length === 0)
    throw new Error(`no WAL segment in ${source} holds ${formatLsn(from)} or anything after it`);
  const kept = segments.slice(0, Math.max(1, Math.floor(RAW_BYTES_MAX / walSegmentBytes)));
  const neededBytes = kept.length * walSegmentBytes;
  if ((await freeBytes(directory)) < 2 * neededBytes)
    throw new Error(`too little room in ${directory} for ${kept.length} WAL segments`);
  const target = join(directory, options.name);
  const fresh = `${target}.new`;
  const histories = (await readdir(source)).filter((name) => /^[0-9A-F]{8}\.history$/.test(name));
  const names = [...kept, ...histories];
  // With his rights: what is in his directory may be a link to what only root may read.
  await copyAsUser(user, { directory: source, names }, fresh, {
    timeoutMs: COPY_TIMEOUT_MS,
    signal: options.signal,
  });
  await fsyncTree(fresh);
  await rm(target, { recursive: true, force: true });
  await rename(fresh, target);
  return { directory: target, gaps: gapsIn(kept, from, walSegmentBytes) };
}

function gapsIn(names: readonly string[], from: Lsn, walSegmentBytes: number): string[] {
  const gaps: string[] = [];
  let expected: bigint = from;
  // By position: two timelines may have files for the same segment.
  for (const name of names.toSorted((a, b) => (a.slice(8) < b.slice(8) ? -1 : 1))) {
    const start = segmentStart(name, walSegmentBytes);
    if (start > expected)
      gaps.push(`the WAL from ${formatLsn(lsn(expected))} to ${formatLsn(lsn(start))} is missing there`);
    expected = start + BigInt(walSegmentBytes);
  }
  return gaps;
}

/** A segment that waits to be used again begins with a page of an older address. */
async function isWritten(path: string, name: string, walSegmentBytes: number): Promise<boolean> {
  // Not what a link of the user's leads to, nor a pipe, which would be waited for.
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const head = Buffer.alloc(16);
    const { bytesRead } = await file.read(head, 0, head.length, 0);
    return bytesRead === head.length && head.readBigUInt64LE(8) === segmentStart(name, walSegmentBytes);
  } finally {
    await file.close();
  }
}

function segmentStart(name: string, walSegmentBytes: number): bigint {
  const high = BigInt(Number.parseInt(name.slice(8, 16), 16));
  return (high << 32n) + BigInt(Number.parseInt(name.slice(16), 16)) * BigInt(walSegmentBytes);
}

/** Removes all but the ten newest of the files and directories of diverged writes. */
export async function keepLast(directory: string): Promise<void> {
  const names = (await readdir(directory)).filter((name) => /\.(jsonl|wal)$/.test(name));
  const aged = await Promise.all(
    names.map(async (name) => ({ name, atMs: (await stat(join(directory, name))).mtimeMs })),
  );
  for (const { name } of aged.toSorted((a, b) => b.atMs - a.atMs).slice(FILES_KEPT))
    await rm(join(directory, name), { recursive: true, force: true });
}
