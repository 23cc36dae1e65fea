// Runs the administrator's command that restores a backup, keeps what it says, and tells how it failed. Decides nothing.
import { closeSync, constants, fstatSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { formatDuration } from '../base/duration.ts';
import { type OsUser, runProgram } from './os-user.ts';
import { makeDirectory } from './own-directories.ts';

/** The command failed, or what it has made is no data directory that can be used. */
export class RestoreError extends Error {}

const GRACE_MS = 10_000;
const LOG_BYTES_MAX = 16 << 20;
const LAST_LINES = 5;
const LAST_LENGTH_MAX = 600;

export interface RestoreCommand {
  readonly user: OsUser;
  /** The program, as an absolute path, and its arguments. */
  readonly command: readonly string[];
  readonly cwd: string;
  readonly timeoutMs: number;
  readonly environment: Readonly<Record<string, string>>;
  /** For all that the command says; begun anew. */
  readonly logFile: string;
  readonly signal: AbortSignal;
}

/** Throws {@link RestoreError} unless it ends with 0; the signal's reason once that aborts. */
export async function runRestoreCommand(options: RestoreCommand): Promise<void> {
  const { user, cwd, environment, timeoutMs, logFile, signal } = options;
  const [program = '', ...args] = options.command;
  const log = await openLog(user, logFile);
  const startedMs = performance.now();
  try {
    const result = await runProgram({
      ...{ user, program, cwd, environment, timeoutMs, signal, graceMs: GRACE_MS },
      arguments: args,
      onOutput: log.write,
    }).catch((error: unknown) => {
      throw new RestoreError((error as Error).message);
    });
    signal.throwIfAborted();
    const isLate = performance.now() - startedMs >= timeoutMs;
    if (result.exitCode === 0 && !isLate) return;
    const how = isLate
      ? `it was not done within ${formatDuration(timeoutMs)}, its timeout`
      : result.signal === undefined
        ? `exit code ${result.exitCode}`
        : `ended by ${result.signal}`;
    throw new RestoreError(
      `the bootstrap command failed (${how}): ${lastLines(result.output)}; all it said is in ${logFile}`,
    );
  } finally {
    log.close();
  }
}

/** What cannot be written, as on a full disk, is left out: it must not end what is being restored. */
async function openLog(
  user: OsUser,
  path: string,
): Promise<{ readonly write: (text: string) => void; readonly close: () => void }> {
  await makeDirectory(user, dirname(path));
  const file = openRegular(path);
  let written = 0;
  return {
    write(text) {
      if (written >= LOG_BYTES_MAX) return;
      try {
        written += writeSync(file, text);
      } catch {
        written = LOG_BYTES_MAX;
      }
    },
    close: () => closeSync(file),
  };
}

/** In a directory of the user's: neither a link is followed nor a pipe waited for, and only a regular file is emptied. */
function openRegular(path: string): number {
  const { O_WRONLY, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
  const cannot = (why: string): RestoreError =>
    new RestoreError(`cannot write what the bootstrap command says: ${why}; remove ${path}`);
  let file: number;
  try {
    file = openSync(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
  } catch (error) {
    throw cannot((error as Error).message);
  }
  if (fstatSync(file).isFile()) {
    ftruncateSync(file);
    return file;
  }
  closeSync(file);
  throw cannot(`${path} is no regular file`);
}

function lastLines(output: string): string {
  const lines = output.split('\n').flatMap((line) => line.trim() || []);
  const text = lines.slice(-LAST_LINES).join(' | ');
  return text === '' ? 'it said nothing' : text.slice(-LAST_LENGTH_MAX);
}
