// Makes a new, empty data directory. Never touches a directory that holds anything.
import { randomBytes } from 'node:crypto';
import { readdir, rename, rm, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Binaries } from './binaries.ts';
import { fsyncDirectory } from './durable-files.ts';
import { makeDirectory, runProgram, type OsUser } from './os-user.ts';

export interface InitOptions {
  readonly binaries: Binaries;
  readonly user: OsUser;
  readonly dataDirectory: string;
  readonly superuser: string;
  /** `C` sorts by bytes and can never change under an index. */
  readonly locale?: string;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Runs initdb: data checksums, UTF8, SCRAM passwords. The directory is flushed when this returns.
 * Throws when the directory is not empty or a mount point, or with initdb's own words.
 */
export async function initDataDirectory(options: InitOptions): Promise<void> {
  const { user, dataDirectory } = options;
  const present = await readdir(dataDirectory).catch(() => []);
  if (present.length > 0) {
    throw new Error(
      `cannot initialise ${dataDirectory}: it holds ${present.length} files (${present.slice(0, 3).join(', ')}); empty it or clone`,
    );
  }
  // Beside it, then renamed: an initdb that was interrupted must not look like a data directory.
  const fresh = `${dataDirectory}.init-${randomBytes(4).toString('hex')}`;
  await makeDirectory(user, fresh);
  try {
    await runInitdb(options, fresh);
    await rmdir(dataDirectory).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    });
    await rename(fresh, dataDirectory);
    await fsyncDirectory(dirname(dataDirectory));
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
}

async function runInitdb(options: InitOptions, fresh: string): Promise<void> {
  const { binaries, user } = options;
  const result = await runProgram({
    user,
    program: join(binaries.directory, 'initdb'),
    arguments: [
      `--pgdata=${fresh}`,
      `--username=${options.superuser}`,
      '--encoding=UTF8',
      `--locale=${options.locale ?? 'C'}`,
      '--data-checksums',
      '--auth-local=trust',
      '--auth-host=scram-sha-256',
      '--no-instructions',
    ],
    cwd: fresh,
    timeoutMs: options.timeoutMs,
    signal: options.signal,
  });
  options.signal?.throwIfAborted();
  if (result.exitCode !== 0) {
    throw new Error(
      `initdb of ${options.dataDirectory} failed (${result.signal ?? `exit code ${result.exitCode}`}): ${result.output.trim()}`,
    );
  }
}
