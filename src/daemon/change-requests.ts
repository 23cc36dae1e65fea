// Membership changes, recoveries and hand-overs that somebody waits for: what is asked of the core goes out as an event, and the
// answer comes back as an effect some time later, or not at all. Every wait has a deadline; holds nothing but who waits.
import type { PeerId } from '../base/ids.ts';
import type { ChangeRefusal, Membership, MembershipChange } from '../raft/types.ts';

export type ChangeOutcome =
  | { readonly kind: 'done'; readonly membership: Membership }
  | { readonly kind: 'refused'; readonly reason: ChangeRefusal }
  /** Not committed in time, or this peer leads no longer: it may still be committed. To ask for the same again is harmless. */
  | { readonly kind: 'unknown' };

export interface ChangeRequests {
  /** Waits for a committed membership that `isDone` accepts. Returns the id to send to the core, and the outcome. */
  begin(isDone: (membership: Membership) => boolean, timeoutMs: number): Request;
  /** Waits for another peer to lead. */
  awaitLeader(timeoutMs: number): Promise<PeerId | undefined>;
  refused(changeId: string, reason: ChangeRefusal): void;
  committed(membership: Membership): void;
  /** Another peer leads now. */
  ledBy(leader: PeerId): void;
  close(): void;
}

interface Request {
  readonly changeId: string;
  readonly outcome: Promise<ChangeOutcome>;
}

interface Waiting {
  readonly isDone: (membership: Membership) => boolean;
  readonly settle: (outcome: ChangeOutcome) => void;
}

/** Whether `change` has been made in `membership`. */
export function isMade(change: MembershipChange, membership: Membership): boolean {
  const isVoter = membership.voters.includes(change.peer);
  const isMember = isVoter || membership.learners.includes(change.peer);
  switch (change.kind) {
    case 'add-learner':
      return isMember;
    case 'promote':
      return isVoter;
    case 'remove':
      return !isMember;
    case 'move':
      return membership.addresses.get(change.peer) === change.address;
  }
}

export function createChangeRequests(): ChangeRequests {
  const waiting = new Map<string, Waiting>();
  const awaiting = new Set<(leader: PeerId | undefined) => void>();
  let count = 0;

  return {
    begin(isDone, timeoutMs) {
      count += 1;
      const changeId = `change-${count}`;
      const outcome = new Promise<ChangeOutcome>((resolve) => {
        const timer = setTimeout(() => settle({ kind: 'unknown' }), timeoutMs);
        const settle = (result: ChangeOutcome): void => {
          clearTimeout(timer);
          waiting.delete(changeId);
          resolve(result);
        };
        waiting.set(changeId, { isDone, settle });
      });
      return { changeId, outcome };
    },
    awaitLeader: (timeoutMs) =>
      new Promise((resolve) => {
        const settle = (leader: PeerId | undefined): void => {
          clearTimeout(timer);
          awaiting.delete(settle);
          resolve(leader);
        };
        const timer = setTimeout(() => settle(undefined), timeoutMs);
        awaiting.add(settle);
      }),
    refused(changeId, reason) {
      waiting.get(changeId)?.settle({ kind: 'refused', reason });
    },
    committed(membership) {
      for (const entry of [...waiting.values()])
        if (entry.isDone(membership)) entry.settle({ kind: 'done', membership });
    },
    ledBy(leader) {
      for (const settle of [...awaiting]) settle(leader);
      // What this peer had begun as leader is for the next one to finish or to undo.
      for (const entry of [...waiting.values()]) entry.settle({ kind: 'unknown' });
    },
    close() {
      for (const entry of [...waiting.values()]) entry.settle({ kind: 'unknown' });
      for (const settle of [...awaiting]) settle(undefined);
    },
  };
}
