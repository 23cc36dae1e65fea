// Runs statements in a stopped data directory by single-user PostgreSQL: no socket, no other process, no network. It first brings the
// directory to a clean end, as pg_rewind does, by crash recovery. The directory is afterwards fit only for a rewind or a clone.
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Binaries } from './binaries.ts';
import { fsyncDirectory, writeNewFile } from './durable-files.ts';
import { removeStaleLockFiles } from './lock-files.ts';
import { runProgram, type OsUser } from './os-user.ts';

/**
 * Runs `statements` in `database`, each for itself: one that fails leaves the others. Returns what the server wrote, without its result rows
 * being of any use: statements write theirs by COPY to files. Throws when PostgreSQL runs, or when it ends with an error
 * code (it could not recover, the database does not exist, or the time was over).
 */
export async function runSingleUser(options: {
  readonly binaries: Pick<Binaries, 'directory'>;
  readonly user: OsUser;
  readonly dataDirectory: string;
  readonly database: string;
  /** Without line breaks. */
  readonly statements: readonly string[];
  /** Private to `user`: the statements are handed over in a file. */
  readonly workDirectory: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}): Promise<string> {
  const { user, dataDirectory } = options;
  removeStaleLockFiles({ dataDirectory, refusal: `cannot read ${dataDirectory} in single-user mode` });
  for (const name of ['standby.signal', 'recovery.signal'])
    await rm(join(dataDirectory, name), { force: true });
  await fsyncDirectory(dataDirectory);
  const script = join(options.workDirectory, 'statements');
  const content = `${[...SETTINGS, ...options.statements].join('\n')}\n`;
  await writeNewFile({ path: script, content, mode: 0o600, owner: user.owner, sync: false });
  const result = await runProgram({
    user,
    program: join(options.binaries.directory, 'postgres'),
    arguments: ['--single', '-D', dataDirectory, '-c', 'synchronous_standby_names=', options.database],
    cwd: dataDirectory,
    input: script,
    timeoutMs: options.timeoutMs,
    signal: options.signal,
  });
  options.signal.throwIfAborted();
  if (result.exitCode !== 0) {
    throw new Error(
      `single-user PostgreSQL in ${dataDirectory} failed (${result.signal ?? `exit code ${result.exitCode}`}): ${result.output.trim().slice(-2000)}`,
    );
  }
  return result.output;
}

/** Whatever a database or role has set: no name of the user's is found before one of PostgreSQL's own. */
const SETTINGS = [
  'set search_path = pg_catalog',
  'set default_transaction_read_only = off',
  'set transaction_read_only = off',
  'set statement_timeout = 0',
  'set lock_timeout = 0',
  'set row_security = off',
  "set datestyle = 'ISO'",
  "set intervalstyle = 'iso_8601'",
  "set timezone = 'UTC'",
  'set extra_float_digits = 1',
  "set bytea_output = 'hex'",
  'set synchronous_commit = off',
];
