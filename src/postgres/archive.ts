// WAL files that a former primary had completed and not archived yet when it ended. A standby's archiver leaves them alone, a restartpoint,
// a rewind or a clone removes them, and the new primary, which received them, takes them for archived: without this the archive would
// have a hole that no restore gets across. Must never run beside PostgreSQL's own archiver.
import { access, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import type { Binaries } from './binaries.ts';
import { type OsUser, runProgram } from './os-user.ts';

export interface ArchiveOptions {
  readonly binaries: Binaries;
  readonly user: OsUser;
  readonly dataDirectory: string;
  /** With `archive_mode = always` a running standby archives them itself. */
  readonly isRunning: boolean;
  /** Of all of them together. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

/** `left` names the files that are not in the archive, oldest first. */
export type ArchiveOutcome =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'done'; readonly files: readonly string[] }
  | {
      readonly kind: 'failed';
      readonly files: readonly string[];
      readonly left: readonly string[];
      readonly reason: string;
    };

/** A segment, the last part of one, the history of a timeline, or a backup's label. */
const ARCHIVED = /^([0-9A-F]{24}(\.partial|\.[0-9A-F]{8}\.backup)?|[0-9A-F]{8}\.history)$/;
const SETTING_TIMEOUT_MS = 10_000;

/** Archives what is marked as ready, with the server's own `archive_command`. PostgreSQL is stopped, or a standby without an archiver. */
export async function archiveLeftovers(options: ArchiveOptions): Promise<ArchiveOutcome> {
  const { dataDirectory, user, signal } = options;
  const startedMs = performance.now();
  const status = join(dataDirectory, 'pg_wal', 'archive_status');
  const waiting = await readyFiles(status);
  if (waiting.length === 0) return { kind: 'nothing' };
  const mode = await settingOf(options, 'archive_mode');
  if (mode === 'off' || (mode === 'always' && options.isRunning)) return { kind: 'nothing' };
  const command = await settingOf(options, 'archive_command');
  const files: string[] = [];
  const failed = (reason: string): ArchiveOutcome => ({
    kind: 'failed',
    files,
    left: waiting.filter((file) => !files.includes(file)),
    reason,
  });
  if (command === '')
    return failed('there is no archive_command (an archive_library works within PostgreSQL only)');
  for (const file of waiting) {
    signal?.throwIfAborted();
    const leftMs = options.timeoutMs - (performance.now() - startedMs);
    if (leftMs <= 0) return failed(`not done within ${options.timeoutMs} ms`);
    const path = `pg_wal/${file}`;
    const isThere = await access(join(dataDirectory, path)).then(
      () => true,
      () => false,
    );
    if (isThere) {
      const { exitCode, output } = await runProgram({
        ...{ user, cwd: dataDirectory, timeoutMs: leftMs, signal },
        program: '/bin/sh',
        arguments: ['-c', commandFor(command, path, file)],
      });
      signal?.throwIfAborted();
      const last = output.trim().split('\n').at(-1) ?? '';
      if (exitCode !== 0)
        return failed(`archive_command: ${last === '' ? `exit code ${exitCode ?? 'none'}` : last}`);
    }
    await rename(join(status, `${file}.ready`), join(status, `${file}.done`));
    files.push(file);
  }
  return { kind: 'done', files };
}

/** As PostgreSQL's archiver does: `%p` is the path below the data directory, `%f` the name, `%%` a percent sign. */
export function commandFor(command: string, path: string, file: string): string {
  return command.replace(/%([pf%])/g, (_, letter: string) =>
    letter === 'p' ? path : letter === 'f' ? file : '%',
  );
}

/** Histories first, then by name, which is oldest first. */
async function readyFiles(status: string): Promise<string[]> {
  const names = await readdir(status).catch(() => []);
  const isHistory = (file: string): boolean => file.endsWith('.history');
  return names
    .filter((name) => name.endsWith('.ready'))
    .map((name) => name.slice(0, -'.ready'.length))
    .filter((file) => ARCHIVED.test(file))
    .sort((a, b) => Number(isHistory(b)) - Number(isHistory(a)) || (a < b ? -1 : 1));
}

/** What the configuration files say, also of a PostgreSQL that is stopped. */
async function settingOf(
  { binaries, user, dataDirectory, signal }: ArchiveOptions,
  name: string,
): Promise<string> {
  const { exitCode, output } = await runProgram({
    ...{ user, cwd: dataDirectory, timeoutMs: SETTING_TIMEOUT_MS, signal },
    program: join(binaries.directory, 'postgres'),
    arguments: ['-D', dataDirectory, '-C', name],
  });
  if (exitCode !== 0) throw new Error(`cannot read ${name} of ${dataDirectory}: ${output.trim()}`);
  return output.trim();
}
