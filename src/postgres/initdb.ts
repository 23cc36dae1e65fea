// Makes a new, empty data directory. Never touches a directory that holds anything.
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Binaries } from './binaries.ts';
import { makeDirectory, runProgram, type OsUser } from './os-user.ts';

/**
 * Runs initdb: data checksums, UTF8, SCRAM passwords. The directory is flushed when this returns.
 * Throws when the directory is not empty, or with initdb's own words.
 */
export async function initDataDirectory(options: {
  readonly binaries: Binaries;
  readonly user: OsUser;
  readonly dataDirectory: string;
  readonly superuser: string;
  /** `C` sorts by bytes and can never change under an index. */
  readonly locale?: string;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}): Promise<void> {
  const { binaries, user, dataDirectory } = options;
  const present = await readdir(dataDirectory).catch(() => []);
  if (present.length > 0) {
    throw new Error(
      `cannot initialise ${dataDirectory}: it holds ${present.length} files (${present.slice(0, 3).join(', ')}); empty it or clone`,
    );
  }
  await makeDirectory(user, dataDirectory);
  const result = await runProgram({
    user,
    program: join(binaries.directory, 'initdb'),
    arguments: [
      `--pgdata=${dataDirectory}`,
      `--username=${options.superuser}`,
      '--encoding=UTF8',
      `--locale=${options.locale ?? 'C'}`,
      '--data-checksums',
      '--auth-local=trust',
      '--auth-host=scram-sha-256',
      '--no-instructions',
    ],
    cwd: dataDirectory,
    timeoutMs: options.timeoutMs,
    signal: options.signal,
  });
  options.signal?.throwIfAborted();
  if (result.exitCode !== 0) {
    throw new Error(
      `initdb of ${dataDirectory} failed (${result.signal ?? `exit code ${result.exitCode}`}): ${result.output.trim()}`,
    );
  }
}
