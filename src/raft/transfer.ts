// Leadership transfer (thesis §3.10): the leader brings the target up to date, then tells it to stand at once.
// Must never last longer than an election timeout: proposals are refused meanwhile.
import type { PeerId } from '../base/ids.ts';
import { send } from './durability.ts';
import { lastIndex } from './log.ts';
import { isVoter } from './membership.ts';
import type { Leading, Raft } from './state.ts';

/**
 * Begins a transfer. Only a leader can, and only to another voter; anything else is ignored, for it has no effect. One that is
 * under way to the same peer keeps its deadline: asking again and again must not refuse proposals for ever.
 */
export function onTransfer(raft: Raft, to: PeerId): void {
  if (raft.leading === undefined || to === raft.self || !isVoter(raft, to)) return;
  if (raft.leading.transfer?.to === to) return;
  raft.leading.transfer = { to, deadlineMs: raft.nowMs + raft.settings.electionMs, timeoutNowSent: false };
}

/** Hands over once the target holds our whole log. */
export function advanceTransfer(raft: Raft, leading: Leading): void {
  const { transfer } = leading;
  if (transfer === undefined || transfer.timeoutNowSent) return;
  if ((leading.progress.get(transfer.to)?.match ?? 0) < lastIndex(raft.log)) return;
  send(raft, transfer.to, { kind: 'timeout-now', term: raft.term });
  transfer.timeoutNowSent = true;
}

/** Gives up: the target did not take over, and this peer leads on. */
export function expireTransfer(raft: Raft, leading: Leading): void {
  if (leading.transfer === undefined || leading.transfer.deadlineMs > raft.nowMs) return;
  // mark: transfer-expired
  leading.transfer = undefined;
}
