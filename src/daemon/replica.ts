// The replicated state on this peer: applies committed entries, tells listeners, and tells a proposer how its own proposal
// fared. Proposals are tried again until applied or too late; each carries an id, so a second copy has no effect.
import { randomBytes } from 'node:crypto';
import type { Clock } from '../base/clock.ts';
import type { LogIndex, PeerId } from '../base/ids.ts';
import { apply, applyNothing, emptyState } from '../cluster/apply.ts';
import { decodeEnvelope, encodeEnvelope } from '../cluster/codec.ts';
import type { Command } from '../cluster/commands.ts';
import type { ClusterEvent, ClusterState } from '../cluster/state.ts';
import type { Entry, RefusalReason } from '../raft/types.ts';

const PENDING_COUNT_MAX = 1000;
const RETRY_MS = 50;

export type ProposalOutcome =
  | { readonly kind: 'applied'; readonly index: LogIndex }
  /** It was committed, and apply found that it does not fit. */
  | { readonly kind: 'refused'; readonly reason: string }
  /** Nobody answered in time; it may still be applied. */
  | { readonly kind: 'unknown' };

export interface Replica {
  readonly state: ClusterState;
  commit(entries: readonly Entry[]): void;
  proposalRefused(proposalId: string, reason: RefusalReason): void;
  propose(command: Command, timeoutMs: number): Promise<ProposalOutcome>;
  /** Calls `listener` after every applied batch; returns a function that ends it. */
  subscribe(listener: (state: ClusterState, events: readonly ClusterEvent[]) => void): () => void;
  /** Resolves once the state is applied up to `index`, or after `timeoutMs`; tells which. */
  appliedUpTo(index: LogIndex, timeoutMs: number): Promise<boolean>;
  close(): void;
}

interface Pending {
  readonly data: Uint8Array;
  readonly settle: (outcome: ProposalOutcome) => void;
}

export function createReplica(options: {
  readonly self: PeerId;
  readonly voters: readonly PeerId[];
  readonly clock: Clock;
  readonly submit: (proposalId: string, data: Uint8Array) => void;
}): Replica {
  const { clock } = options;
  let state = emptyState(options.voters);
  const pending = new Map<string, Pending>();
  const retries = new Set<NodeJS.Timeout>();
  const listeners = new Set<(state: ClusterState, events: readonly ClusterEvent[]) => void>();
  // Unique for ever, also where the wall clock was set back between two starts.
  const prefix = `${options.self}-${clock.wallMs()}-${randomBytes(4).toString('hex')}`;
  let proposalCount = 0;

  const applyEntry = (entry: Entry): ClusterEvent | undefined => {
    if (entry.kind !== 'command') {
      state = applyNothing(state, entry.index);
      return undefined;
    }
    const envelope = decodeEnvelope(entry.data);
    const isRepeated = state.recentProposals.includes(envelope.proposalId);
    const result = apply(state, entry.index, envelope);
    state = result.state;
    if (isRepeated) return undefined;
    const outcome: ProposalOutcome =
      result.refused === undefined
        ? { kind: 'applied', index: entry.index }
        : { kind: 'refused', reason: result.refused };
    pending.get(envelope.proposalId)?.settle(outcome);
    return {
      index: entry.index,
      proposedAtMs: envelope.proposedAtMs,
      command: envelope.command,
      refused: result.refused,
    };
  };

  return {
    get state() {
      return state;
    },
    commit(entries) {
      const events = entries.flatMap((entry) => applyEntry(entry) ?? []);
      for (const listener of listeners) listener(state, events);
    },
    proposalRefused(proposalId) {
      const entry = pending.get(proposalId);
      if (entry === undefined) return;
      const timer = setTimeout(() => {
        retries.delete(timer);
        if (pending.has(proposalId)) options.submit(proposalId, entry.data);
      }, RETRY_MS);
      retries.add(timer);
    },
    propose(command, timeoutMs) {
      if (pending.size >= PENDING_COUNT_MAX) return Promise.resolve({ kind: 'unknown' });
      proposalCount += 1;
      const proposalId = `${prefix}-${proposalCount}`;
      const data = encodeEnvelope({ proposalId, proposedAtMs: clock.wallMs(), command });
      return new Promise((resolve) => {
        const settle = (outcome: ProposalOutcome): void => {
          clearTimeout(timer);
          clearInterval(again);
          pending.delete(proposalId);
          resolve(outcome);
        };
        const timer = setTimeout(() => settle({ kind: 'unknown' }), timeoutMs);
        // A proposal forwarded to a leader that died is neither refused nor committed: it is sent again, with the same id.
        const again = setInterval(() => options.submit(proposalId, data), RESUBMIT_MS);
        pending.set(proposalId, { data, settle });
        options.submit(proposalId, data);
      });
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    appliedUpTo(index, timeoutMs) {
      if (state.appliedIndex >= index) return Promise.resolve(true);
      return new Promise((resolve) => {
        const finish = (isApplied: boolean): void => {
          clearTimeout(timer);
          listeners.delete(listener);
          resolve(isApplied);
        };
        const listener = (present: ClusterState): void => {
          if (present.appliedIndex >= index) finish(true);
        };
        const timer = setTimeout(() => finish(false), timeoutMs);
        listeners.add(listener);
      });
    },
    close() {
      for (const timer of retries) clearTimeout(timer);
      for (const entry of [...pending.values()]) entry.settle({ kind: 'unknown' });
    },
  };
}

const RESUBMIT_MS = 500;
