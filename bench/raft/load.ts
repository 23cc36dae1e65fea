// A closed loop of clients: each proposes again as soon as it was answered. Counts and times what is answered in the window.
// Must never count a proposal that was not answered, nor one answered in the warm-up or after the end.

export interface LoadOptions {
  readonly propose: (value: Buffer) => Promise<void>;
  readonly clientCount: number;
  readonly valueBytes: number;
  readonly warmUpMs: number;
  readonly windowMs: number;
  readonly signal: AbortSignal;
}

export interface LoadResult {
  readonly perSecond: number;
  /** Of each proposal answered in the window, in milliseconds. */
  readonly latenciesMs: readonly number[];
}

/** Rejects as soon as one proposal fails: what was measured up to then is then worth nothing. */
export async function runLoad(options: LoadOptions): Promise<LoadResult> {
  const { propose, signal } = options;
  const value = Buffer.alloc(options.valueBytes, 'v');
  const fromMs = performance.now() + options.warmUpMs;
  const untilMs = fromMs + options.windowMs;
  const latenciesMs: number[] = [];
  let failed = false;

  const client = async (): Promise<void> => {
    try {
      for (;;) {
        const startMs = performance.now();
        if (startMs >= untilMs || failed) return;
        signal.throwIfAborted();
        await propose(value);
        const endMs = performance.now();
        if (endMs >= fromMs && endMs < untilMs) latenciesMs.push(endMs - startMs);
      }
    } catch (error) {
      failed = true;
      throw error;
    }
  };
  await Promise.all(Array.from({ length: options.clientCount }, client));
  return { perSecond: Math.round((latenciesMs.length / options.windowMs) * 1000), latenciesMs };
}
