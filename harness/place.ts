// A temporary directory that PostgreSQL's user can enter, and everything that is needed to leave none of it behind.
// Whoever works below the directory is ours: processes are found by their working directory, never by their name, so
// that a PostgreSQL or sentineld of somebody else is never touched.
import { chmod, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { delay } from '../src/base/clock.ts';
import type { OsUser } from '../src/postgres/os-user.ts';
import { readPostmasterFile } from '../src/postgres/processes.ts';
import { processesBelow, signalAll } from './processes.ts';

/** The socket of a node is DIRECTORY/x/s/.s.PGSQL.12345, and the kernel allows 107 bytes. */
const PATH_BYTES_MAX = 107 - '/x/s/.s.PGSQL.12345'.length;

/** Makes an empty directory below the first of TMPDIR, /tmp and /var/tmp that `user` can enter. */
export async function makePlace(user: OsUser): Promise<string> {
  const bases = [...new Set([tmpdir(), '/tmp', '/var/tmp'])];
  for (const base of bases) {
    if (!(await canEnter(user, base)) || join(base, 'pg-sentinel-XXXXXX').length > PATH_BYTES_MAX) continue;
    const place = await mkdtemp(join(base, 'pg-sentinel-'));
    await chmod(place, 0o755);
    return place;
  }
  throw new Error(
    `no temporary directory that ${user.name} can enter among ${bases.join(', ')}; set TMPDIR to one (short enough for a socket)`,
  );
}

/** Only a root process starts PostgreSQL as somebody else; then every directory on the way must be open to others. */
async function canEnter(user: OsUser, path: string): Promise<boolean> {
  for (let at = path; ; at = dirname(at)) {
    const mode = (await stat(at).catch(() => undefined))?.mode;
    if (mode === undefined || (user.owner !== undefined && (mode & 0o001) === 0)) return false;
    if (at === dirname(at)) return true;
  }
}

/**
 * Ends every process that works below `directory`: sentineld first, so that nothing is started again, then PostgreSQL by
 * an immediate shutdown (which takes its shared memory along), then whatever is left by SIGKILL.
 * Throws when something is still there after `timeoutMs`.
 */
export async function endEverythingBelow(options: {
  readonly directory: string;
  readonly dataDirectories: readonly string[];
  readonly timeoutMs: number;
}): Promise<void> {
  const { directory, dataDirectories } = options;
  const deadline = performance.now() + options.timeoutMs;
  const inData = (cwd: string): boolean =>
    dataDirectories.some((data) => cwd === data || cwd.startsWith(`${data}/`));
  const postmasters = dataDirectories.flatMap((data) => readPostmasterFile(data)?.pid ?? []);
  for (let round = 0; ; round++) {
    const processes = processesBelow(directory);
    if (processes.length === 0) return;
    const daemons = processes.filter(({ cwd }) => !inData(cwd)).map(({ pid }) => pid);
    const rest = processes.filter(({ cwd }) => inData(cwd)).map(({ pid }) => pid);
    signalAll(daemons, 'SIGKILL');
    if (round === 0)
      signalAll(
        rest.filter((pid) => postmasters.includes(pid)),
        'SIGQUIT',
      );
    signalAll(rest, 'SIGCONT');
    // A postmaster without its file, or one that takes longer than a second, goes the hard way.
    if (round >= 50) signalAll(rest, 'SIGKILL');
    if (performance.now() > deadline) {
      throw new Error(
        `processes below ${directory} do not end: ${processes.map(({ pid }) => pid).join(', ')}`,
      );
    }
    await delay(20);
  }
}

/** Removes the directory; repeats while a dying process still writes into it. */
export async function removePlace(directory: string): Promise<void> {
  await rm(directory, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
}
