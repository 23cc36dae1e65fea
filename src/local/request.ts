// What an administrator asks for on the host itself, and what became of it. `sentinelctl node create` and `clone` make one from their
// command line; nothing here knows of a terminal.

/** Of a copy that is under way. */
export interface LocalProgress {
  readonly bytes: number;
  /** The source's estimate; undefined until it is known. */
  readonly totalBytes: number | undefined;
  readonly bytesPerSecond: number | undefined;
  readonly leftMs: number | undefined;
}

export interface LocalRequest {
  /** Path of this host's configuration. */
  readonly config: string;
  /** Overrides the file's `peer`. */
  readonly peer: string | undefined;
  /** `host:port` of the peers to ask; undefined: those of the configuration. */
  readonly peers: readonly string[] | undefined;
  /** How long to look for a peer that answers. */
  readonly timeoutMs: number;
  /** Only say what would be done, or why not. */
  readonly dryRun: boolean;
  readonly env: NodeJS.ProcessEnv;
  readonly signal: AbortSignal;
  /** What is done next, one line for a person. */
  readonly say: (line: string) => void;
  /** Something to look at, one line. */
  readonly note: (line: string) => void;
  readonly onProgress: (progress: LocalProgress) => void;
}

export interface LocalOutcome {
  /** One sentence. */
  readonly detail: string;
  /** What a person does next; undefined: nothing. */
  readonly next?: string;
}

/** Why it was not done; nothing is half done then but what the next run goes on from. */
export class LocalError extends Error {
  override readonly name = 'LocalError';
  readonly kind: 'usage' | 'refused' | 'unreachable';

  constructor(kind: LocalError['kind'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}

export const refusal = (message: string): LocalError => new LocalError('refused', message);

/** What a dry run says in the place of doing it. */
export const planned = (steps: readonly string[]): LocalOutcome => ({
  detail: `it could be done, nothing was changed; then: ${steps.join('; ')}`,
});
