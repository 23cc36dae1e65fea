// The processes of one "host" of the local cluster: all whose working directory lies below the host's directory. sentineld
// is started there, PostgreSQL works in its data directory, and children inherit it. Reads /proc synchronously: a signal
// must not go to a process that changed meanwhile.
import { readdirSync, readlinkSync } from 'node:fs';
import { delay } from '../src/base/clock.ts';
import { processState, signalProcess } from '../src/postgres/processes.ts';

export interface LocalProcess {
  readonly pid: number;
  readonly cwd: string;
}

/** The living processes that work in `directory` or below it; never this process itself. */
export function processesBelow(directory: string): LocalProcess[] {
  const found: LocalProcess[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    const cwd = workingDirectory(name)?.replace(/ \(deleted\)$/, '');
    if (cwd === undefined || (cwd !== directory && !cwd.startsWith(`${directory}/`))) continue;
    const state = processState(Number(name))?.state;
    if (state !== undefined && state !== 'Z' && state !== 'X') found.push({ pid: Number(name), cwd });
  }
  return found;
}

/** Undefined for a process of another user, and for one that is gone. */
function workingDirectory(pid: string): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return undefined;
  }
}

export function signalAll(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids) signalProcess(pid, signal);
}

/**
 * SIGSTOP to every process below `directory`, until a scan finds no running one (a fork may have slipped through).
 * Returns the pids; throws when they do not stand still within a second.
 */
export async function freezeBelow(directory: string): Promise<number[]> {
  const deadline = performance.now() + 1000;
  for (;;) {
    const pids = processesBelow(directory).map(({ pid }) => pid);
    const running = pids.filter((pid) => processState(pid)?.state !== 'T');
    if (running.length === 0) return pids;
    signalAll(running, 'SIGSTOP');
    if (performance.now() > deadline)
      throw new Error(`processes ${running.join(', ')} do not stop on SIGSTOP`);
    await delay(1);
  }
}

/** SIGCONT to every process below `directory` that `which` accepts. */
export function thawBelow(directory: string, which: (process: LocalProcess) => boolean = () => true): void {
  signalAll(
    processesBelow(directory)
      .filter(which)
      .map(({ pid }) => pid),
    'SIGCONT',
  );
}
