// One insert as a client saw it. Times are of one monotonic clock (performance.now()) for all writers of a process.

export interface Attempt {
  readonly writer: string;
  /** Used for this attempt only: a write that is tried again gets a new id. */
  readonly id: string;
  readonly node: string;
  readonly startMs: number;
  /** When the client learned the outcome. */
  readonly endMs: number;
  readonly outcome: 'acked' | 'failed' | 'unknown';
  readonly reason?: string;
}

export type Acked = Attempt & { readonly outcome: 'acked' };

export const isAcked = (attempt: Attempt): attempt is Acked => attempt.outcome === 'acked';
