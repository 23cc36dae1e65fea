// What the benchmark tells a member's process on its command line, and what it may ask it afterwards. Data only.

export interface MemberPlan {
  readonly self: string;
  readonly clusterId: string;
  /** All members, `self` included; `port` is that of Raft's transport. */
  readonly members: readonly { readonly name: string; readonly port: number }[];
  /** Where the bench service listens, on loopback. */
  readonly servicePort: number;
  readonly storeDirectory: string;
}

export type MemberRequest =
  | { readonly kind: 'figures' }
  | { readonly kind: 'reset' }
  /** From now on its snapshots hold this much. */
  | { readonly kind: 'grow'; readonly bytes: number }
  /** Keeps the event loop busy for that long. */
  | { readonly kind: 'stall'; readonly ms: number };

/** Answer to `figures`; to the others it is `undefined`. */
export interface MemberFigures {
  /** Largest gap between two heartbeats of a leader since `reset`; null before the first. */
  readonly largestHeartbeatGapMs: number | null;
  readonly heartbeatCount: number;
  /** How often it stood for election (pre-votes included) since it was started. */
  readonly stoodCount: number;
  readonly snapshotIndex: number;
  readonly rssBytes: number;
}

export const PROPOSE_PATH = '/pg_sentinel.bench.Bench/Propose';
export const BATCHED_PATH = '/pg_sentinel.bench.Bench/ProposeBatched';
export const VIEW_PATH = '/pg_sentinel.bench.Bench/View';
