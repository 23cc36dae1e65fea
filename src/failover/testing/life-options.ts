// What a life of the protocol's model is asked for, and how it says that the promise is broken. Never used outside tests.
import type { LogIndex } from '../../base/ids.ts';
import type { ApplyResult } from '../../cluster/apply.ts';
import type { Envelope } from '../../cluster/commands.ts';
import type { ClusterState } from '../../cluster/state.ts';
import type { AgentFaults } from './agent-model.ts';

export class BrokenPromise extends Error {
  override readonly name = 'BrokenPromise';
}

export type Apply = (state: ClusterState, index: LogIndex, envelope: Envelope) => ApplyResult;

export interface LifeOptions {
  readonly seed: number;
  readonly steps: number;
  readonly faults?: AgentFaults;
  /** A log that accepts what it must not, to see that the model notices. */
  readonly apply?: Apply;
  /** What a leader with a bug decides by. */
  readonly leaderSees?: (state: ClusterState) => ClusterState;
  /** Told what is committed and what happens to whom, for finding out why a seed fails. */
  readonly onTrace?: (line: string) => void;
  /** Whether the log is recovered now and then by one peer that lacks the end of it. */
  readonly recovers?: boolean;
  /** Whether people change durability, fence nodes and accept losses. */
  readonly isSteered?: boolean;
  /** Whether people change, again and again, how many standbys have to hold a commit. */
  readonly recounts?: boolean;
  /** Whether owners say which nodes are never promoted or counted, where peers are, and where the primary should be. */
  readonly isPlaced?: boolean;
  /** Whether people take nodes out of the group and let them in again. */
  readonly removes?: boolean;
  /** Whether everything is repaired in the end and has to come back. */
  readonly heals?: boolean;
}
