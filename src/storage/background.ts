// Work that no write waits for, one piece after the other. Must never go on after a piece that failed.

export interface Background {
  /** Runs `work` after what was given before; not at all once something has failed. */
  run(work: () => Promise<void>): void;
  /** Resolves when nothing is left to do. */
  settled(): Promise<void>;
}

/** `onError` is told of the first failure, and there is no second. */
export function createBackground(onError: (error: unknown) => void): Background {
  let last: Promise<void> = Promise.resolve();
  let hasFailed = false;
  return {
    run: (work) => {
      last = last
        .then(() => (hasFailed ? undefined : work()))
        .catch((error: unknown) => {
          hasFailed = true;
          onError(error);
        });
    },
    settled: async () => {
      let seen: Promise<void> | undefined;
      while (seen !== last) {
        seen = last;
        await seen;
      }
    },
  };
}
