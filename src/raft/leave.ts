// The end of a reign by removal: a leader that is no voter any more leads, without counting itself, until that is committed
// (thesis §4.2.2). Must never leave before, since the others may depend on it to commit the change.
import type { PeerId } from '../base/ids.ts';
import { send } from './durability.ts';
import { isChangePending, isVoter } from './membership.ts';
import { becomeFollower } from './role.ts';
import type { Leading, Raft } from './state.ts';

/** To be called after the news of the commit was sent. Hands over to the voter that has most, so that no timeout is spent. */
export function leaveIfRemoved(raft: Raft, leading: Leading): void {
  if (isVoter(raft, raft.self) || isChangePending(raft)) return;
  // mark: leader-removed-itself
  const heir = bestVoter(raft, leading);
  if (heir !== undefined) send(raft, heir, { kind: 'timeout-now', term: raft.term });
  becomeFollower(raft, raft.term, undefined);
}

/** The voter whose log reaches furthest; of equals, the one heard from last. */
function bestVoter(raft: Raft, leading: Leading): PeerId | undefined {
  const rankOf = (voter: PeerId): number => leading.progress.get(voter)?.match ?? 0;
  const heardOf = (voter: PeerId): number => leading.progress.get(voter)?.activeAtMs ?? 0;
  return [...raft.membership.voters].sort((a, b) => rankOf(b) - rankOf(a) || heardOf(b) - heardOf(a))[0];
}
