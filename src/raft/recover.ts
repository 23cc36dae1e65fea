// Recovery from quorum loss, on the word of a person: this peer goes on alone (RAFT.md; no counterpart in the thesis).
// Must never happen by itself: what the lost voters committed and this peer does not hold is lost by it.
import { appendConfig } from './change.ts';
import { isJoining } from './membership.ts';
import { becomeCandidate, becomeFollower } from './role.ts';
import type { Raft } from './state.ts';

/**
 * Opens a new term, in which the only voter of the next incarnation is this peer. It leads once its vote and that membership
 * are durable, in one write; all of its log is then committed.
 */
export function onRecover(raft: Raft): void {
  if (isJoining(raft)) return;
  // mark: recovered-alone
  if (raft.leading !== undefined) becomeFollower(raft, raft.term, undefined);
  becomeCandidate(raft);
  const { addresses, incarnation } = raft.membership;
  const address = addresses.get(raft.self);
  appendConfig(raft, {
    voters: [raft.self],
    learners: [],
    addresses: new Map(address === undefined ? [] : [[raft.self, address]]),
    incarnation: incarnation + 1,
  });
}
