// What the exit code of sentinelctl means, and the error that carries one. The same table is in docs/sentinelctl.md.

export const EXIT = {
  /** Done; for `status` also when the cluster is degraded (see `--exit-code`). */
  ok: 0,
  /** The cluster refused, or it did not work out. */
  failed: 1,
  /** The command line, or the list of peers, cannot be used. */
  usage: 2,
  /** No peer answered. */
  unreachable: 3,
  /** Ended by Ctrl-C or SIGTERM before it was done. */
  interrupted: 130,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** Of wrong use where a program for monitoring has to be told that nothing is known. */
export const UNKNOWN_CODE = 'pg-sentinel.unknown';

/** An outcome that is not success: the message is for a person, on standard error. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly exitCode: ExitCode;

  constructor(exitCode: ExitCode, message: string) {
    super(message);
    this.exitCode = exitCode;
  }
}

export const EXIT_CODES_HELP = `Exit codes:
  0  done ("status": also when degraded, unless --exit-code is given)
  1  refused by the cluster, or failed
  2  wrong use of the command line, or no usable list of peers
  3  no peer could be reached
"node check" has those of Nagios: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN`;
