// How far a standby has come that takes no connections yet, and so cannot be asked: what its startup process and the files of its WAL show.
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { childProcesses, readPostmasterFile } from './processes.ts';

export interface RecoveryProgress {
  /** Recovery begins anew with another one. */
  readonly startupPid: number | undefined;
  /** The last 16 digits of the name of the segment that it replays or waits for, whatever its timeline; empty where it is not known. */
  readonly segment: string;
  /** When WAL was last written, by the clock of the file system; 0 where there is none. */
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
  const startup = childProcesses(options.postmasterPid).find(({ kind }) => kind === 'startup');
  return {
    startupPid: startup?.pid,
    segment: /\b[0-9A-F]{8}([0-9A-F]{16})\b/.exec(startup?.title ?? '')?.[1] ?? '',
    writtenMs: await lastWritten(join(options.dataDirectory, 'pg_wal')),
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
  if (now.segment <= before.segment && now.writtenMs <= before.writtenMs) return undefined;
  return {
    startupPid: now.startupPid,
    segment: now.segment > before.segment ? now.segment : before.segment,
    writtenMs: Math.max(now.writtenMs, before.writtenMs),
  };
}
