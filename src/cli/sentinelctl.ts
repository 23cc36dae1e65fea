#!/usr/bin/env node
// sentinelctl: connects the command line (program.ts) with this process: its terminal, its signals, its exit code. A reader
// that goes away (`| head`) and Ctrl-C end it cleanly, with the cursor shown.
import { existsSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline/promises';
import type { WriteStream } from 'node:tty';
import { connectAdmin } from '../transport/admin-client.ts';
import type { Output } from './context.ts';
import { editInEditor } from './editor.ts';
import { EXIT } from './exit-codes.ts';
import { outputSize } from './output-size.ts';
import { runProgram } from './program.ts';
import { SHOW_CURSOR } from './screen.ts';

/** The output of a process that is read by another one, or by nobody any more. */
function outputOf(stream: WriteStream): Output {
  // With the reader gone there is nobody left to tell anything.
  stream.on('error', (error: NodeJS.ErrnoException) =>
    process.exit(error.code === 'EPIPE' ? EXIT.ok : EXIT.failed),
  );
  return {
    write: (text) => void stream.write(text),
    isTerminal: stream.isTTY,
    size: () => outputSize(stream, process.env),
    onResize: (listener) => {
      stream.on('resize', listener);
      return () => void stream.off('resize', listener);
    },
  };
}

/** In the terminal's own line mode, so that Ctrl-C stays a signal. End of input counts as an empty answer. */
async function ask(question: string, signal: AbortSignal): Promise<string> {
  const lines = createInterface({ input: process.stdin, output: process.stderr, terminal: false });
  try {
    return await Promise.race([
      lines.question(question, { signal }),
      new Promise<string>((resolve) => lines.once('close', () => resolve(''))),
    ]);
  } finally {
    lines.close();
  }
}

/** The version of the package this file belongs to, whether run from `src` or from `dist/src`. */
function packageVersion(): string {
  for (let folder = new URL('.', import.meta.url); folder.pathname !== '/'; folder = new URL('..', folder)) {
    const path = new URL('package.json', folder);
    if (existsSync(path)) return (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version;
  }
  return 'unknown';
}

/** For what does not end by itself: a second Ctrl-C, or a connection that holds the process. */
function exitNow(): never {
  if (process.stdout.isTTY) process.stdout.write(SHOW_CURSOR);
  process.exit(stop.signal.aborted ? EXIT.interrupted : undefined);
}

const EXIT_GRACE_MS = 2000;
const stop = new AbortController();
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(name, () => {
    if (stop.signal.aborted) exitNow();
    stop.abort(new Error(`stopped by ${name}`));
    setTimeout(exitNow, EXIT_GRACE_MS).unref();
  });
}

process.exitCode = await runProgram(
  {
    stdout: outputOf(process.stdout),
    stderr: outputOf(process.stderr),
    ask: process.stdin.isTTY ? (question) => ask(question, stop.signal) : undefined,
    edit: process.stdin.isTTY ? (text, fileName) => editInEditor(process.env, text, fileName) : undefined,
    env: process.env,
    signal: stop.signal,
    connect: connectAdmin,
    local: async () => ({
      ...(await import('../local/create-node.ts')),
      ...(await import('../local/clone-node.ts')),
    }),
    setExitCode: () => undefined,
  },
  packageVersion(),
  process.argv.slice(2),
);
setTimeout(() => process.exit(), EXIT_GRACE_MS).unref();
