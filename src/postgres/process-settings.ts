// What the host may do to a PostgreSQL that we start: when its memory runs out, and when a process of it crashes. Huge pages and all other
// limits are the host's own. Must never keep PostgreSQL from starting: what we may not set stays as it was.
import { writeFileSync } from 'node:fs';

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

/** False where the kernel does not let us: below what it has only with CAP_SYS_RESOURCE. */
export function setOomScoreAdj(pid: number, oomScoreAdj: number): boolean {
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, String(oomScoreAdj));
    return true;
  } catch {
    return false;
  }
}
