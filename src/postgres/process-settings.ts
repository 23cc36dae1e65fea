// What the host may do to a PostgreSQL that we start: when its memory runs out, and when a process of it crashes. Huge pages and all other
// limits are the host's own. Must never keep PostgreSQL from starting: what we may not set stays as it was.
import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import type { Owner } from './durable-files.ts';
import { spawnIds, type OsUser } from './os-user.ts';

export interface ProcessSettings {
  /** -1000 to 1000, of the postmaster alone: the kernel is to end a backend instead. */
  readonly oomScoreAdj: number;
  /** Of core files, in MB; undefined: as sentineld has it. */
  readonly coreLimitMb: number | 'unlimited' | undefined;
}

/** For children of the postmaster, which would have its protection otherwise (PostgreSQL 19.4.4, "Linux Memory Overcommit"). */
export const OOM_ENVIRONMENT = { PG_OOM_ADJUST_FILE: '/proc/self/oom_score_adj', PG_OOM_ADJUST_VALUE: '0' };

const BLOCK_BYTES = 512;

/**
 * The command that starts `program` with the limit of core files. A limit above the hard one, which only root may raise, comes down to
 * that. The process keeps its pid.
 */
export function limitedCommand(
  program: string,
  programArguments: readonly string[],
  coreLimitMb: ProcessSettings['coreLimitMb'],
): { readonly program: string; readonly arguments: readonly string[] } {
  if (coreLimitMb === undefined) return { program, arguments: programArguments };
  const limit = coreLimitMb === 'unlimited' ? coreLimitMb : String((coreLimitMb * 1024 * 1024) / BLOCK_BYTES);
  const script = 'ulimit -S -c "$1" 2>/dev/null || ulimit -S -c "$(ulimit -H -c)"; shift; exec "$@"';
  return { program: '/bin/sh', arguments: ['-c', script, 'sh', limit, program, ...programArguments] };
}

export interface StartCommand {
  readonly program: string;
  readonly arguments: readonly string[];
  /** For `spawn`. */
  readonly ids: ReturnType<typeof spawnIds>;
}

/** Of util-linux; not part of every system. That of busybox may not know --init-groups. */
const SETPRIV = ['/usr/bin/setpriv', '/bin/setpriv'];
const TRIAL_MS = 5000;
const trials = new Map<string, boolean>();

const setprivOptions = ({ uid, gid }: Owner): string[] => [
  ...[`--reuid=${uid}`, `--regid=${gid}`, '--init-groups', '--'],
];

/** Whether that program changes to that user with all of his groups; tried once for each. */
function canChangeTo(setpriv: string, owner: Owner): boolean {
  const key = `${setpriv} ${owner.uid} ${owner.gid}`;
  const known = trials.get(key);
  if (known !== undefined) return known;
  const options = { stdio: 'ignore', timeout: TRIAL_MS, cwd: '/' } as const;
  const works = spawnSync(setpriv, [...setprivOptions(owner), 'true'], options).status === 0;
  trials.set(key, works);
  return works;
}

/**
 * The same command as that user with all of his groups: a change of user by `spawn` drops them, and Debian's key for TLS, which its clusters name, is
 * readable by a group that its package puts the user into. The process keeps its pid.
 */
export function commandOfUser(
  command: Pick<StartCommand, 'program' | 'arguments'>,
  user: OsUser,
  setpriv = SETPRIV.find((path) => existsSync(path)),
  works = canChangeTo,
): StartCommand {
  const { owner } = user;
  if (owner === undefined || setpriv === undefined || setpriv === '' || !works(setpriv, owner))
    return { ...command, ids: spawnIds(user) };
  const options = setprivOptions(owner);
  return { program: setpriv, arguments: [...options, command.program, ...command.arguments], ids: {} };
}

/** False where the kernel does not let us: below what it has only with CAP_SYS_RESOURCE. */
export function setOomScoreAdj(pid: number, oomScoreAdj: number): boolean {
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, String(oomScoreAdj));
    return true;
  } catch {
    return false;
  }
}
