// How far a standby has come that takes no connections yet, and so cannot be asked: what its startup process and the files of its WAL show.
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Lsn, lsn, parseLsn } from '../base/lsn.ts';
import { childProcesses, readPostmasterFile } from './processes.ts';

export interface RecoveryProgress {
  /** Recovery begins anew with another one. */
  readonly startupPid: number | undefined;
  /** The last 16 digits of the name of the segment that it replays or waits for, whatever its timeline; empty where it is not known. */
  readonly segment: string;
  /** Up to where the walreceiver has written WAL; 0 where none shows it. One that is fed the same segment for ever gets no further. */
  readonly received: Lsn;
  /** When WAL was last written, by the clock of the file system, where the titles of the processes tell nothing (`update_process_title`); else 0. */
  readonly writtenMs: number;
}

/** Whether PostgreSQL, which runs there, takes no connections yet. postmaster.pid is read anew, for what it says changes. */
export function isStarting(dataDirectory: string): boolean {
  const status = readPostmasterFile(dataDirectory)?.status;
  return status === undefined || status === 'starting';
}

/** What is seen now. */
export async function readRecoveryProgress(options: {
  readonly dataDirectory: string;
  readonly postmasterPid: number;
}): Promise<RecoveryProgress> {
  const children = childProcesses(options.postmasterPid);
  const startup = children.find(({ kind }) => kind === 'startup');
  const receiver = children.find(({ kind }) => kind === 'walreceiver');
  const segment = /\b[0-9A-F]{8}([0-9A-F]{16})\b/.exec(startup?.title ?? '')?.[1] ?? '';
  const received = / streaming ([0-9A-F]+\/[0-9A-F]+)/.exec(receiver?.title ?? '')?.[1];
  const isSilent = segment === '' && received === undefined;
  return {
    startupPid: startup?.pid,
    segment,
    received: received === undefined ? lsn(0n) : parseLsn(received),
    writtenMs: isSilent ? await lastWritten(join(options.dataDirectory, 'pg_wal')) : 0,
  };
}

async function lastWritten(directory: string): Promise<number> {
  let newest = 0;
  for (const name of await readdir(directory)) {
    if (!/^[0-9A-F]{24}$/.test(name)) continue;
    // It may be recycled meanwhile.
    const found = await stat(join(directory, name)).catch(() => undefined);
    newest = Math.max(newest, found?.mtimeMs ?? 0);
  }
  return newest;
}

/**
 * Where it is further than `before` in anything, the further of both; undefined where it stands still. One that waits in vain for WAL tries the
 * segments of several timelines in turn, which is none.
 */
export function furtherProgress(
  before: RecoveryProgress,
  now: RecoveryProgress,
): RecoveryProgress | undefined {
  if (now.startupPid !== before.startupPid) return now;
  const isFurther =
    now.segment > before.segment || now.received > before.received || now.writtenMs > before.writtenMs;
  if (!isFurther) return undefined;
  return {
    startupPid: now.startupPid,
    segment: now.segment > before.segment ? now.segment : before.segment,
    received: now.received > before.received ? now.received : before.received,
    writtenMs: Math.max(now.writtenMs, before.writtenMs),
  };
}
