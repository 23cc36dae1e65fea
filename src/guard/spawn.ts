// Starts a guard in a session of its own, so that it outlives sentineld, below a shell that starts it again when a signal killed it:
// killing sentineld and the guard one after the other must not leave a primary that nobody watches.
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import { join } from 'node:path';
import { cleanEnvironment } from '../postgres/os-user.ts';

/** Above 128: by a signal, or the guard's own word that it failed. A shell costs a megabyte; it gives up in the end. */
const SUPERVISOR = `sleep $1
shift
option=--replace
for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  "$@" $option
  [ $? -gt 128 ] || exit 0
  option=
  sleep 0.2
done`;

/** A few megabytes live in it: its heap need not grow before it is tidied. */
const NODE_OPTIONS = ['--max-semi-space-size=1'];

/** Returns the shell. Throws where it cannot be started. */
export function spawnGuard(options: {
  /** The compiled main.ts. */
  readonly program: string;
  readonly directory: string;
  readonly version: string;
  /** The shell is there at once and waits so long before it starts the guard. */
  readonly afterMs: number;
}): ChildProcess {
  const log = openSync(
    join(options.directory, 'guard.log'),
    constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND,
    0o600,
  );
  try {
    const child = spawn(
      '/bin/sh',
      [
        '-c',
        SUPERVISOR,
        'pg-sentinel-guard',
        String(options.afterMs / 1000),
        process.execPath,
        ...NODE_OPTIONS,
        options.program,
        options.directory,
        options.version,
      ],
      { cwd: options.directory, env: cleanEnvironment(), stdio: ['ignore', log, log], detached: true },
    );
    // Said by the pid that is missing.
    child.on('error', () => undefined);
    child.unref();
    if (child.pid === undefined) throw new Error('cannot start the guard: /bin/sh cannot be run');
    return child;
  } finally {
    closeSync(log);
  }
}
