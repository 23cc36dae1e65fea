// The last resort of the local cluster's owner: a small process of its own that holds the read end of a pipe. When its
// parent ends, however it ends (SIGKILL too), the pipe closes, and the reaper ends every process below the directory
// and removes it (reap.ts). It never touches anything outside that directory.
import { spawn, type ChildProcess } from 'node:child_process';
import { delay } from '../src/base/clock.ts';
import { compiled } from './programs.ts';

export interface Reaper {
  /** Tells the reaper that everything is done: it finds nothing and exits. Resolves when it has. */
  dismiss(): Promise<void>;
}

/** Starts the reaper of `directory`. It has a session of its own: a Ctrl-C in the terminal does not reach it. */
export function startReaper(directory: string, dataDirectories: readonly string[]): Reaper {
  const child = spawn(process.execPath, [compiled('harness/reap.js'), directory, ...dataDirectories], {
    cwd: '/',
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  child.on('error', () => undefined);
  child.stdin.on('error', () => undefined);
  child.unref();
  return { dismiss: () => dismiss(child) };
}

async function dismiss(child: ChildProcess): Promise<void> {
  child.stdin?.end();
  const deadline = performance.now() + 10_000;
  while (child.exitCode === null && child.signalCode === null && performance.now() < deadline) await delay(5);
}
