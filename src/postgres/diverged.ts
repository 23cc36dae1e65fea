// Saves what a stopped node wrote beyond the point where the group's history left its own, before a rewind or a clone takes it away:
// one JSON line for each row, in a file for people (docs/rejoin.md). Must never hold a rejoin up for ever: what cannot be decoded is
// saved as raw WAL segments, and what cannot be saved is said.
import { randomBytes } from 'node:crypto';
import { readFile, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Epoch, NodeId } from '../base/ids.ts';
import { formatLsn, type Lsn, parseLsn } from '../base/lsn.ts';
import type { Binaries } from './binaries.ts';
import { divergedLines } from './diverged-lines.ts';
import { keepLast, saveRawWal } from './diverged-raw.ts';
import { type SingleUserOptions, readDatabases } from './diverged-rows.ts';
import { type DivergedScan, scanDiverged } from './diverged-scan.ts';
import { writeFileDurably } from './durable-files.ts';
import type { OsUser } from './os-user.ts';
import { makeDirectory } from './own-directories.ts';
import { removeAsUser } from './user-files.ts';

/** What bounds the work; the last line of each file repeats them. */
export const DIVERGED_LIMITS = {
  walBytesMax: 1 << 30,
  lookBackBytesMax: 1 << 29,
  changesMax: 100_000,
  fileBytesMax: 64 << 20,
  decodeMs: 60_000,
} as const;

export type DivergedLimits = { readonly [K in keyof typeof DIVERGED_LIMITS]: number };

export type DivergedOutcome =
  /** Beyond that point there are no transactions, or only our own heartbeats. */
  | { readonly kind: 'nothing' }
  /** An earlier attempt to rejoin has saved it already. */
  | { readonly kind: 'saved before' }
  | {
      readonly kind: 'saved';
      readonly file: string;
      readonly transactionCount: number;
      readonly rowCount: number;
      /** Why something may be missing in the file. */
      readonly gaps: readonly string[];
    }
  | { readonly kind: 'raw'; readonly directory: string; readonly reason: string }
  | { readonly kind: 'failed'; readonly reason: string };

export interface DivergedOptions {
  readonly binaries: Pick<Binaries, 'directory' | 'version'>;
  readonly user: OsUser;
  readonly dataDirectory: string;
  /** Where the files go; made where it is missing, closed to others. */
  readonly directory: string;
  readonly node: NodeId;
  readonly epoch: Epoch;
  /** Where the group's history left this node's. */
  readonly from: Lsn;
  /** For the crash recovery that a rewind would do as well. */
  readonly recoveryTimeoutMs: number;
  readonly limits?: DivergedLimits;
  readonly signal: AbortSignal;
}

/**
 * The data directory is stopped, and from now on fit only for a rewind or a clone. Throws nothing but the signal's reason when that
 * aborts; to be called again then.
 */
export async function saveDivergedWrites(options: DivergedOptions): Promise<DivergedOutcome> {
  const { signal, user, directory } = options;
  try {
    return await decode(options);
  } catch (error) {
    signal.throwIfAborted();
    const reason = (error as Error).message;
    try {
      await makeDirectory(user, directory);
      const { directory: saved, gaps } = await saveRawWal({
        ...options,
        name: `${options.node}-${options.epoch}.wal`,
      });
      await writeMark(options, { from: formatLsn(options.from), isSaved: true });
      await keepLast(directory);
      return { kind: 'raw', directory: saved, reason: [reason, ...gaps].join('; ') };
    } catch (rawError) {
      signal.throwIfAborted();
      return { kind: 'failed', reason: `${reason}; ${(rawError as Error).message}` };
    }
  }
}

async function decode(options: DivergedOptions): Promise<DivergedOutcome> {
  const { binaries, user, dataDirectory, directory, node, epoch, from } = options;
  const limits = options.limits ?? DIVERGED_LIMITS;
  const mark = await readMark(options);
  if (mark?.isSaved === true) return { kind: 'saved before' };
  const scanTime = AbortSignal.any([options.signal, AbortSignal.timeout(limits.decodeMs)]);
  const scan = await scanDiverged({
    dataDirectory,
    from,
    to: mark?.end,
    version: binaries.version,
    limits,
    signal: scanTime,
  });
  if (!scan.transactions.some((each) => each.end === 'prepared' || each.changes.length > 0))
    return nothingIn(scan);
  await makeDirectory(user, directory);
  const workDirectory = join(directory, `${WORK}${randomBytes(4).toString('hex')}`);
  await makeDirectory(user, workDirectory);
  try {
    // What single-user PostgreSQL itself writes comes after this.
    await writeMark(options, { from: formatLsn(from), end: formatLsn(scan.end), isSaved: false });
    const common = { binaries, user, dataDirectory, workDirectory };
    const databases = await readDatabases({
      ...common,
      timeoutMs: options.recoveryTimeoutMs,
      signal: options.signal,
    });
    const time = AbortSignal.any([options.signal, AbortSignal.timeout(limits.decodeMs)]);
    const reading: SingleUserOptions = { ...common, timeoutMs: limits.decodeMs, signal: time };
    const { lines, transactionCount, rowCount, gaps } = await divergedLines({
      scan,
      databases,
      reading,
      fileBytesMax: limits.fileBytesMax,
    });
    if (transactionCount === 0) {
      const nothing = nothingIn(scan);
      await writeMark(options, { from: formatLsn(from), isSaved: true });
      return nothing;
    }
    const file = join(directory, `${node}-${epoch}.jsonl`);
    const last = lastLine({ options, scan, limits, transactionCount, rowCount, gaps });
    await writeFileDurably({
      path: file,
      content: `${[...lines, last].join('\n')}\n`,
      mode: 0o600,
      owner: user.owner,
    });
    await writeMark(options, { from: formatLsn(from), isSaved: true });
    await keepLast(directory);
    return { kind: 'saved', file, transactionCount, rowCount, gaps };
  } finally {
    await rm(workDirectory, { recursive: true, force: true });
  }
}

const WORK = 'work-';

/** What a process that was killed while it saved has left. */
export async function removeWorkDirectories(user: OsUser, directory: string): Promise<void> {
  for (const name of await readdir(directory).catch(() => []))
    if (name.startsWith(WORK)) await removeAsUser(user, join(directory, name));
}

/** Throws where WAL is missing in which there may have been something: what is left of it is to be saved as it is. */
function nothingIn({ hole }: DivergedScan): DivergedOutcome {
  if (hole !== undefined) throw new Error(hole);
  return { kind: 'nothing' };
}

function lastLine(parts: {
  readonly options: DivergedOptions;
  readonly scan: DivergedScan;
  readonly limits: DivergedLimits;
  readonly transactionCount: number;
  readonly rowCount: number;
  readonly gaps: readonly string[];
}): string {
  const { options, scan, gaps, limits } = parts;
  return JSON.stringify({
    kind: 'end',
    node: options.node,
    epoch: options.epoch,
    timeline: scan.timeline,
    from: formatLsn(options.from),
    to: formatLsn(scan.end),
    transactions: parts.transactionCount,
    rows: parts.rowCount,
    complete: gaps.length === 0,
    gaps,
    limits,
  });
}

/** In the data directory, so that a rewind or a clone takes it away with what it is about. */
const MARK_FILE = 'pg_sentinel_diverged.json';

interface Mark {
  readonly isSaved: boolean;
  /** Where the WAL ended before it was read in single-user mode. */
  readonly end: Lsn | undefined;
}

async function readMark({ dataDirectory, from }: DivergedOptions): Promise<Mark | undefined> {
  const text = await readFile(join(dataDirectory, MARK_FILE), 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  try {
    const raw = JSON.parse(text) as { from?: string; end?: string; isSaved?: boolean };
    if (raw.from !== formatLsn(from)) return undefined;
    return { isSaved: raw.isSaved === true, end: raw.end === undefined ? undefined : parseLsn(raw.end) };
  } catch {
    return undefined;
  }
}

const writeMark = (
  { dataDirectory, user }: DivergedOptions,
  mark: { readonly from: string; readonly end?: string; readonly isSaved: boolean },
): Promise<void> =>
  writeFileDurably({
    path: join(dataDirectory, MARK_FILE),
    content: `${JSON.stringify(mark)}\n`,
    mode: 0o600,
    owner: user.owner,
  });
