// When a program that owns a cluster must stop: a signal, a reader that went away, an npm that was killed over it, or an
// error nobody caught. Turns all of them into one AbortSignal, so that there is one way down.

export interface Interruption {
  readonly signal: AbortSignal;
  /** Exit code by convention: 128 + the signal's number; undefined while nothing was interrupted. */
  readonly exitCode: () => number | undefined;
}

export class InterruptedError extends Error {
  override readonly name = 'InterruptedError';
}

const SIGNALS = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;
const PARENT_CHECK_MS = 250;

/** Installs the handlers for the rest of the process's life. A second signal changes nothing: closing has its own deadline. */
export function watchInterruption(): Interruption {
  const controller = new AbortController();
  let exitCode: number | undefined;
  const stop = (code: number, error: Error): void => {
    exitCode ??= code;
    if (!controller.signal.aborted) controller.abort(error);
  };
  for (const [name, code] of Object.entries(SIGNALS)) {
    process.on(name, () => stop(code, new InterruptedError(`interrupted by ${name}`)));
  }
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', () => stop(141, new InterruptedError('nobody reads the output any more')));
  }
  process.on('uncaughtException', (error) => stop(1, error));
  process.on('unhandledRejection', (reason) =>
    stop(1, reason instanceof Error ? reason : new Error(String(reason))),
  );
  // npm runs scripts through a shell that passes no signal on: when it is killed, this process is left over without a word.
  const parent = process.ppid;
  if (process.env['npm_lifecycle_event'] !== undefined && parent !== 1) {
    setInterval(() => {
      if (process.ppid !== parent) stop(143, new InterruptedError('npm has ended'));
    }, PARENT_CHECK_MS).unref();
  }
  return { signal: controller.signal, exitCode: () => exitCode };
}
