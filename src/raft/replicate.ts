// The leader's side of log replication: sends what followers lack, learns from their answers (Raft §5.3, thesis §10.2.1).
// Must never send more than flow control allows, and never take a late answer for a newer one.
import { assert } from '../base/assert.ts';
import { logIndex } from '../base/ids.ts';
import type { LogIndex, PeerId } from '../base/ids.ts';
import { send } from './durability.ts';
import { entriesFrom, entryBytes, lastIndex, lastIndexOfTermAtMost, termAt } from './log.ts';
import { backtrack, mayAppend, recordAppend, recordMatch, refusedPrevIndex } from './progress.ts';
import type { Progress } from './progress.ts';
import { advanceSnapshot, needsSnapshot } from './send-snapshot.ts';
import type { Leading, Raft } from './state.ts';
import type { RaftMessage } from './types.ts';

type AppendReply = Extract<RaftMessage, { kind: 'append-reply' }>;

/** Sends every follower what it lacks and may be sent; one that lacks nothing but news of commits gets that. */
export function replicate(raft: Raft, leading: Leading): void {
  for (const [peer, progress] of leading.progress) {
    if (progress.mode === 'snapshot' || needsSnapshot(raft, progress)) {
      advanceSnapshot(raft, leading, peer, progress);
      continue;
    }
    let sent = false;
    while (progress.next <= lastIndex(raft.log) && mayAppend(progress, raft.settings)) {
      sendAppend(raft, leading, peer, progress);
      sent = true;
      if (progress.mode === 'probe') break;
    }
    if (!sent && progress.mode === 'replicate' && isCommitNews(raft, progress))
      sendPoll(raft, leading, peer, progress);
  }
}

/** A follower that answers heartbeats but lacks entries is asked again: what was sent may have been lost. */
export function resumeAppends(raft: Raft, leading: Leading, peer: PeerId, progress: Progress): void {
  if (progress.match >= lastIndex(raft.log) || raft.nowMs - progress.appendedAtMs < raft.settings.heartbeatMs)
    return;
  if (progress.mode === 'snapshot' || needsSnapshot(raft, progress)) return;
  if (progress.mode === 'probe') sendAppend(raft, leading, peer, progress);
  else sendPoll(raft, leading, peer, progress);
}

export function onAppendReply(raft: Raft, leading: Leading, from: PeerId, reply: AppendReply): void {
  const progress = leading.progress.get(from);
  if (progress === undefined || reply.round < progress.firstRound) {
    // mark: append-reply-of-a-former-member
    return;
  }
  progress.activeAtMs = raft.nowMs;
  if (reply.success) {
    assert(
      reply.matchIndex <= lastIndex(raft.log),
      () => `${from} claims to match at ${reply.matchIndex}, beyond our log`,
    );
    recordMatch(progress, reply.matchIndex);
    return;
  }
  const refused = refusedPrevIndex(progress, reply.round);
  if (refused === undefined) {
    // mark: stale-refusal-ignored
    return;
  }
  let agreed = reply.hintIndex;
  if ((termAt(raft.log, agreed) ?? 0) > reply.hintTerm) {
    // The follower's terms up to there are no higher than hintTerm: nothing of ours with a higher one can match.
    // mark: hint-skips-a-term
    agreed = lastIndexOfTermAtMost(raft.log, agreed, reply.hintTerm);
  }
  backtrack(progress, refused, logIndex(agreed + 1));
}

/** Entries from `next` on. */
function sendAppend(raft: Raft, leading: Leading, peer: PeerId, progress: Progress): void {
  const { maxEntriesPerAppend, maxBytesPerAppend } = raft.settings;
  const entries = entriesFrom(raft.log, progress.next, {
    count: maxEntriesPerAppend,
    bytes: maxBytesPerAppend,
  });
  sendAppendRequest(raft, leading, peer, progress, entries);
}

/** No entries: asks whether everything sent so far has arrived, and tells the commit index. */
function sendPoll(raft: Raft, leading: Leading, peer: PeerId, progress: Progress): void {
  sendAppendRequest(raft, leading, peer, progress, []);
}

function sendAppendRequest(
  raft: Raft,
  leading: Leading,
  peer: PeerId,
  progress: Progress,
  entries: ReturnType<typeof entriesFrom>,
): void {
  const prevIndex = logIndex(progress.next - 1);
  const prevTerm = termAt(raft.log, prevIndex);
  assert(prevTerm !== undefined, () => `what ${peer} needs next, ${progress.next}, does not follow our log`);
  leading.round += 1;
  const end = logIndex(prevIndex + entries.length);
  send(raft, peer, {
    kind: 'append-request',
    term: raft.term,
    prevIndex,
    prevTerm,
    entries,
    commitIndex: raft.commitIndex,
    round: leading.round,
  });
  const bytes = entries.reduce((sum, entry) => sum + entryBytes(entry), 0);
  recordAppend(progress, { round: leading.round, prevIndex, lastIndex: end, bytes, nowMs: raft.nowMs });
  progress.commitTold = laterOf(progress.commitTold, logIndex(Math.min(raft.commitIndex, end)));
}

function isCommitNews(raft: Raft, progress: Progress): boolean {
  return Math.min(raft.commitIndex, progress.next - 1) > progress.commitTold;
}

function laterOf(a: LogIndex, b: LogIndex): LogIndex {
  return a > b ? a : b;
}
