// Runs the built demo as a person would, and looks at what it leaves behind. Every process started here is ended here.
import { spawn, type ChildProcess } from 'node:child_process';
import { chmod, mkdtemp, readdir, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { until } from '../../../src/base/clock.ts';
import { signalProcess } from '../../../src/postgres/processes.ts';
import { processesBelow } from '../../../harness/processes.ts';

export const PROJECT = resolve(fileURLToPath(import.meta.url), '../../../..');
const DEMO_LIMIT_MS = 300_000;

export interface Running {
  readonly child: ChildProcess;
  /** Everything written so far. */
  stdout(): string;
  stderr(): string;
  /** Resolves with the exit code, or the signal's name. */
  readonly ended: Promise<number | string>;
  /** Waits for `pattern` in what was written to either stream; throws when the program ends before. */
  said(pattern: RegExp, timeoutMs?: number): Promise<RegExpExecArray>;
}

export function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Running {
  const child = spawn(command, args, {
    cwd: PROJECT,
    env: { ...process.env, NO_COLOR: '1', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const text = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk: Buffer) => (text.stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (text.stderr += chunk.toString()));
  let hasEnded = false;
  const ended = new Promise<number | string>((resolveEnd, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      hasEnded = true;
      resolveEnd(code ?? signal ?? 'nothing');
    });
  });
  return {
    child,
    stdout: () => text.stdout,
    stderr: () => text.stderr,
    ended,
    said: (pattern, timeoutMs = DEMO_LIMIT_MS) =>
      until({ what: `${pattern} in the output`, timeoutMs, everyMs: 10 }, () => {
        const found = pattern.exec(text.stderr) ?? pattern.exec(text.stdout);
        if (found === null && hasEnded)
          throw new Error(`ended without ${pattern}: ${text.stderr}${text.stdout}`);
        return found ?? undefined;
      }),
  };
}

/** A temporary directory for one run: whatever the demo makes is in it, and whatever works in it was started by the demo. */
export async function openPlayground(): Promise<{
  readonly path: string;
  leftovers(): Promise<string[]>;
  close(): Promise<void>;
}> {
  const path = await mkdtemp(join('/tmp', 'pgs-'));
  await chmod(path, 0o755);
  return {
    path,
    async leftovers() {
      const processes = processesBelow(path).map(({ pid, cwd }) => `process ${pid} in ${cwd}`);
      return [...processes, ...(await readdir(path))];
    },
    async close() {
      for (const { pid } of processesBelow(path)) signalProcess(pid, 'SIGKILL');
      await rm(path, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
    },
  };
}

export const runDemo = (temporary: string, ...args: string[]): Running =>
  run(process.execPath, ['dist/demo/main.js', ...args], { TMPDIR: temporary });

/** The last line of standard output as JSON. */
export function lastJson(running: Running): Record<string, unknown> {
  return JSON.parse(running.stdout().trim().split('\n').at(-1) ?? '') as Record<string, unknown>;
}
