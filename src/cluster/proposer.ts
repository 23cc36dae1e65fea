// How one process of a peer proposes, so that each proposal counts once: it opens a session of its own, numbers what it proposes,
// and says which answers it no longer waits for. No timers and no network: the caller submits, and submits again.
import type { PeerId } from '../base/ids.ts';
import { storeRefusal } from './apply-peers.ts';
import { encodeEnvelope } from './codec.ts';
import { type Command, proposalIdOf } from './commands.ts';
import { type ClusterState, DONE_COUNT_MAX } from './state.ts';

/** What Raft is given. Submitting it again is harmless. */
export interface Submission {
  readonly proposalId: string;
  readonly data: Uint8Array;
}

export interface Proposer {
  /** Id of the present session, open or not. */
  readonly session: string;
  readonly isOpen: boolean;
  /**
   * Takes note of what was applied; to be called after every batch and restore. `expired`: the session was replaced, or this peer left the
   * membership and came back; what is outstanding may or may not have been applied, and another session is to be opened.
   */
  follow(state: ClusterState): 'unchanged' | 'opened' | 'expired';
  /** What opens the session, to be submitted until it is open; undefined where it is open, and where {@link obstacle} speaks against it. */
  opening(state: ClusterState, proposedAtMs: number): Submission | undefined;
  /** Why this peer cannot open a session as things stand: not a member, another disk, too old a version. */
  obstacle(state: ClusterState): string | undefined;
  /** Undefined where the session is not open, or too many are outstanding. */
  propose(command: Command, proposedAtMs: number): (Submission & { readonly sequence: number }) | undefined;
  /** The answer to this proposal is known, or not waited for any more: should it still come, it has no effect. */
  settle(sequence: number): void;
}

/** From the oldest proposal that is waited for to the newest; so many the state can tell apart. */
export const OUTSTANDING_COUNT_MAX = DONE_COUNT_MAX;

export function createProposer(options: {
  readonly self: PeerId;
  /** Random id of this peer's Raft store. */
  readonly storeId: string;
  /** The highest feature level this version knows. */
  readonly features: number;
  /** A new id, unique for ever. */
  readonly newSession: () => string;
}): Proposer {
  const { self, storeId, features } = options;
  let session = options.newSession();
  let isOpen = false;
  let opening: (Submission & { readonly seenIndex: number }) | undefined;
  let next = 1;
  /** Ascending. */
  const outstanding = new Set<number>();

  const obstacle = (state: ClusterState): string | undefined => {
    const { voters, learners } = state.membership;
    if (!voters.includes(self) && !learners.includes(self))
      return `${self} is not a member yet, or no longer`;
    const known = state.peers.get(self);
    if (known !== undefined && known.store !== storeId) return storeRefusal(self);
    if (features < state.featureLevel)
      return `this version understands feature level ${features}, level ${state.featureLevel} is in use: upgrade it`;
    return undefined;
  };

  const submission = (command: Command, sequence: number, proposedAtMs: number): Submission => {
    const [answeredBelow = sequence] = outstanding;
    const envelope = { session, sequence, answeredBelow, proposedAtMs, command };
    return { proposalId: proposalIdOf(envelope), data: encodeEnvelope(envelope) };
  };

  return {
    get session() {
      return session;
    },
    get isOpen() {
      return isOpen;
    },
    follow(state) {
      const isPresent = state.peers.get(self)?.session === session;
      if (isPresent === isOpen) return 'unchanged';
      opening = undefined;
      isOpen = isPresent;
      if (isOpen) return 'opened';
      // mark: session-lost
      session = options.newSession();
      next = 1;
      outstanding.clear();
      return 'expired';
    },
    opening(state, proposedAtMs) {
      if (isOpen || obstacle(state) !== undefined) return undefined;
      const needed = state.peers.get(self)?.openedAt ?? state.membershipIndex;
      if (opening !== undefined && opening.seenIndex >= needed) return opening;
      const seenIndex = state.appliedIndex;
      const command: Command = {
        kind: 'open-session',
        peer: self,
        session,
        store: storeId,
        features,
        seenIndex,
      };
      // An id of its own for each: a leader takes what comes again under the same id for the same proposal.
      const proposalId = `${session}-0-${seenIndex}`;
      opening = { ...submission(command, 0, proposedAtMs), proposalId, seenIndex };
      return opening;
    },
    obstacle,
    propose(command, proposedAtMs) {
      const [oldest = next] = outstanding;
      if (!isOpen || next - oldest >= OUTSTANDING_COUNT_MAX) return undefined;
      const sequence = next;
      next += 1;
      outstanding.add(sequence);
      return { sequence, ...submission(command, sequence, proposedAtMs) };
    },
    settle: (sequence) => void outstanding.delete(sequence),
  };
}

/** Whether the proposal was applied, taken or refused, as far as `state` goes; undefined where the session is not present any more. */
export function hasCome(
  state: ClusterState,
  proposal: { readonly peer: PeerId; readonly session: string; readonly sequence: number },
): boolean | undefined {
  const known = state.peers.get(proposal.peer);
  if (known?.session !== proposal.session) return undefined;
  return proposal.sequence < known.floor || known.done.includes(proposal.sequence);
}
