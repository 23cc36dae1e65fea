// The replicated state on this peer: applies committed entries, tells listeners, and tells a proposer how its own proposal
// fared. Proposals are tried again until applied or too late; each is numbered within the session of this process, so that a
// second copy has no effect.
import { randomBytes } from 'node:crypto';
import { assert } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import type { LogIndex, PeerId } from '../base/ids.ts';
import { applyMembership } from '../cluster/apply-membership.ts';
import { apply, applyNothing, emptyState } from '../cluster/apply.ts';
import { decodeEnvelope, decodeMembership } from '../cluster/codec.ts';
import { type Command, proposalIdOf } from '../cluster/commands.ts';
import { OUTSTANDING_COUNT_MAX, type Submission, createProposer, hasCome } from '../cluster/proposer.ts';
import { decodeState, encodeState } from '../cluster/snapshot-codec.ts';
import type { ClusterEvent, ClusterState } from '../cluster/state.ts';
import type { Entry, Membership, RefusalReason, Snapshot } from '../raft/types.ts';

const RETRY_MS = 50;
const RESUBMIT_MS = 500;

export type ProposalOutcome =
  | { readonly kind: 'applied'; readonly index: LogIndex }
  /** It was committed, and apply found that it does not fit. */
  | { readonly kind: 'refused'; readonly reason: string }
  /** Nobody answered in time; it may still be applied. */
  | { readonly kind: 'unknown' };

export interface Replica {
  readonly state: ClusterState;
  /** Committed entries, in order, each once. */
  commit(entries: readonly Entry[]): void;
  /** Replaces the state; {@link commit} goes on after it. Throws where the snapshot cannot be read. */
  restore(snapshot: Snapshot): void;
  /** The state as applied so far. */
  takeSnapshot(): { readonly index: LogIndex; readonly data: Uint8Array };
  proposalRefused(proposalId: string, reason: RefusalReason): void;
  propose(command: Command, timeoutMs: number): Promise<ProposalOutcome>;
  /** Why this peer can propose nothing as things stand, for people; undefined where it can, or is about to. */
  obstacle(): string | undefined;
  /** Calls `listener` after every applied batch; returns a function that ends it. */
  subscribe(listener: (state: ClusterState, events: readonly ClusterEvent[]) => void): () => void;
  /** Resolves once the state is applied up to `index`, or after `timeoutMs`; tells which. */
  appliedUpTo(index: LogIndex, timeoutMs: number): Promise<boolean>;
  close(): void;
}

export interface ReplicaOptions {
  readonly self: PeerId;
  /** Where there is no snapshot; the same on every peer that has none. */
  readonly membership: Membership;
  /** What the log on disk follows after. */
  readonly snapshot: Snapshot | undefined;
  /** Random id of this peer's Raft store. */
  readonly storeId: string;
  /** The highest feature level this version knows. */
  readonly features: number;
  readonly clock: Clock;
  readonly submit: (proposalId: string, data: Uint8Array) => void;
}

interface Pending {
  readonly command: Command;
  readonly settle: (outcome: ProposalOutcome) => void;
  /** Undefined while the session is not open. */
  submitted: (Submission & { readonly session: string; readonly sequence: number }) | undefined;
}

export function createReplica(options: ReplicaOptions): Replica {
  const { clock, self, submit } = options;
  let state = options.snapshot === undefined ? emptyState(options.membership) : stateOf(options.snapshot);
  const pending = new Set<Pending>();
  const byId = new Map<string, Pending>();
  const retries = new Set<NodeJS.Timeout>();
  const listeners = new Set<(state: ClusterState, events: readonly ClusterEvent[]) => void>();
  const proposer = createProposer({
    self,
    storeId: options.storeId,
    features: options.features,
    // Unique for ever, also where the wall clock was set back between two starts.
    newSession: () => `${self}-${clock.wallMs()}-${randomBytes(4).toString('hex')}`,
  });
  /** What opens the session, as last submitted. */
  let opening: Submission | undefined;
  let isClosed = false;

  const applyEntry = (entry: Entry): ClusterEvent | undefined => {
    switch (entry.kind) {
      case 'noop':
        state = applyNothing(state, entry.index);
        return undefined;
      case 'config':
        state = applyMembership(state, entry.index, decodeMembership(entry.data));
        return undefined;
      case 'command': {
        const envelope = decodeEnvelope(entry.data);
        const { state: next, refused, event } = apply(state, entry.index, envelope);
        state = next;
        if (event === undefined) return undefined;
        const outcome: ProposalOutcome =
          refused === undefined
            ? { kind: 'applied', index: entry.index }
            : { kind: 'refused', reason: refused };
        byId.get(proposalIdOf(envelope))?.settle(outcome);
        return event;
      }
    }
  };

  /** What the new state means for the session and for whom waits. */
  const follow = (events: readonly ClusterEvent[]): void => {
    if (isClosed) return;
    const change = proposer.follow(state);
    if (change === 'expired') for (const each of [...byId.values()]) each.settle({ kind: 'unknown' });
    if (change === 'opened') for (const each of pending) number(each);
    const earlier = opening;
    opening = proposer.opening(state, clock.wallMs());
    if (opening !== undefined && opening !== earlier) submit(opening.proposalId, opening.data);
    for (const listener of listeners) listener(state, events);
  };

  /** Gives the proposal its place in the session and submits it, where the session is open. */
  const number = (each: Pending): void => {
    if (each.submitted !== undefined) return;
    const submission = proposer.propose(each.command, clock.wallMs());
    if (submission === undefined) return;
    each.submitted = { session: proposer.session, ...submission };
    byId.set(submission.proposalId, each);
    submit(submission.proposalId, submission.data);
  };

  const again = (proposalId: string): void => {
    const submission = opening?.proposalId === proposalId ? opening : byId.get(proposalId)?.submitted;
    if (submission !== undefined) submit(proposalId, submission.data);
  };

  // A proposal forwarded to a leader that died is neither refused nor committed: it is sent again, with the same id.
  // A new process waits so long for the log to be applied further; it would open its session in vain on an old state.
  const resubmit = setInterval(() => {
    opening = proposer.opening(state, clock.wallMs());
    if (opening !== undefined) again(opening.proposalId);
  }, RESUBMIT_MS);

  return {
    get state() {
      return state;
    },
    commit(entries) {
      follow(entries.flatMap((entry) => applyEntry(entry) ?? []));
    },
    restore(snapshot) {
      assert(
        snapshot.index >= state.appliedIndex,
        () =>
          `snapshot ${snapshot.index} is older than the state, which is applied up to ${state.appliedIndex}`,
      );
      state = stateOf(snapshot);
      // Applied within what the snapshot stands for: whether they were taken is not known here any more.
      for (const each of [...byId.values()]) {
        const { submitted } = each;
        if (submitted !== undefined && hasCome(state, { peer: self, ...submitted }) === true)
          each.settle({ kind: 'unknown' });
      }
      follow([]);
    },
    takeSnapshot: () => ({ index: state.appliedIndex, data: encodeState(state) }),
    proposalRefused(proposalId) {
      if (isClosed || (opening?.proposalId !== proposalId && !byId.has(proposalId))) return;
      const timer = setTimeout(() => {
        retries.delete(timer);
        again(proposalId);
      }, RETRY_MS);
      retries.add(timer);
    },
    propose(command, timeoutMs) {
      if (isClosed || pending.size >= OUTSTANDING_COUNT_MAX) return Promise.resolve({ kind: 'unknown' });
      return new Promise((resolve) => {
        const settle = (outcome: ProposalOutcome): void => {
          clearTimeout(timer);
          clearInterval(repeat);
          pending.delete(each);
          if (each.submitted !== undefined) {
            byId.delete(each.submitted.proposalId);
            if (each.submitted.session === proposer.session) proposer.settle(each.submitted.sequence);
          }
          resolve(outcome);
        };
        const timer = setTimeout(() => settle({ kind: 'unknown' }), timeoutMs);
        const repeat = setInterval(() => {
          if (each.submitted === undefined) number(each);
          else again(each.submitted.proposalId);
        }, RESUBMIT_MS);
        const each: Pending = { command, settle, submitted: undefined };
        pending.add(each);
        number(each);
      });
    },
    obstacle: () => (proposer.isOpen ? undefined : proposer.obstacle(state)),
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
      isClosed = true;
      clearInterval(resubmit);
      for (const timer of retries) clearTimeout(timer);
      for (const each of [...pending]) each.settle({ kind: 'unknown' });
    },
  };
}

function stateOf(snapshot: Snapshot): ClusterState {
  const state = decodeState(snapshot.data);
  assert(
    state.appliedIndex === snapshot.index,
    () => `snapshot ${snapshot.index} holds the state of index ${state.appliedIndex}`,
  );
  return state;
}
